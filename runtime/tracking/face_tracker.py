"""The face tracker: follows one face from picture to picture of a clip."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.search import (
    FACE_WINDOW,
    LOOSE_AGREEMENT,
    Window,
    confirm,
    detect_in_window,
    find_faces,
    find_in_windows,
    nearest,
    search_levels,
    select_face,
    upside_down,
    whole_window,
)

# The first picture, and one in which the face was just lost, is searched for faces of all sizes, but not sooner than
# this many frames after the last such search. Other pictures without a face are searched as a whole and in a few of the
# smaller windows in turn: a long stretch without a face then costs little, and a small face is still found soon.
FRAMES_BETWEEN_SEARCHES = 30
WINDOWS_PER_FRAME = 6
# If the clip has shown several faces, the tracker waits this long for a lost face near its last place before it takes
# another one. A lone face may reappear anywhere at once, as after a cut.
FRAMES_TO_WAIT = 30
REAPPEARANCE_SIZES = 1.5
# A face that moved fast is searched in a window of this many of its sizes; it may have moved by this many.
FAST_WINDOW = 4.4
FAST_REACH = 1.5
# A followed face is confirmed after this many frames, so that the tracker does not stay on a pattern such as a shirt's.
FRAMES_BETWEEN_CHECKS = 30


class FaceTracker:
    """Follows one face: in a window around its last place, or by a search after it was lost.

    landmarker: the caller closes it.
    face: which of several faces, from 1, from the left in the first picture with faces; None takes the only one.
    where: the clip's name in errors.
    """

    def __init__(self, landmarker: FaceLandmarker, face: int | None, where: str) -> None:
        self._landmarker = landmarker
        self._number = face
        self._where = where
        self._last: FaceObservation | None = None
        self._in_sight = False
        self._since_check = 0
        self._since_sight = 0
        self._since_search = FRAMES_BETWEEN_SEARCHES
        self._company = False
        self._turn: Iterator[Window] = iter(())
        self._turn_shape: tuple[int, ...] = ()

    def follow(self, picture: NDArray[np.uint8]) -> FaceObservation | None:
        """The face in the clip's next picture [H, W, 3] uint8 RGB, None if it is not in sight.

        Errors: the first picture with faces has several of comparable size and no number was given, or fewer faces
        than the number.
        """
        face = self._follow_on(picture) if self._in_sight else None
        if face is None:
            face = self._acquire(picture)
        self._in_sight = face is not None
        if face is not None:
            self._last = face
        self._since_sight = 0 if self._in_sight else self._since_sight + 1
        self._since_search += 1
        return face

    def _follow_on(self, picture: NDArray[np.uint8]) -> FaceObservation | None:
        face = self._find_near(picture, FACE_WINDOW, 0.5) or self._find_near(picture, FAST_WINDOW, FAST_REACH)
        self._since_check += 1
        if face is not None and self._since_check >= FRAMES_BETWEEN_CHECKS:
            self._since_check = 0
            return face if confirm(self._landmarker, picture, face, LOOSE_AGREEMENT) is not None else None
        return face

    def _find_near(self, picture: NDArray[np.uint8], window: float, reach: float) -> FaceObservation | None:
        assert self._last is not None
        around = Window.around(self._last, window)
        faces = detect_in_window(self._landmarker, picture, around, upside_down(self._last))
        return nearest(faces, self._last, reach)

    def _acquire(self, picture: NDArray[np.uint8]) -> FaceObservation | None:
        self._since_check = 0
        if self._since_sight == 0 and self._since_search >= FRAMES_BETWEEN_SEARCHES:
            self._since_search = 0
            return self._choose(find_faces(self._landmarker, picture))
        turned = self._last is not None and upside_down(self._last)
        seen = list(find_in_windows(self._landmarker, picture, self._next_windows(picture.shape), turned))
        if seen and self._last is None:
            # The first faces of the clip: choosing one takes all of them.
            seen = find_faces(self._landmarker, picture) or seen
        return self._choose(seen)

    def _next_windows(self, shape: tuple[int, ...]) -> list[Window]:
        if shape != self._turn_shape:
            _, *levels = search_levels(*shape[:2])
            self._turn = itertools.cycle(window for level in levels for window in level)
            self._turn_shape = shape
        return [whole_window(*shape[:2]), *itertools.islice(self._turn, WINDOWS_PER_FRAME)]

    def _choose(self, faces: list[FaceObservation]) -> FaceObservation | None:
        self._company = self._company or len(faces) > 1
        if self._last is None:
            return select_face(faces, self._number, self._where) if faces else None
        last = self._last

        def distance(face: FaceObservation) -> float:
            return float(np.linalg.norm(face.centre - last.centre))

        if self._company and self._since_sight < FRAMES_TO_WAIT:
            faces = [face for face in faces if distance(face) < REAPPEARANCE_SIZES * last.size]
        return min(faces, key=distance, default=None)
