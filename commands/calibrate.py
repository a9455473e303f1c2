"""`hidenerf-calibrate`: choose which convolutions are INT8 and what stays in FP32; writes a precision plan."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError

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
@options.matting
def main(
    model: Path | None,
    output: Path,
    sources: tuple[Path, ...],
    motions: tuple[Path, ...],
    frames: int,
    min_psnr: float,
    ranges: str,
    face_landmarker: Path | None,
    matting: Path | None,
) -> None:
    """Make a precision plan for an FP32 BUNDLE or a CHECKPOINT (.safetensors; without it the shipped one).

    Animates each source with each motion, by default the shipped ones, and measures how much the frames lose with
    groups of convolutions in INT8. Writes the plan, which `hidenerf-export --precision` applies, and a picture of the
    trade-off beside it.
    """
    if output.suffix != ".json":
        raise HideNerfError(f"-o {output}: the plan's name must end in .json.")
    from hidenerf.calibration.precision.calibrate import calibrate, fp32_bundle, load_models
    from hidenerf.calibration.precision.data import collect
    from hidenerf.calibration.precision.plan import found_plan, write_plan
    from hidenerf.export.bundle_writer import quiet_exporter
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.files import require_writable_parent

    options.require_file("--matting", matting)
    require_writable_parent(output)
    sources, motions = sources or (demo_source_path(),), motions or (demo_motion_path(),)
    for option, paths in (("-s", sources), ("-d", motions)):
        for path in paths:
            options.require_repeatable(option, path)
    with TemporaryDirectory() as scratch:
        bundle = fp32_bundle(model, Path(scratch) / "bundle")
        models = load_models(bundle)
        with Animator(bundle, "onnxruntime-cpu", face_landmarker, matting=matting) as animator:
            data = collect(animator, sources, motions, frames)
        with quiet_exporter():
            found = calibrate(models, data, min_psnr=min_psnr, method=ranges)
        plan = found_plan(found, bundle, models, data, min_psnr)
    write_plan(plan, output)
    print_result(
        f"Plan written to {output}: worst of {len(data.samples)} frames {found.plan.worst:.2f} dB (budget "
        f"{min_psnr:g}), INT8 {plan.share.per_frame:.1%} of a frame's convolution FLOPs and "
        f"{plan.share.source_encoder:.1%} of the source encoder's; estimated cost {plan.cost.plan:g} against "
        f"{plan.cost.fp16:g} in FP16.\nApply it with: hidenerf-export --precision {output}"
    )


if __name__ == "__main__":
    main()
