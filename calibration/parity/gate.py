"""The parity gate of an export: a new bundle is compared with its PyTorch model, and the verdict is stored in it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from hidenerf.calibration.parity.comparison import Clip, compare, store_in_bundle
from hidenerf.calibration.parity.reference import model_of
from hidenerf.calibration.parity.report import failures
from hidenerf.runtime.bundle import PARITY_REPORT, open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path

# One pair, so that flicker is measured; PyTorch takes seconds for each.
GATE_FRAMES = 2


def gate(folder: Path, checkpoint: Path | None, report: Callable[[str], None]) -> bool:
    """Compare a new bundle with PyTorch on the fastest backend here, a few frames, and store the verdict in it.

    checkpoint: what it was exported from, None for the shipped one and for untrained weights. report: is given one
    line, the verdict. Returns whether it passed. Errors: a face model for which there is no shipped motion.
    """
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
    report(
        f"Parity, {parity.candidate} against {parity.reference} on {len(parity.frames)} frames: "
        + (f"passed, worst frame {min(row.psnr for row in parity.frames):.1f} dB" if failed is None else "FAILED")
        + (f". Report: {folder / PARITY_REPORT}" if failed is None else f": {failed}.")
    )
    return failed is None
