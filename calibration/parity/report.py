"""Report of parity: the table that the command prints, and the files in the bundle.

`parity/report.html` is for reading (`calibration/parity/html.py`). `parity/report.json` has the schema
`hidenerf-parity`, version 1:

| key          | meaning                                                                                          |
|--------------|--------------------------------------------------------------------------------------------------|
| `passed`     | whether every tensor, frame and change between frames was within `thresholds`                     |
| `failed`     | null, or what was not, in words                                                                   |
| `precision`, `checkpoint` | of the bundle, as in its manifest                                                    |
| `generator`  | versions of what was compared and of what compared                                                |
| `backend`    | which one rendered the frames                                                                     |
| `reference`, `candidate` | names of the two sides                                                                |
| `source`, `driving` | `name` and, for files, `sha256`                                                            |
| `motion_frames` | length of the driving motion, from which `frames` were taken                                   |
| `tensors`    | per `graph` and `tensor` the worst over all frames: `max_abs`, `relative`, `cosine`, `psnr`, `passed` |
| `frames`     | per frame its `index` in the driving motion, `psnr`, `ssim`, `flip`, `max_abs`, `passed`          |
| `flicker`    | per change from frame `index` to the next: `psnr`, `max_abs`, `motion`, `passed` (`FlickerRow`)   |
| `worst_frame`| `index`, and the `picture`: reference, candidate, ꟻLIP's error map                                |

Numbers that JSON lacks are the strings `"inf"` (the PSNR of what is identical) and `"nan"`.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hidenerf.calibration.parity.measurement import FlickerRow, FrameRow, Parity
from hidenerf.calibration.parity.tensors import TensorRow
from hidenerf.export.versions import versions
from hidenerf.runtime.bundle import PARITY_REPORT, Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path, sha256_of
from hidenerf.runtime.manifest import ParityVerdict, read_manifest, write_manifest
from hidenerf.runtime.video.pictures import write_picture

SCHEMA = "hidenerf-parity"
SCHEMA_VERSION = 1
REPORT_FILE = "parity/report.json"
PICTURE_FILE = "parity/worst_frame.png"
FILES = REPORT_FILE, PARITY_REPORT, PICTURE_FILE
GENERATORS = ("torch", "onnxruntime", "polygraphy", "flip-evaluator")


def table(parity: Parity) -> str:
    """Tensors and a summary of the frames, as lines of text; what is outside the thresholds is marked."""
    lines = [f"{'graph':<18}{'tensor':<21}{'max abs':>10}{'of range':>10}{'1 - cosine':>12}{'PSNR dB':>9}"]
    for row in parity.tensors:
        d = row.difference
        figures = f"{d.max_abs:>10.1e}{d.relative:>10.1e}{1.0 - d.cosine:>12.1e}{d.psnr:>9.1f}"
        lines.append(f"{row.graph:<18}{row.tensor:<21}{figures}{_mark(row)}")
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
    if parity.flicker:
        decibels = [row.psnr for row in parity.flicker]
        mark = _mark(*parity.flicker)
        lines += ["", f"{len(decibels):>4} changes between frames", f"{'flicker dB':>17}{min(decibels):>12.2f}"]
        lines[-1] += f"{np.median(decibels):>12.2f}{mark}"
    return "\n".join(lines)


def verdict(parity: Parity) -> str:
    """One line: passed or not, and by which thresholds."""
    t = parity.thresholds
    limits = (
        f"frames ≥ {t.frame_psnr:g} dB; flicker ≥ {t.flicker_psnr:g} dB; tensors: cosine ≥ {t.tensor_cosine:.9g}, "
        f"PSNR ≥ {t.tensor_psnr:g} dB"
    )
    failed = failures(parity)
    return f"Passed ({limits})." if failed is None else f"FAILED ({limits}): {failed}."


def failures(parity: Parity) -> str | None:
    """What is outside the thresholds, how much of it, and the worst of it, in words; None where nothing is."""
    limits = parity.thresholds
    found = []
    tensors = [row for row in parity.tensors if not row.passed]
    if tensors:
        worst = min(tensors, key=lambda row: _nan_first(row.difference.psnr))
        found.append(
            f"{len(tensors)} of {len(parity.tensors)} tensors (worst {worst.graph} {worst.tensor}, "
            f"{worst.difference.psnr:.1f} dB)"
        )
    kinds: Sequence[tuple[str, Sequence[FrameRow | FlickerRow], float]] = (
        ("frames", parity.frames, limits.frame_psnr),
        ("changes between frames", parity.flicker, limits.flicker_psnr),
    )
    for kind, rows, limit in kinds:
        outside = [row for row in rows if not row.passed]
        if outside:
            row = min(outside, key=lambda row: row.psnr)
            found.append(
                f"{len(outside)} of {len(rows)} {kind} (worst frame {row.index}, {row.psnr:.1f} dB where {limit:g} dB "
                "is asked)"
            )
    return ", ".join(found) or None


def report(parity: Parity, bundle: Bundle, **circumstances: Any) -> dict[str, Any]:
    """The content of `report.json`; circumstances: `backend`, `source`, `driving` and `motion_frames`."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "passed": parity.passed,
        "failed": failures(parity),
        "precision": bundle.precision,
        "checkpoint": bundle.manifest.checkpoint.to_json(),
        "generator": versions(GENERATORS),
        "reference": parity.reference,
        "candidate": parity.candidate,
        **circumstances,
        "thresholds": vars(parity.thresholds),
        "tensors": [
            {"graph": row.graph, "tensor": row.tensor, **_numbers(row.difference), "passed": row.passed}
            for row in parity.tensors
        ],
        "frames": [_numbers(row) for row in parity.frames],
        "flicker": [_numbers(row) for row in parity.flicker],
        "worst_frame": {"index": parity.worst_frames[0].row.index, "picture": PICTURE_FILE},
    }


