"""`hidenerf-facemodel`: makes face models, and the demonstration's portrait and motion."""

from pathlib import Path

import click

from hidenerf.commands.errors import user_errors

ANNY_CACHE = Path.home() / ".cache" / "hidenerf" / "anny"


@click.group()
def main() -> None:
    """Make the face model that a bundle carries."""


@main.command()
@click.option(
    "--face-landmarker",
    type=click.Path(path_type=Path),
    required=True,
    help="MediaPipe's face_landmarker.task; finds where its landmarks lie on the head.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=ANNY_CACHE,
    show_default=True,
    help="Folder for Anny's prepared data (0.7 GB, made in about two minutes).",
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("face_model.npz"), show_default=True)
@user_errors
def bake(face_landmarker: Path, cache: Path, output: Path) -> None:
    """Bake the default face model from Anny (needs the extra facemodel)."""
    from hidenerf.assets.face_model_anny import bake_anny
    from hidenerf.runtime.face_model import save_face_model
    from hidenerf.runtime.files import require_writable_parent

    require_writable_parent(output)
    save_face_model(bake_anny(cache, face_landmarker), output)
    _report(output)


@main.command()
@click.argument("mat", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=Path("bfm2009.npz"), show_default=True)
@user_errors
def bfm(mat: Path, output: Path) -> None:
    """Convert your own BFM_model_front.mat (Basel Face Model 2009, as Deep3DFaceRecon_pytorch prepares it)."""
    from hidenerf.assets.face_model_bfm import face_model_from_bfm
    from hidenerf.runtime.face_model import save_face_model

    save_face_model(face_model_from_bfm(mat), output)
    _report(output)


@main.command("demo-assets")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default=True,
    help="Folder for demo_source.npz and demo_motion.npz.",
)
@user_errors
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
        click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _report(path: Path) -> None:
    from hidenerf.runtime.face_model import load_face_model

    model = load_face_model(path)
    click.echo(
        f"{path}: face model {model.name}, {len(model.mean)} vertices, {len(model.triangles)} triangles, "
        f"{len(model.identity_names)} identity and {len(model.expression_names)} expression coefficients, "
        f"{len(model.landmark_index)} landmarks, {path.stat().st_size / 1e6:.1f} MB"
    )
