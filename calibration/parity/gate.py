"""Parity gate: compares a newly exported bundle with its PyTorch model on a few frames."""

import logging
from pathlib import Path

from hidenerf.calibration.parity.comparison import Clip, compare, store_in_bundle
from hidenerf.calibration.parity.reference import model_of
from hidenerf.calibration.parity.report import failures
from hidenerf.runtime.bundle import PARITY_REPORT, open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.progress import no_progress

logger = logging.getLogger(__name__)

# One pair of consecutive frames, so that flicker is measured; PyTorch takes seconds for a frame.
GATE_FRAMES = 2


def gate(folder: Path, checkpoint: Path | None) -> bool:
    """Compare a new bundle with its PyTorch model on the fastest backend here, and store the result in the bundle.

    folder: the bundle. checkpoint: what it was exported from; None for the shipped one and for untrained weights.
    Returns whether it passed. Errors: a face model for which there is no shipped motion.
    """
    bundle = open_bundle(folder)
    found = compare(
        bundle,
        "auto",
        model_of(bundle, checkpoint),
        Clip(demo_source_path(), demo_motion_path(), GATE_FRAMES),
        face_landmarker=None,
        matting=None,
        progress=no_progress,
    )
    store_in_bundle(found)
    parity = found.parity
    failed = failures(parity)
    compared = f"Parity, {parity.candidate} against {parity.reference} on {len(parity.frames)} frames"
    if failed is None:
        worst = min(row.psnr for row in parity.frames)
        logger.info("%s: passed, worst frame %.1f dB. Report: %s", compared, worst, folder / PARITY_REPORT)
    else:
        logger.info("%s: FAILED: %s.", compared, failed)
    return failed is None
