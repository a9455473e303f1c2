"""`hidenerf-export`: checkpoint → bundle, compared with the PyTorch model afterwards."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result
from hidenerf.commands.errors import EXIT_PARITY_FAILED
from hidenerf.runtime.backends.registry import ENGINE_BACKEND_NAMES
from hidenerf.runtime.bundle import PARITY_REPORT
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.export.engines.targets import Targets

DEFAULT_OUTPUT = "bundle"
# What hidenerf-calibrate writes by default.
DEFAULT_PLAN = "precision.json"
DEFAULT_PLANS_FOLDER = "plans"


@options.command(extra="export")
@click.argument("checkpoint", required=False, type=options.PATH)
@click.option("-o", "--output", type=options.PATH, help=f"Bundle folder.  [default: {DEFAULT_OUTPUT}]")
@click.option("--fp16", is_flag=True, help="FP16 graphs with FP32 islands, instead of FP32.")
@click.option(
    "--precision",
    "plan_path",
    metavar="PLAN",
    type=options.PATH,
    help="FP16 with the INT8 convolutions and FP32 islands of hidenerf-calibrate's plan (.json).",
)
@click.option("--int8", is_flag=True, help=f"The same with the plan ./{DEFAULT_PLAN}.")
@click.option("--random-init", metavar="SEED", type=int, help="Untrained weights from this seed, no checkpoint.")
@click.option(
    "--preset",
    type=click.Choice(["demo", "demo512", "base"]),
    help="Shipped weights, frames of 256² or 512²; base has untrained ones.  [default: demo]",
)
@click.option("--face-model", type=options.PATH, help="Face model (.npz) instead of the shipped one (Anny).")
@click.option(
    "--backend",
    type=click.Choice(ENGINE_BACKEND_NAMES),
    help="Also build engines: for this machine's GPU, or ahead of time for any that TensorRT-RTX lists.",
)
@click.option("--sm", metavar="75,80,…|all", help="SMs to build engines for.  [default: all possible]")
@click.option(
    "--trtexec",
    metavar="VERSION",
    help="Of a bundle: write its graphs as TensorRT VERSION reads them, and print trtexec's command for each.  "
    f"[-o default: {DEFAULT_PLANS_FOLDER}]",
)
@click.option(
    "--no-parity",
    is_flag=True,
    help="Leave out the comparison with PyTorch; hidenerf-run then runs the bundle unchecked.",
)
def main(
    checkpoint: Path | None,
    output: Path | None,
    fp16: bool,
    plan_path: Path | None,
    int8: bool,
    random_init: int | None,
    preset: str | None,
    face_model: Path | None,
    backend: str | None,
    sm: str | None,
    trtexec: str | None,
    no_parity: bool,
) -> None:
    """Export CHECKPOINT (.safetensors) to a bundle: three ONNX graphs, the face model and a manifest.

    Without CHECKPOINT a shipped one is exported, of preset demo or demo512 (docs/training.md). --random-init and the
    preset base give untrained weights instead, which show that the pipeline runs but not a face.

    CHECKPOINT can also be a bundle, with --backend: its engines are built, and nothing is exported. With --trtexec its
    graphs are written for NVIDIA's trtexec (docs/engines.md).

    The bundle is then compared with the PyTorch model (hidenerf-parity) on a few frames. If a figure is below its
    threshold, the exit code is 1, and hidenerf-run refuses the bundle. It also refuses a bundle that could not be
    compared.
    """
    targets = None
    if backend is not None:
        from hidenerf.export.engines.builder_library import load_builder_library
        from hidenerf.export.engines.targets import choose_targets

        targets = choose_targets(load_builder_library(backend), sm)
    elif sm is not None:
        raise HideNerfError(f"--sm {sm}: SMs are those of engines; say which engines with --backend.")
    if checkpoint is not None and checkpoint.is_dir():
        given = {
            "--output": output is not None and trtexec is None,
            "--fp16": fp16,
            "--precision": plan_path is not None,
            "--int8": int8,
            "--random-init": random_init is not None,
            "--preset": preset is not None,
            "--face-model": face_model is not None,
            "--no-parity": no_parity,
        }
        superfluous = [option for option, is_given in given.items() if is_given]
        if trtexec is not None:
            superfluous += ["--backend"] if backend is not None else []
            _print_trtexec(checkpoint, trtexec, output or Path(DEFAULT_PLANS_FOLDER), superfluous)
        else:
            _build_engines(checkpoint, targets, superfluous)
        return
    if trtexec is not None:
        raise HideNerfError(f"--trtexec {trtexec}: give a bundle whose graphs to write, in place of a checkpoint.")
    if int8 and plan_path is None:
        plan_path = Path(DEFAULT_PLAN)
        if not plan_path.is_file():
            raise HideNerfError(
                f"--int8 needs calibration data, and there is no plan {DEFAULT_PLAN} here; make one with "
                "hidenerf-calibrate, or give one with --precision PLAN."
            )
    from hidenerf.export.bundle_writer import check_replaceable, describe_checkpoint, write_bundle
    from hidenerf.export.flops import frame_flops
    from hidenerf.export.precision import FloatPrecision
    from hidenerf.export.precision_plan import read_plan
    from hidenerf.export.weights import load_weights
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model

    output = output or Path(DEFAULT_OUTPUT)
    check_replaceable(output)
    plan = read_plan(plan_path) if plan_path is not None else None
    shapes = load_face_model(face_model or default_face_model_path())
    weights = load_weights(checkpoint, random_init, preset)
    model = weights.model
    precision = f"INT8 by the plan {plan_path}" if plan is not None else "FP16" if fp16 else "FP32"
    if weights.checkpoint is not None:
        logger.info(f"Checkpoint {weights.checkpoint}, preset {model.config.name}, {precision}.")
    else:
        logger.warning(
            f"Untrained weights from seed {weights.seed}, preset {model.config.name}, {precision}: frames will be "
            "noise, not a face."
        )
    write_bundle(
        model,
        output,
        checkpoint=describe_checkpoint(weights.checkpoint, weights.seed),
        face_model=shapes,
        precision=plan or (FloatPrecision.FP16 if fp16 else FloatPrecision.FP32),
        parity_waived=no_parity,
    )
    flops = frame_flops(model.config)
    logger.info(
        f"Per frame: LED {flops.led / 1e9:.2f}, renderer {flops.renderer / 1e9:.2f}, refiner "
        f"{flops.refiner / 1e9:.2f} GFLOP; without hoisting the refiner would take "
        f"{flops.refiner_unhoisted / 1e9:.2f} GFLOP ({flops.refiner_ratio:.0%} remain)."
    )
    print_result(f"Bundle written to {output}.")
    if targets is not None:
        from hidenerf.export.engines.writer import write_engines

        write_engines(output, targets)
    if not no_parity and not _passes_gate(output, weights.checkpoint):
        sys.exit(EXIT_PARITY_FAILED)


def _passes_gate(bundle: Path, checkpoint: Path | None) -> bool:
    """False if the comparison with the PyTorch model failed; True, with a warning, if it cannot run here."""
    refused = "hidenerf-run refuses this bundle unless told --allow-failed-parity"
    try:
        from hidenerf.calibration.parity.gate import gate

        passed = gate(bundle, checkpoint)
    except ModuleNotFoundError as error:
        logger.warning(
            f"Parity was not checked: it needs the package {error.name}; install it with: pip install "
            f"'hidenerf[export,cpu]', then run: hidenerf-parity {bundle}. Until then {refused}."
        )
        return True
    except HideNerfError as error:
        logger.warning(f"Parity was not checked: {error} Until hidenerf-parity has passed it, {refused}.")
        return True
    if not passed:
        logger.error(f"The bundle failed parity: {refused}; see {bundle / PARITY_REPORT}.")
    return passed


def _print_trtexec(bundle: Path, version: str, folder: Path, superfluous: list[str]) -> None:
    from hidenerf.export.engines.trtexec import write_for_trtexec
    from hidenerf.runtime.bundle import open_bundle

    _require_nothing_else(bundle, superfluous)
    for command in write_for_trtexec(open_bundle(bundle), version, folder):
        print_result(command)


def _require_nothing_else(bundle: Path, superfluous: list[str]) -> None:
    if superfluous:
        raise HideNerfError(f"{bundle} is a bundle, whose engines are built as it is; leave out {superfluous[0]}.")


def _build_engines(bundle: Path, targets: "Targets | None", superfluous: list[str]) -> None:
    from hidenerf.export.engines.writer import write_engines

    if targets is None:
        raise HideNerfError(f"{bundle}: this is a folder; give a checkpoint (.safetensors), or a bundle and --backend.")
    _require_nothing_else(bundle, superfluous)
    write_engines(bundle, targets)
    print_result(f"Engines of {bundle} are up to date.")


if __name__ == "__main__":
    main()