def store(parity: Parity, bundle: Bundle, content: dict[str, Any], html: str) -> None:
    """Write the reports and the picture into the bundle and name them in its manifest, in the place of older ones.

    The bundle verifies at every moment: until the last step its manifest names no report, so that being interrupted
    leaves a bundle without a verdict. Errors: a bundle that was written anew since it was opened, a full disk.
    """
    manifest = read_manifest(bundle.folder)
    if manifest != bundle.manifest:
        raise HideNerfError(f"{bundle.folder}: this bundle was changed while parity ran; run hidenerf-parity again.")
    files = {name: digest for name, digest in manifest.files.items() if name not in FILES}
    with _written(parity, content, html, bundle.folder, FILES) as partial:
        added = {name: sha256_of(path) for name, path in partial.items()}
        without = replace(manifest, files=files, parity=None, parity_waived=False)
        write_manifest(without, bundle.folder)
    entry = ParityVerdict(
        passed=parity.passed,
        failed=content["failed"],
        precision=content["precision"],
        backend=content["backend"],
        frames=len(parity.frames),
        frame_psnr=min(frame.psnr for frame in parity.frames),
        flicker_psnr=min(row.psnr for row in parity.flicker) if parity.flicker else None,
        tensors_failed=sum(not row.passed for row in parity.tensors),
        thresholds=vars(parity.thresholds),
        report=REPORT_FILE,
    )
    write_manifest(replace(without, files=files | added, parity=entry), bundle.folder)


def store_apart(parity: Parity, folder: Path, content: dict[str, Any], html: str) -> None:
    """Write the reports and the picture into a folder of their own, of which no bundle knows.

    Errors: a folder that cannot be written to, a full disk.
    """
    names = [PurePosixPath(name).name for name in FILES]
    picture = content["worst_frame"] | {"picture": names[FILES.index(PICTURE_FILE)]}
    with _written(parity, content | {"worst_frame": picture}, html, folder, names):
        pass


@contextmanager
def _written(
    parity: Parity, content: dict[str, Any], html: str, folder: Path, names: Sequence[str]
) -> Iterator[dict[str, Path]]:
    """Write the files, and yield where they are for now; they take their places when the block ends.

    names: in `folder`, in the order of `FILES`.
    """
    worst = parity.worst_frames[0]
    panel = np.concatenate([worst.reference, worst.result, worst.error_map], axis=1)
    with ExitStack() as stack:
        data, page, picture = (stack.enter_context(atomic_path(folder / name)) for name in names)
        data.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        page.write_text(html, encoding="utf-8")
        write_picture(panel, picture)
        yield dict(zip(names, (data, page, picture), strict=True))


def _numbers(row: Any) -> dict[str, Any]:
    return {key: _number(value) for key, value in vars(row).items()}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _nan_first(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _mark(*rows: TensorRow | FrameRow | FlickerRow) -> str:
    return "" if all(row.passed for row in rows) else "  FAILED"
