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
# In large pictures they shrink on to the size in which a face of SMALLEST_FACE pixels is a sixth. Of these windows
# neighbours overlap by a third: they are for faces smaller than that. No search takes more windows than MOST_WINDOWS:
# in pictures beyond some 80 megapixels the smallest face is larger.
SMALLEST_FACE = 40
FACE_SHARE = 1 / 6
MOST_WINDOWS = 6000
# A window whose colours vary less, standard deviation in levels, shows no face.
FLAT = 1.0

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

# Of MediaPipe's landmarks.
_FOREHEAD, _CHIN = 10, 152

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
    levels = [[whole_window(height, width)]]
    for side, overlap in _sides(height, width):
        levels.append(
            [Window.about(x, y, side) for y in _centres(height, side, overlap) for x in _centres(width, side, overlap)]
        )
    levels.append([Window.about(width / 2, height / 2, 1.8 * max(height, width))])
    return levels


def smallest_face(height: int, width: int) -> int:
    """The height, pixels, from which on faces are found in a picture of this size."""
    sides = [side for side, _ in _sides(height, width)]
    return max(SMALLEST_FACE, int(np.ceil(FACE_SHARE * min(sides, default=0.0) - 1e-6)))


def _sides(height: int, width: int) -> list[tuple[float, float]]:
    """Sides of the windows of a search, pixels, from large to small, and by which share neighbours overlap."""
    short = float(min(height, width))
    sides = []
    side = short
    while side >= max(SMALLEST_WINDOW_PIXELS, short * SMALLEST_WINDOW_SHARE):
        sides.append((side, 1 / 2))
        side /= WINDOW_SHRINK
    last = sides[-1][0] if sides else 0.0
    goal = SMALLEST_FACE / FACE_SHARE
    if last > goal:
        steps = int(np.ceil(np.log(last / goal) / np.log(WINDOW_SHRINK)))
        sides += [(float(last * (goal / last) ** (step / steps)), 1 / 3) for step in range(1, steps + 1)]
    counts = [len(_centres(height, *one)) * len(_centres(width, *one)) for one in sides]
    return [one for one, count in zip(sides, np.cumsum(counts), strict=True) if count <= MOST_WINDOWS]


def whole_window(height: int, width: int) -> Window:
    """The window that just holds the whole picture."""
    return Window.about(width / 2, height / 2, max(height, width))


def _centres(length: int, side: float, overlap: float) -> NDArray[np.float64]:
    count = int(np.ceil((length - side) / (side * (1 - overlap)))) + 1
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


def upside_down(face: FaceObservation) -> bool:
    """Whether a face's chin is above its forehead in the picture: it is then looked for in windows turned by 180°."""
    return bool(face.landmarks[_CHIN, 1] < face.landmarks[_FOREHEAD, 1])


def detect_in_window(
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], window: Window, turned: bool = False
) -> list[FaceObservation]:
    """Faces seen in a window, with landmarks in the picture's pixels. turned: look at it turned by 180°."""
    import cv2

    seen = view(picture, window, WINDOW_RESOLUTION)
    if float(np.max(cv2.meanStdDev(seen)[1])) < FLAT:
        return []
    if turned:
        seen, corner, scale = seen[::-1, ::-1], [window.left + window.side, window.top + window.side], -window.side
    else:
        corner, scale = [window.left, window.top], window.side
    return [
        FaceObservation(face.landmarks * (scale / WINDOW_RESOLUTION) + np.array(corner), face.scores)
        for face in landmarker.detect(seen)
    ]


def confirm(
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], hit: FaceObservation, agreement: float = AGREEMENT
) -> FaceObservation | None:
    """The face of a hit, averaged over several closer windows; None if it is not a face.

    agreement: largest difference between the windows, a share of the face's size.
    """
    turned = upside_down(hit)
    face = nearest(detect_in_window(landmarker, picture, Window.around(hit), turned), hit)
    if face is None:
        return None
    views = [face]
    for factor in CHECK_WINDOWS:
        again = nearest(detect_in_window(landmarker, picture, Window.around(face, factor), turned), face)
        if again is None or _disagreement(again, face) > agreement:
            return None
        views.append(again)
    mirrored = nearest(_detect_mirrored(landmarker, picture, Window.around(face), turned), face)
    if mirrored is None:
        return None
    shift = np.linalg.norm(mirrored.landmarks.mean(axis=0) - face.landmarks.mean(axis=0)) / face.size
    return _mean(views) if shift <= agreement else None


def _mean(views: Sequence[FaceObservation]) -> FaceObservation:
    landmarks = np.mean([face.landmarks for face in views], axis=0)
    return FaceObservation(landmarks, np.mean([face.scores for face in views], axis=0, dtype=np.float32))


def _disagreement(one: FaceObservation, other: FaceObservation) -> float:
    return float(np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()) / other.size


def _detect_mirrored(
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], window: Window, turned: bool
) -> list[FaceObservation]:
    seen = view(picture, window, WINDOW_RESOLUTION)
    # Mirrored and turned is upside down.
    faces = landmarker.detect(seen[::-1] if turned else seen[:, ::-1])
    scale = np.array([1, -1] if turned else [-1, 1]) * window.side / WINDOW_RESOLUTION
    far = np.array([window.left + window.side, window.top + window.side])
    corner = np.where(scale < 0, far, [window.left, window.top])
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
    landmarker: FaceLandmarker, picture: NDArray[np.uint8], windows: Sequence[Window], turned: bool = False
) -> Iterator[FaceObservation]:
    """Confirmed faces in some windows, each face once. turned: look at the windows turned by 180°."""
    found: list[FaceObservation] = []
    for window in windows:
        for hit in detect_in_window(landmarker, picture, window, turned):
            if nearest(found, hit) is None:
                face = confirm(landmarker, picture, hit)
                if face is not None and nearest(found, face) is None:
                    found.append(face)
                    yield face


def find_faces(landmarker: FaceLandmarker, picture: NDArray[np.uint8]) -> list[FaceObservation]:
    """All faces of a picture [H, W, 3] uint8 RGB from left to right, except ones much smaller than the largest.

    Faces from `smallest_face` on are found. The search ends at the level where a face half as large as the largest one
    would have been found. Where there is none, the picture is searched turned by 180°, for faces that are not small.
    """
    found: list[FaceObservation] = []
    levels = search_levels(*picture.shape[:2])
    large = [level for level in levels if level[0].side >= SMALLEST_WINDOW_SHARE * min(picture.shape[:2])]
    for turned, searched in ((False, levels), (True, large)):
        for windows in searched:
            for face in find_in_windows(landmarker, picture, windows, turned):
                if nearest(found, face) is None:
                    found.append(face)
            if windows[0].side <= ENOUGH_SIZES * max((face.size for face in found), default=0.0):
                break
        if found:
            break
    return sorted(found, key=lambda face: float(face.centre[0]))


def select_face(
    faces: Sequence[FaceObservation], number: int | None, where: str, smallest: int = SMALLEST_FACE
) -> FaceObservation:
    """The face to use of those in a picture, given from left to right.

    number: from 1; None takes the only one, or one at least twice as large as every other.
    where: the picture's name in errors.
    smallest: height of faces that would have been found, pixels, in errors.
    Errors: no face, several faces of comparable size, no face of this number.
    """
    if not faces:
        raise HideNerfError(
            f"{where}: no face was found; use a picture that shows one face, at least {smallest} pixels high."
        )
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
