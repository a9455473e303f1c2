"""Folder of prepared clips: finds the clips and pictures that a user names, and prepares them one by one."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.matting_network import MattingNetwork
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.training.data.clips.file import CLIP_SUFFIX, open_clip, save_clip
from hidenerf.training.data.clips.preparation import ClipOptions, PreparedClip, origin_of, prepare_clip
from hidenerf.training.data.clips.still_preparation import (
    StillOptions,
    fit_still,
    matte_of,
    origin_of_stills,
    prepare_stills,
)

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".flv", ".ogv", ".wmv", ".gif"),
)
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """What becomes one prepared clip.

    name: path relative to the folder that the user named; the prepared clip's name is this with `.npz` added.
    paths: one clip, one picture, or all pictures of one person.
    stills: whether `paths` are pictures.
    """

    name: Path
    paths: tuple[Path, ...]
    stills: bool

    @property
    def target(self) -> Path:
        """Path of the prepared clip, relative to the output folder."""
        return self.name.with_name(self.name.name + CLIP_SUFFIX)


@dataclass(frozen=True)
class PreparedFolder:
    """What `prepare_items` did.

    prepared: number of clips prepared.
    skipped: number of clips that were up to date.
    frames: of the clips prepared.
    failures: number of clips and pictures that could not be prepared.
    """

    prepared: int
    skipped: int
    frames: int
    failures: int


@dataclass
class Preparation:
    """Models and options with which items are prepared, and the failures so far.

    clips, stills: options of the two kinds.
    mattes: folder with a matte for each picture, at the same relative path; None computes masks.
    network: computes masks; None: from colours.
    failures: one sentence for each item or picture that could not be prepared; grows.
    """

    face_model: FaceModel
    landmarker: FaceLandmarker
    clips: ClipOptions
    stills: StillOptions
    mattes: Path | None = None
    network: MattingNetwork | None = None
    failures: list[str] = field(default_factory=list)

    def origin(self, item: Item) -> str:
        """`Clip.origin` of the item's prepared clip. Errors: a matte is missing."""
        if item.stills:
            mattes = [self._matte(item, path) for path in item.paths]
            return origin_of_stills(item.paths, mattes, self.face_model, self.stills, self.network)
        return origin_of(item.paths[0], self.face_model, self.clips, self.network)

    def prepare(self, item: Item, frame_done: Callable[[], None]) -> PreparedClip:
        """Prepare one item.

        Pictures that cannot be used are left out, and `failures` gets the reasons.
        frame_done: called after each frame.
        Errors: no picture can be used; those of `prepare_clip`.
        """
        if not item.stills:
            return prepare_clip(item.paths[0], self.face_model, self.landmarker, self.clips, frame_done, self.network)
        fitted, wrong = [], []
        for path in item.paths:
            try:
                matte = self._matte(item, path)
                fitted.append(fit_still(path, matte, self.face_model, self.landmarker, self.stills.face, self.network))
            except HideNerfError as error:
                wrong.append(error)
            except Exception as error:
                wrong.append(HideNerfError(_unforeseen(path, error)))
            frame_done()
        if not fitted:
            self.failures.extend(str(error) for error in wrong[:-1])
            raise wrong[-1]
        self.failures.extend(map(str, wrong))
        return prepare_stills(fitted, item.name.name, self.origin(item), self.face_model, self.stills, self.network)

    def _matte(self, item: Item, path: Path) -> Path | None:
        """Path of a picture's matte, if mattes are used. Errors: it is missing."""
        return None if self.mattes is None else matte_of(path, self.mattes / item.name.parent)


