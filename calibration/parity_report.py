"""Parity's report: a table to read, and its files in the bundle.

`parity/report.json` (schema `hidenerf-parity`, version 1):

| key          | meaning                                                                                          |
|--------------|--------------------------------------------------------------------------------------------------|
| `passed`     | whether every tensor and every frame was within `thresholds`                                      |
| `precision`, `checkpoint` | of the bundle, as in its manifest                                                    |
| `generator`  | versions of what was compared and of what compared                                                |
| `backend`    | which one rendered the frames                                                                     |
| `source`, `driving` | `name` and, for files, `sha256`                                                            |
| `motion_frames` | length of the driving motion, from which `frames` were taken                                   |
| `tensors`    | per `graph` and `tensor` the worst over all frames: `max_abs`, `relative`, `cosine`, `psnr`, `passed` |
| `frames`     | per frame its `index` in the driving motion, `psnr`, `ssim`, `flip`, `max_abs`, `passed`          |
| `worst_frame`| `index`, and the `picture`: PyTorch's frame, the bundle's, ꟻLIP's error map                       |

Numbers that JSON lacks are the strings `"inf"` (the PSNR of what is identical) and `"nan"`.
"""

import importlib.metadata
import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hidenerf.calibration.parity import FrameRow, Parity
from hidenerf.calibration.tensor_comparison import TensorRow
from hidenerf.runtime.bundle import MANIFEST_NAME, Bundle, read_manifest
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path, sha256_of
from hidenerf.runtime.video.pictures import write_picture

SCHEMA = "hidenerf-parity"
SCHEMA_VERSION = 1
REPORT_FILE = "parity/report.json"
PICTURE_FILE = "parity/worst_frame.png"
GENERATORS = ("hidenerf", "torch", "onnxruntime", "polygraphy", "flip-evaluator")


def table(parity: Parity) -> str:
    """Tensors and a summary of the frames, as lines of text; what is outside the thresholds is marked."""
    lines = [f"{'graph':<18}{'tensor':<15}{'max abs':>10}{'of range':>10}{'1 - cosine':>12}{'PSNR dB':>9}"]
    for row in parity.tensors:
        d = row.difference
        figures = f"{d.max_abs:>10.1e}{d.relative:>10.1e}{1.0 - d.cosine:>12.1e}{d.psnr:>9.1f}"
        lines.append(f"{row.graph:<18}{row.tensor:<15}{figures}{_mark(row)}")
    frames = parity.frames
    lines += ["", f"{len(frames):>4} whole frames{'worst':>12}{'median':>12}"]
    for name, values, worst, digits in (
        ("PSNR dB", [f.psnr for f in frames], min, 2),
        ("SSIM", [f.ssim for f in frames], min, 6),
        ("ꟻLIP", [f.flip for f in frames], max, 6),
        ("max abs", [float(f.max_abs) for f in frames], max, 1),
    ):
        mark = _mark(*frames) if name == "PSNR dB" else ""
        lines.append(f"{name:>17}{worst(values):>12.{digits}f}{np.median(values):>12.{digits}f}{mark}")
    return "\n".join(lines)


def verdict(parity: Parity) -> str:
    """One line: passed or not, and by which thresholds."""
    t = parity.thresholds
    limits = f"frames ≥ {t.frame_psnr:g} dB; tensors: cosine ≥ {t.tensor_cosine:.9g}, PSNR ≥ {t.tensor_psnr:g} dB"
    tensors = sum(not row.passed for row in parity.tensors)
    frames = sum(not row.passed for row in parity.frames)
    if parity.passed:
        return f"Passed ({limits})."
    return (
        f"FAILED ({limits}): {tensors} of {len(parity.tensors)} tensors and {frames} of {len(parity.frames)} frames "
        "are outside."
    )


def report(parity: Parity, bundle: Bundle, **circumstances: Any) -> dict[str, Any]:
    """The content of `report.json`; circumstances: `backend`, `source`, `driving` and `motion_frames`."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "passed": parity.passed,
        "precision": bundle.precision,
        "checkpoint": bundle.manifest["checkpoint"],
        "generator": {name: importlib.metadata.version(name) for name in GENERATORS},
        **circumstances,
        "thresholds": vars(parity.thresholds),
        "tensors": [
            {"graph": row.graph, "tensor": row.tensor, **_numbers(row.difference), "passed": row.passed}
            for row in parity.tensors
        ],
        "frames": [_numbers(row) for row in parity.frames],
        "worst_frame": {"index": parity.worst.index, "picture": PICTURE_FILE},
    }


def store(parity: Parity, bundle: Bundle, content: dict[str, Any]) -> None:
    """Write report and picture into the bundle and name them in its manifest, in the place of older ones.

    The bundle verifies at every moment: until the last step its manifest names no report, so that being interrupted
    leaves a bundle without a verdict. Errors: a bundle that was written anew since it was opened, a full disk.
    """
    manifest = read_manifest(bundle.folder)
    if manifest != bundle.manifest:
        raise HideNerfError(f"{bundle.folder}: this bundle was changed while parity ran; run hidenerf-parity again.")
    files = {name: digest for name, digest in manifest["files"].items() if name not in (REPORT_FILE, PICTURE_FILE)}
    worst = parity.worst
    panel = np.concatenate([worst.reference, worst.result, worst.error_map], axis=1)
    with ExitStack() as stack:
        partial_report, partial_picture = (
            stack.enter_context(atomic_path(bundle.folder / name)) for name in (REPORT_FILE, PICTURE_FILE)
        )
        partial_report.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_picture(panel, partial_picture)
        added = {REPORT_FILE: sha256_of(partial_report), PICTURE_FILE: sha256_of(partial_picture)}
        _write_manifest(bundle.folder, manifest | {"files": files, "parity": None})
    entry = {
        "passed": parity.passed,
        "frames": len(parity.frames),
        "frame_psnr": _number(min(frame.psnr for frame in parity.frames)),
        "thresholds": vars(parity.thresholds),
        "report": REPORT_FILE,
    }
    _write_manifest(bundle.folder, manifest | {"files": files | added, "parity": entry})


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    with atomic_path(folder / MANIFEST_NAME) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _numbers(row: Any) -> dict[str, Any]:
    return {key: _number(value) for key, value in vars(row).items()}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _mark(*rows: TensorRow | FrameRow) -> str:
    return "" if all(row.passed for row in rows) else "  FAILED"
