"""Following one face through a clip."""

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
    whole_window,
)

# A picture in which the face was just lost, or the first one, is searched for faces of all sizes, but not sooner than
# this many frames after the last such search. Other frames without a face are searched as a whole and in a few of the
# smaller windows in turn, so that a long stretch without one costs little and a small face is still found soon.
FRAMES_BETWEEN_SEARCHES = 30
WINDOWS_PER_FRAME = 6
# Where several faces are about, a face just lost is waited for this long near where it was, so that the tracker does
# not go over to its neighbour; a lone face may reappear anywhere at once, as after a cut.
FRAMES_TO_WAIT = 30
REAPPEARANCE_SIZES = 1.5
# A face that moved fast is looked for in a window of this many of its sizes, this many away from where it was.
FAST_WINDOW = 4.4
FAST_REACH = 1.5
# A face being followed is confirmed again after so many frames, lest the tracker sit on a shirt's pattern.
FRAMES_BETWEEN_CHECKS = 30


class FaceTracker:
    """Follows one face from picture to picture: in a window around where it was, by search where it was lost.

    landmarker stays the caller's to close. face: which of several faces, 1-based from the left in the first picture
    that shows any; None takes the only one. where: names the clip in errors.
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

        Error: the first picture with faces has several of comparable size and no number was given, or fewer than
        the number.
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
        faces = detect_in_window(self._landmarker, picture, Window.around(self._last, window))
        return nearest(faces, self._last, reach)

    def _acquire(self, picture: NDArray[np.uint8]) -> FaceObservation | None:
        self._since_check = 0
        if self._since_sight == 0 and self._since_search >= FRAMES_BETWEEN_SEARCHES:
            self._since_search = 0
            return self._choose(find_faces(self._landmarker, picture))
        seen = list(find_in_windows(self._landmarker, picture, self._next_windows(picture.shape)))
        if seen and self._last is None:
            # The first faces of the clip: all must be known to choose among them.
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
