"""A folder of clips, prepared clip by clip into another folder of the same layout."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.training.data.clips.file import CLIP_SUFFIX, open_clip, save_clip
from hidenerf.training.data.clips.preparation import ClipOptions, origin_of, prepare_clip

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"),
    *(".flv", ".ogv", ".wmv", ".gif"),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedFolder:
    """How many clips were found, prepared now, and prepared before; frames of those prepared now."""

    clips: int
    prepared: int
    skipped: int
    frames: int


def prepare_folder(
    folder: Path,
    output: Path,
    face_model: FaceModel,
    landmarker: FaceLandmarker,
    options: ClipOptions,
    progress: Callable[[], AbstractContextManager[Callable[[], None]]],
) -> PreparedFolder:
    """Prepare every clip in `folder` and below, and save it under the same name in `output`, with `.npz` added.

    A clip that is prepared already is skipped. One that cannot be prepared is left out; the reasons are logged at the
    end, as errors. progress: is entered once a clip and yields what is called after each frame.
    Errors: no clips, none that could be prepared, an output that cannot be written.
    """
    paths = clips_in(folder)
    prepared = skipped = frames = 0
    failures: list[str] = []
    for path in paths:
        name = path.relative_to(folder)
        target = output / name.with_name(name.name + CLIP_SUFFIX)
        began = time.monotonic()
        try:
            if target.exists() and _origin_in(target) == origin_of(path, face_model, options):
                skipped += 1
                logger.info(f"{name}: prepared already")
                continue
            with progress() as frame_done:
                clip = prepare_clip(path, face_model, landmarker, options, frame_done)
        except HideNerfError as error:
            failures.append(str(error))
            logger.info(f"{name}: not prepared, see below")
            continue
        # What keeps one clip from being written would keep the others, too.
        save_clip(clip.clip, clip.frames, target)
        prepared += 1
        frames += len(clip.frames)
        seconds = time.monotonic() - began
        logger.info(f"{name}: {len(clip.frames)} frames, fit error {clip.error:.2f} px, {seconds:.1f} s")
    for failure in failures:
        logger.error(failure)
    if prepared + skipped == 0:
        raise HideNerfError(f"{folder}: none of its {len(paths)} clips could be prepared, for the reasons above.")
    return PreparedFolder(len(paths), prepared, skipped, frames)


def clips_in(folder: Path) -> list[Path]:
    """Paths of all clips in a folder and below, sorted. Errors: no such folder, no clips."""
    if not folder.is_dir():
        wrong = "not a folder" if folder.exists() else "no such folder"
        raise HideNerfError(f"{folder}: {wrong}; give the folder that holds the clips.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not paths:
        raise HideNerfError(f"{folder}: there are no clips in this folder ({', '.join(VIDEO_SUFFIXES)}); give another.")
    return paths


def _origin_in(target: Path) -> str:
    try:
        return open_clip(target).clip.origin
    except HideNerfError as error:
        raise HideNerfError(f"{error} It is in the way here: move it or choose another --output.") from None