def prepare_items(
    items: Sequence[Item],
    output: Path,
    how: Preparation,
    progress: Callable[[], AbstractContextManager[Callable[[], None]]],
) -> PreparedFolder:
    """Prepare all items and save the prepared clips in a folder.

    Items that are up to date are skipped. Items that cannot be prepared are left out; the reasons are logged as errors
    at the end.
    output: the folder.
    progress: makes a context manager for each clip; its value is called after each frame.
    Errors: no item could be prepared, the output cannot be written.
    """
    prepared = skipped = frames = 0
    for item in items:
        target = output / item.target
        began = time.monotonic()
        try:
            if target.exists() and _origin_in(target) == how.origin(item):
                skipped += 1
                logger.info(f"{item.name}: prepared already")
                continue
            with progress() as frame_done:
                clip = how.prepare(item, frame_done)
        except Exception as error:
            # No file may end the batch, whatever is wrong with it.
            how.failures.append(str(error) if isinstance(error, HideNerfError) else _unforeseen(item.paths[0], error))
            logger.info(f"{item.name}: not prepared, see below")
            continue
        # Not caught: if one clip cannot be written, neither can the others.
        save_clip(clip.clip, clip.frames, target)
        prepared += 1
        frames += len(clip.frames)
        seconds = time.monotonic() - began
        logger.info(
            f"{item.name}: {counted(len(clip.frames), 'frame')}, fit error {clip.error:.2f} px, {seconds:.1f} s"
        )
    for failure in how.failures:
        logger.error(failure)
    if prepared + skipped == 0:
        what = counted(len(items), "item" if any(item.stills for item in items) else "clip")
        raise HideNerfError(f"None of the {what} could be prepared, for the reasons above; give others.")
    return PreparedFolder(prepared, skipped, frames, len(how.failures))


def items_in(places: Sequence[Path]) -> list[Item]:
    """Items of clips and pictures, one for each file.

    places: clips, pictures and folders; folders are searched recursively.
    Errors: no such file, a folder without clips and pictures, a file of another kind, two items with one name.
    """
    items: dict[Path, Item] = {}
    for place in places:
        if place.is_dir():
            paths = sorted(path for path in place.rglob("*") if _is_clip(path) or _is_picture(path))
            if not paths:
                raise HideNerfError(
                    f"{place}: there are no clips in this folder ({', '.join(VIDEO_SUFFIXES)}), and no pictures "
                    f"({', '.join(PICTURE_SUFFIXES)}); give another."
                )
            found = {path.relative_to(place): path for path in paths}
        elif not place.exists():
            raise HideNerfError(f"{place}: no such file or folder; give a clip, a picture, or a folder of them.")
        elif _is_clip(place) or _is_picture(place):
            found = {Path(place.name): place}
        else:
            kinds = ", ".join((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))
            raise HideNerfError(f"{place}: neither a clip nor a picture by its name ({kinds}); give another.")
        for name, path in found.items():
            if name in items:
                raise HideNerfError(
                    f"{path}: its prepared clip would have the name of {items[name].paths[0]}'s; prepare one of them "
                    "with another --output."
                )
            items[name] = Item(name, (path,), _is_picture(path))
    return list(items.values())


def people_in(places: Sequence[Path]) -> list[Item]:
    """Items of people, one for each folder; the frames are the pictures in it.

    places: one folder a person. Errors: not a folder, no pictures in it, two folders with one name.
    """
    items: dict[Path, Item] = {}
    for place in places:
        if not place.is_dir():
            wrong = "not a folder" if place.exists() else "no such folder"
            raise HideNerfError(f"{place}: {wrong}; with --person give folders that hold pictures of one person each.")
        paths = tuple(sorted(path for path in place.iterdir() if _is_picture(path)))
        name = Path(place.resolve().name)
        if not paths:
            raise HideNerfError(f"{place}: there are no pictures in this folder ({', '.join(PICTURE_SUFFIXES)}).")
        if name in items:
            raise HideNerfError(f"{place}: another folder has the name {name}, too; prepare it with another --output.")
        items[name] = Item(name, paths, stills=True)
    return list(items.values())


def counted(number: int, what: str) -> str:
    """A number with its noun: `1 clip`, `2 clips`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _unforeseen(path: Path, error: Exception) -> str:
    """The sentence for a file that met an error which nobody foresaw; its traceback is logged for --verbose."""
    logger.debug(f"{path}:", exc_info=error)
    reason = shown(f"{type(error).__name__}: {error}", 200)
    return f"{path}: this file could not be prepared ({reason}); leave it out, and report it with --verbose."


def _is_clip(path: Path) -> bool:
    """Whether a path is a file with the suffix of a clip."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _is_picture(path: Path) -> bool:
    """Whether a path is a file with the suffix of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _origin_in(target: Path) -> str:
    """`Clip.origin` of a prepared clip. Errors: the file is no prepared clip."""
    try:
        return open_clip(target).clip.origin
    except HideNerfError as error:
        raise HideNerfError(f"{error} It is in the way here: move it or choose another --output.") from None
