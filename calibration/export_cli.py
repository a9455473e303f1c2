"""`hidenerf-export` as users run it: the export (`hidenerf.export.cli`), and after it the parity gate.

The gate measures with what lies above `export` (DESIGN §2), so the command that has both stands here.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from hidenerf.export.cli import main as export
from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError

EXIT_BELOW_THRESHOLDS = 1
# One pair, so that flicker is measured; PyTorch takes seconds for each.
GATE_FRAMES = 2

_NO_PARITY = click.Option(["--no-parity"], is_flag=True, help="Leave out the comparison with PyTorch afterwards.")


@user_errors
def _main(no_parity: bool, **options: Any) -> None:
    if export.callback is None:
        raise AssertionError("a command of click's has its function")
    # Of the context that is there, since the export asks which options were given.
    export.callback(**options)
    checkpoint, output = options["checkpoint"], options["output"]
    only_engines = checkpoint is not None and checkpoint.is_dir()
    if no_parity or only_engines:
        return
    try:
        passed = gate(output, checkpoint)
    except HideNerfError as error:
        click.echo(f"Parity was not checked: {error}")
        return
    if not passed:
        sys.exit(EXIT_BELOW_THRESHOLDS)


def gate(folder: Path, checkpoint: Path | None) -> bool:
    """Compare a new bundle with PyTorch on the fastest backend here, a few frames, and store the verdict in it.

    checkpoint: what it was exported from, None for the shipped one and for untrained weights. Prints one line.
    Returns whether it passed. Errors: a missing package, a face model for which there is no shipped motion.
    """
    try:
        from hidenerf.calibration.comparison import Clip, compare, store_in_bundle
        from hidenerf.calibration.parity_report import failures
        from hidenerf.calibration.weights import model_of
    except ModuleNotFoundError as error:
        raise HideNerfError(
            f"it needs the package {error.name}; install it with: pip install 'hidenerf[export,cpu]'"
        ) from None
    from hidenerf.runtime.bundle import PARITY_REPORT, open_bundle
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path

    bundle = open_bundle(folder)
    found = compare(
        bundle,
        "auto",
        model_of(bundle, checkpoint),
        Clip(demo_source_path(), demo_motion_path(), GATE_FRAMES),
        face_landmarker=None,
        progress=lambda _: contextlib.nullcontext(lambda: None),
        report=lambda _: None,
    )
    store_in_bundle(found)
    parity = found.parity
    failed = failures(parity)
    click.echo(
        f"Parity, {parity.candidate} against {parity.reference} on {len(parity.frames)} frames: "
        + (f"passed, worst frame {min(row.psnr for row in parity.frames):.1f} dB" if failed is None else "FAILED")
        + (f". Report: {folder / PARITY_REPORT}" if failed is None else f": {failed}.")
    )
    if failed is not None:
        click.echo(
            f"hidenerf-run refuses this bundle unless told --allow-failed-parity; see {folder / PARITY_REPORT}.",
            err=True,
        )
    return failed is None


main = click.Command(
    "hidenerf-export",
    callback=_main,
    params=[*export.params, _NO_PARITY],
    help=f"{export.help}\n\nThe bundle is then compared with the PyTorch model (hidenerf-parity) on a few frames. Exit "
    "code 1 where a figure is below its threshold.",
    context_settings=export.context_settings,
)


if __name__ == "__main__":
    main()
