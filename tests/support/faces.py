"""Pictures and clips with faces where a test wants them, from the portraits in shared/data."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.support.media import read_bgr

Picture = NDArray[np.uint8]

PORTRAITS = ("src_astronaut.png", "src_obama.jpg", "src_pyfeat_man.jpg")
# Height of the face in each, and its middle (x, y), pixels, read off the pictures.
FACES = {
    "src_astronaut.png": (108, (226, 124)),
    "src_obama.jpg": (293, (491, 274)),
    "src_pyfeat_man.jpg": (225, (282, 288)),
}


def portrait(folder: Path, name: str) -> Picture:
    """A portrait as uint8 RGB [H, W, 3]."""
    return np.ascontiguousarray(read_bgr(folder / name)[:, :, ::-1])


def grey(size: tuple[int, int]) -> Picture:
    """A picture (height, width) of plain grey."""
    return np.full((*size, 3), 110, np.uint8)


def pasted(
    folder: Path, name: str, onto: Picture, face_height: float, at: tuple[float, float], roll: float = 0.0
) -> Picture:
    """A copy of a picture with a portrait on it, its face this high and in this place (x, y), turned by `roll`."""
    source = portrait(folder, name)
    height, middle = FACES[name]
    scale = face_height / height
    if scale < 0.7:
        source = cv2.GaussianBlur(source, (0, 0), 0.4 / scale).astype(np.uint8, copy=False)
    matrix = cv2.getRotationMatrix2D(middle, roll, scale)
    matrix[:, 2] += np.subtract(at, middle)
    size = (onto.shape[1], onto.shape[0])
    warped = cv2.warpAffine(source, matrix, size)
    covered = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), matrix, size)
    return np.where(covered[..., None] > 127, warped, onto).astype(np.uint8)


def first_frames(folder: Path, name: str, count: int) -> list[Picture]:
    """The first pictures of a clip, by OpenCV."""
    capture = cv2.VideoCapture(str(folder / name))
    return [np.ascontiguousarray(capture.read()[1][:, :, ::-1]) for _ in range(count)]


def write_frames(path: Path, frames: Iterable[Picture], fps: Fraction = Fraction(25), codec: str = "libx264") -> Path:
    """A clip of these pictures, all of one even size."""
    quality = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {"b": "8000000", "deadline": "realtime"}
    with av.open(str(path), "w") as container:
        stream = None
        for picture in frames:
            if stream is None:
                stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=quality))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        assert stream is not None
        container.mux(stream.encode(None))
    return path
