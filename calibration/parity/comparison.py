"""Comparison of a bundle with the PyTorch model or another bundle: both sides render the same frames."""

import logging
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.calibration.parity.html import html_report
from hidenerf.calibration.parity.measurement import Parity, collect_poses, measure_parity
from hidenerf.calibration.parity.report import report, store, store_apart
from hidenerf.calibration.parity.sides import BundleSide, Side, TorchSide
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.progress import Progress
from hidenerf.runtime.sources.source import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """What both sides render: at most `frames` frames of the motion `driving` on `source`.

    source, driving: paths as for hidenerf-run. face, driving_face: which face, from the left, counted from 1.
    """

    source: Path
    driving: Path
    frames: int
    face: int | None = None
    driving_face: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The candidate's bundle and backend, what was rendered, and what was measured.

    motion_frames: length of the whole motion, of which `clip.frames` were compared.
    """

    bundle: Bundle
    backend: str
    clip: Clip
    motion_frames: int
    parity: Parity


def compare(
    bundle: Bundle,
    backend: str,
    reference: HideNerf | tuple[Bundle, str],
    clip: Clip,
    *,
    face_landmarker: Path | None,
    matting: Path | None,
    progress: Progress,
) -> Comparison:
    """Compare `bundle` on `backend` with the PyTorch model, or with another bundle on a backend.

    reference: the model, or a bundle and the name of its backend. face_landmarker, matting: files of MediaPipe's model
    and of the matting network, None for the defaults. progress: makes the progress bars.
    Errors: a backend that cannot run here, a reference of another model or face model, a source or motion that cannot
    be used.
    """
    if not isinstance(reference, HideNerf):
        _require_same_model(bundle, reference[0])
    with ExitStack() as stack:
        animator = stack.enter_context(
            Animator(bundle, backend, face_landmarker, matting=matting, allow_failed_parity=True)
        )
        source = animator.set_source(clip.source, clip.face)
        driver = animator.open_driver(clip.driving, face=clip.driving_face)
        with closing(driver), progress(driver.length) as advance:
            poses, length = collect_poses(driver, source, clip.frames, advance)
        candidate = BundleSide(animator)
        if isinstance(reference, HideNerf):
            expected: Side = TorchSide(reference)
        else:
            expected = _reference_side(*reference, source, stack)
        logger.info(
            "%s: preset %s, %s against %s, %d of %d frames of %s on %s",
            *(bundle.folder, bundle.preset, candidate.name, expected.name),
            *(len(poses), length, clip.driving.name, clip.source.name),
        )
        with progress(len(poses)) as advance:
            parity = measure_parity(expected, candidate, animator, source, poses, advance)
    return Comparison(bundle, animator.backend.name, clip, length, parity)


def store_in_bundle(found: Comparison) -> None:
    """Store a comparison with PyTorch as the bundle's parity report. Errors: see `report.store`."""
    store(found.parity, found.bundle, _content(found), page(found))


def store_in_folder(found: Comparison, folder: Path) -> None:
    """Store the report of a comparison in a folder of its own. Errors: see `report.store_apart`."""
    store_apart(found.parity, folder, _content(found), page(found))


def _content(found: Comparison) -> dict[str, Any]:
    clip = found.clip
    return report(
        found.parity,
        found.bundle,
        backend=found.backend,
        source=_describe(clip.source),
        driving=_describe(clip.driving),
        motion_frames=found.motion_frames,
    )


def page(found: Comparison) -> str:
    """The HTML report of a comparison."""
    parity, bundle, clip = found.parity, found.bundle, found.clip
    limits = parity.thresholds
    facts = [
        ("candidate", f"{bundle.folder.name}: preset {bundle.preset}, {parity.candidate}"),
        ("reference", parity.reference),
        ("source", clip.source.name),
        ("motion", f"{clip.driving.name}, {len(parity.frames)} of {found.motion_frames} frames"),
        ("asked", f"frames ≥ {limits.frame_psnr:g} dB, changes between frames ≥ {limits.flicker_psnr:g} dB"),
    ]
    return html_report(parity, f"Parity of {bundle.folder.name}", facts)


def _reference_side(bundle: Bundle, backend: str, source: Source, stack: ExitStack) -> Side:
    animator = stack.enter_context(Animator(bundle, backend, allow_failed_parity=True))
    animator.set_source(source)
    side = BundleSide(animator)
    side.name = f"{bundle.folder.name}, {side.name}"
    return side


def _require_same_model(bundle: Bundle, reference: Bundle) -> None:
    theirs = reference.manifest.model.config
    differing = [key for key, value in bundle.manifest.model.config.items() if theirs.get(key) != value]
    if differing:
        raise HideNerfError(
            f"{reference.folder} and {bundle.folder} are of different models ({', '.join(differing)}); compare bundles "
            "of one model."
        )
    if sha256_of(bundle.face_model_path) != sha256_of(reference.face_model_path):
        raise HideNerfError(
            f"{reference.folder} and {bundle.folder} have different face models; export both with the same."
        )


def _describe(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": sha256_of(path)} if path.is_file() else {"name": path.name}
