"""The face search: finds faces of any size in a picture.

MediaPipe's detector misses faces smaller than some 8 % of its input. The picture is therefore searched in overlapping
square windows, from large to small, and every hit is confirmed in closer windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation

# Windows shrink by this factor from level to level, down to the larger of these two; neighbours overlap by half.
WINDOW_SHRINK = 1.5
SMALLEST_WINDOW_PIXELS = 160
SMALLEST_WINDOW_SHARE = 1 / 6

# The landmark network itself works at 256 pixels on 1.5 times the face.
WINDOW_RESOLUTION = 384
FACE_WINDOW = 2.2

# A hit is a face if it is found again in these windows around it (multiples of its size), and mirrored, with landmarks
# that agree to AGREEMENT, a share of its size. Faces from 32 pixels on differ by at most 0.03, except for the smallest
# and most turned ones; false hits (textures, cells, wheels) differ by 0.07 or more, or are not found again.
CHECK_WINDOWS = (1.6, 3.0)
AGREEMENT = 0.05
# For a face that was there a moment ago: it may be half turned away or partly covered.
LOOSE_AGREEMENT = 0.12

# A search ends at windows of this many sizes of the largest face: a face half as large would have been found there.
ENOUGH_SIZES = 3.5

# A face smaller than this share of the largest is in the background and is ignored without --face.
COMPARABLE_SIZE = 0.5


@dataclass(frozen=True)
class Window:
    """A square part of a picture, whole pixels; it may reach over the edge."""

    left: int
    top: int
    side: int

    @classmethod
    def about(cls, x: float, y: float, side: float) -> "Window":
        """The window of this side with its middle at (x, y)."""
        return cls(round(x - side / 2), round(y - side / 2), max(1, round(side)))

    @classmethod
    def around(cls, face: FaceObservation, factor: float = FACE_WINDOW) -> "Window":
        """The window about a face whose side is `factor` times the face's size."""
        x, y = face.centre
        return cls.about(float(x), float(y), factor * face.size)


def search_levels(height: int, width: int) -> list[list[Window]]:
    """The windows of a whole search, level by level.

    First the whole picture, then ever smaller overlapping windows, last one with a wide margin, for a face that fills
    the picture.
    """
    long, short = max(height, width), min(height, width)
    levels = [[whole_window(height, width)]]
    side = float(short)
    while side >= max(SMALLEST_WINDOW_PIXELS, short * SMALLEST_WINDOW_SHARE):
        levels.append([Window.about(x, y, side) for y in _centres(height, side) for x in _centres(width, side)])
        side /= WINDOW_SHRINK
    levels.append([Window.about(width / 2, height / 2, 1.8 * long)])
    return levels


def whole_window(height: int, width: int) -> Window:
    """The window that just holds the whole picture."""
    return Window.about(width / 2, height / 2, max(height, width))


def _centres(length: int, side: float) -> NDArray[np.float64]:
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return np.linspace(side / 2, length - side / 2, count) if count > 1 else np.array([length / 2])


def view(picture: NDArray[np.uint8], window: Window, resolution: int) -> NDArray[np.uint8]:
    """The window's pixels as [resolution, resolution, 3] uint8: averaged when shrunk, black outside the picture."""
    import cv2

    height, width = picture.shape[:2]
    top, bottom = max(window.top, 0), min(window.top + window.side, height)
    left, right = max(window.left, 0), min(window.left + window.side, width)
    if top >= bottom or left >= right:
        return np.zeros((resolution, resolution, 3), np.uint8)
    seen = cv2.copyMakeBorder(
        picture[top:bottom, left:right],
        top - window.top,
        window.top + window.side - bottom,
        left - window.left,
        window.left + window.side - right,
        cv2.BORDER_CONSTANT,
    )
    method = cv2.INTER_AREA if window.side > resolution else cv2.INTER_LINEAR
    return cv2.resize(seen, (resolution, resolution), interpolation=method)  # type: ignore[return-value]


def detect_in_window(landmarker: FaceLandmarker, picture: NDArray[np.uint8], window: Window) -> list[FaceObservation]:
    """Faces seen in a window, with landmarks in the picture's pixels."""
    scale = window.side / WINDOW_RESOLUTION
    corner = np.array([window.left, window.top])
    return [
        FaceObservation(face.landmarks * scale + corner, face.scores)
        for face in landmarker.detect(view(picture, window, WINDOW_RESOLUTION))
    ]


