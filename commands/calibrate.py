"""`hidenerf-calibrate`: choose which convolutions are INT8 and what stays in FP32; writes a precision plan."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.calibration.precision.calibrate import Calibration
    from hidenerf.runtime.bundle import Bundle

# As in `hidenerf.calibration.precision.calibrate`, which is slow to import.
METHOD_NAMES = ("measured", "max", "percentile", "entropy")
DEFAULT_FILE = "precision.json"


@options.command(extra="export,cpu")
@click.argument("model", metavar="[BUNDLE|CHECKPOINT]", required=False, type=options.PATH)
@options.output("The plan (.json).", DEFAULT_FILE)
@click.option(
    "-s",
    "--source",
    "sources",
    multiple=True,
    type=options.PATH,
    help="Portrait or prepared source (.npz); repeatable.  [default: a shipped one]",
)
@click.option(
    "-d",
    "--driving",
    "motions",
    multiple=True,
    type=options.PATH,
    help="Clip, take or motion file; repeatable.  [default: a shipped motion]",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=4,
    help="Calibration frames of each source and motion.",
)
@click.option(
    "--min-psnr",
    type=click.FloatRange(10.0, 100.0),
    default=42.0,
    help="Budget: the worst frame against FP32, in dB.",
)
@click.option(
    "--ranges",
    type=click.Choice(METHOD_NAMES),
    default="measured",
    help="How ranges of activations are chosen; measured: max or percentile, whichever is better for the group.",
)
@options.face_landmarker
def main(
    model: Path | None,
    output: Path,
    sources: tuple[Path, ...],
    motions: tuple[Path, ...],
    frames: int,
    min_psnr: float,
    ranges: str,
    face_landmarker: Path | None,
) -> None:
    """Make a precision plan for an FP32 BUNDLE or a CHECKPOINT (.safetensors; without it the shipped one).

    Animates each source with each motion, by default the shipped ones, and measures how much the frames lose with
    groups of convolutions in INT8. Writes the plan, which `hidenerf-export --precision` applies, and a picture of the
    trade-off beside it.
    """
    if output.suffix != ".json":
        raise HideNerfError(f"-o {output}: the plan's name must end in .json.")
    from hidenerf.calibration.precision.calibrate import calibrate, load_models
    from hidenerf.calibration.precision.data import collect
    from hidenerf.calibration.precision.plan import plan_content
    from hidenerf.export.bundle_writer import quiet_exporter
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.files import require_writable_parent

    require_writable_parent(output)
    sources, motions = sources or (demo_source_path(),), motions or (demo_motion_path(),)
    for option, paths in (("-s", sources), ("-d", motions)):
        for path in paths:
            options.require_repeatable(option, path)
    with ExitStack() as stack:
        bundle = _bundle(model, Path(stack.enter_context(TemporaryDirectory())))
        models = load_models(bundle)
        with Animator(bundle, "onnxruntime-cpu", face_landmarker) as animator:
            data = collect(animator, sources, motions, frames, logger.info)
        with quiet_exporter():
            found = calibrate(models, data, min_psnr=min_psnr, method=ranges, report=logger.info)
        content = plan_content(found, bundle, models, data, min_psnr)
    _store(content, found, output, min_psnr)
    share = content["share"]
    print_result(
        f"Plan written to {output}: worst of {len(data.samples)} frames {found.plan.worst:.2f} dB (budget "
        f"{min_psnr:g}), INT8 {share['per_frame']:.1%} of a frame's convolution FLOPs and "
        f"{share['source_encoder']:.1%} of the source encoder's; estimated cost {content['cost']['plan']:g} against "
        f"{content['cost']['fp16']:g} in FP16.\nApply it with: hidenerf-export --precision {output}"
    )


def _bundle(model: Path | None, scratch: Path) -> "Bundle":
    """The given bundle, or one exported from the given or the shipped checkpoint."""
    from hidenerf.export.bundle_writer import describe_checkpoint, write_bundle
    from hidenerf.export.precision import FloatPrecision
    from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
    from hidenerf.runtime.bundle import open_bundle
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model

    if model is not None and model.is_dir():
        return open_bundle(model)
    checkpoint = model or default_checkpoint_path()
    if not checkpoint.is_file():
        raise HideNerfError(f"{checkpoint}: no such bundle or checkpoint; check the path.")
    logger.info(f"Exporting {checkpoint} in FP32.")
    folder = scratch / "bundle"
    write_bundle(
        load_checkpoint(checkpoint),
        folder,
        checkpoint=describe_checkpoint(checkpoint, None),
        face_model=load_face_model(default_face_model_path()),
        precision=FloatPrecision.FP32,
        # Only compared with itself here; the export that applies the plan has the parity gate.
        parity_waived=True,
        report=lambda _: None,
    )
    return open_bundle(folder)


def _store(content: dict[str, Any], found: "Calibration", output: Path, min_psnr: float) -> None:
    """The plan and its picture, both or neither."""
    from hidenerf.calibration.precision.plan import cost_of
    from hidenerf.calibration.precision.plan_picture import Point, pareto_picture
    from hidenerf.runtime.files import atomic_path
    from hidenerf.runtime.video.pictures import write_picture

    # A step that changes no pixel has no finite PSNR; one level in one pixel of a thousand frames is as good.
    ceiling = 100.0

    def point(names: frozenset[str], psnr: float) -> Point:
        return Point(cost_of(found, names, "fp16") / 1e9, psnr if math.isfinite(psnr) else ceiling)

    taken: frozenset[str] = frozenset()
    kept: list[Point] = []
    dropped: list[Point] = []
    for step in found.steps:
        trial = taken | {group.name for group in step.added}
        (kept if step.kept else dropped).append(point(trial, step.loss.worst))
        taken = trial if step.kept else taken
    half = point(frozenset(), found.half.worst)
    plan = point(frozenset(group.name for group in found.kept), found.plan.worst)
    with atomic_path(output) as partial, atomic_path(output.with_suffix(".png")) as picture:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_picture(pareto_picture(kept, dropped, half, plan, min_psnr), picture)


if __name__ == "__main__":
    main()
