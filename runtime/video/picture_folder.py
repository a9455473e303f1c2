"""A folder of pictures as a stream of (picture, time), in the natural order of their names."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import natural_order
from hidenerf.runtime.video.pictures import centred_on_black, is_picture, read_picture

Picture = NDArray[np.uint8]

# Pictures do not say their rate.
FOLDER_FPS = Fraction(25)

logger = logging.getLogger(__name__)


class PictureFolderReader:
    """`with PictureFolderReader(path) as reader:` the pictures of a folder as a `PictureStream` at 25 a second.

    Pictures of other sizes than the first one's are scaled to fit into it. Other files are passed over, hidden ones
    silently. Errors: an unreadable folder, no pictures in it; those of `read_picture`.
    """

    fps = FOLDER_FPS
    has_audio = False

    def __init__(self, path: Path) -> None:
        try:
            files = sorted(
                (one for one in path.iterdir() if one.is_file() and not one.name.startswith(".")), key=natural_order
            )
            self._paths = [one for one in files if is_picture(one)]
        except OSError as error:
            raise HideNerfError(f"{path}: this folder cannot be read ({error.strerror}); give another.") from None
        if not self._paths:
            raise HideNerfError(
                f"{path}: there are no pictures in this folder; give one with a picture a frame, or a clip."
            )
        if len(files) > len(self._paths):
            other = next(one for one in files if one not in self._paths)
            logger.info(
                f"{path}: {len(self._paths)} pictures; other files, {len(files) - len(self._paths)}, are passed over, "
                f"the first is {other.name}."
            )
        self.length: int | None = len(self._paths)
        self._first = read_picture(self._paths[0])
        self.size: tuple[int, int] = (self._first.shape[0], self._first.shape[1])

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures [H, W, 3] uint8 RGB with their times."""
        scaled = False
        for index, path in enumerate(self._paths):
            picture = read_picture(path) if index else self._first
            if picture.shape[:2] != self.size:
                if not scaled:
                    logger.info(f"{path}: not of the first picture's size; such pictures are scaled to fit into it.")
                scaled = True
                picture = fitted(picture, self.size)
            yield picture, index / self.fps

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "PictureFolderReader":
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture [h, w, 3] scaled to fit into a size (height, width), in the middle of black."""
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(picture, (min(inner[0], width), min(inner[1], height)), interpolation=method)
    return centred_on_black(np.asarray(small, np.uint8), size)