def confirm(
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], hit: FaceObservation, agreement: float = AGREEMENT
) -> FaceObservation | None:
    """The face of a hit, averaged over several closer windows; None if it is not a face.

    agreement: largest difference between the windows, a share of the face's size.
    """
    face = nearest(detect_in_window(landmarker, picture, Window.around(hit)), hit)
    if face is None:
        return None
    views = [face]
    for factor in CHECK_WINDOWS:
        again = nearest(detect_in_window(landmarker, picture, Window.around(face, factor)), face)
        if again is None or _disagreement(again, face) > agreement:
            return None
        views.append(again)
    mirrored = nearest(_detect_mirrored(landmarker, picture, Window.around(face)), face)
    if mirrored is None:
        return None
    shift = np.linalg.norm(mirrored.landmarks.mean(axis=0) - face.landmarks.mean(axis=0)) / face.size
    return _mean(views) if shift <= agreement else None


def _mean(views: Sequence[FaceObservation]) -> FaceObservation:
    landmarks = np.mean([face.landmarks for face in views], axis=0)
    return FaceObservation(landmarks, np.mean([face.scores for face in views], axis=0, dtype=np.float32))


def _disagreement(one: FaceObservation, other: FaceObservation) -> float:
    return float(np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()) / other.size


def _detect_mirrored(landmarker: FaceLandmarker, picture: NDArray[np.uint8], window: Window) -> list[FaceObservation]:
    faces = landmarker.detect(view(picture, window, WINDOW_RESOLUTION)[:, ::-1])
    scale = np.array([-1, 1]) * window.side / WINDOW_RESOLUTION
    corner = np.array([window.left + window.side, window.top])
    return [FaceObservation(face.landmarks * scale + corner, face.scores) for face in faces]


def nearest(faces: Sequence[FaceObservation], to: FaceObservation, reach: float = 0.5) -> FaceObservation | None:
    """The face nearest to another, None if none of a similar size is within `reach` of its sizes."""
    near = [
        face
        for face in faces
        if np.linalg.norm(face.centre - to.centre) < reach * to.size and 0.5 < face.size / to.size < 2.0
    ]
    return min(near, key=lambda face: float(np.linalg.norm(face.centre - to.centre)), default=None)


def find_in_windows(
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], windows: Sequence[Window]
) -> Iterator[FaceObservation]:
    """Confirmed faces in some windows, each face once."""
    found: list[FaceObservation] = []
    for window in windows:
        for hit in detect_in_window(landmarker, picture, window):
            if nearest(found, hit) is None:
                face = confirm(landmarker, picture, hit)
                if face is not None and nearest(found, face) is None:
                    found.append(face)
                    yield face


def find_faces(landmarker: FaceLandmarker, picture: NDArray[np.uint8]) -> list[FaceObservation]:
    """All faces of a picture [H, W, 3] uint8 RGB from left to right, except ones much smaller than the largest.

    Faces from some 32 pixels on are found. The search ends at the level where a face half as large as the largest one
    would have been found.
    """
    found: list[FaceObservation] = []
    for windows in search_levels(*picture.shape[:2]):
        for face in find_in_windows(landmarker, picture, windows):
            if nearest(found, face) is None:
                found.append(face)
        if windows[0].side <= ENOUGH_SIZES * max((face.size for face in found), default=0.0):
            break
    return sorted(found, key=lambda face: float(face.centre[0]))


def select_face(faces: Sequence[FaceObservation], number: int | None, where: str) -> FaceObservation:
    """The face to use of those in a picture, given from left to right.

    number: from 1; None takes the only one, or one at least twice as large as every other.
    where: the picture's name in errors.
    Errors: no face, several faces of comparable size, no face of this number.
    """
    if not faces:
        raise HideNerfError(f"{where}: no face was found; use a picture that shows one face, at least 40 pixels high.")
    if number is not None:
        if not 1 <= number <= len(faces):
            raise HideNerfError(
                f"{where}: there is no face {number}; {_count(faces)}, so give --face a number from 1 to {len(faces)}."
            )
        return faces[number - 1]
    largest = max(faces, key=lambda face: face.size)
    comparable = [face for face in faces if face.size > COMPARABLE_SIZE * largest.size]
    if len(comparable) > 1:
        raise HideNerfError(
            f"{where}: {_count(faces)}; choose one with --face N, N from 1 to {len(faces)}, counted from the left."
        )
    return largest


def _count(faces: Sequence[FaceObservation]) -> str:
    places = ", ".join(f"{face.size:.0f} px at ({face.centre[0]:.0f}, {face.centre[1]:.0f})" for face in faces)
    return f"{len(faces)} face{'s were' if len(faces) > 1 else ' was'} found ({places})"
