from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS
from hidenerf.runtime.tracking.face_tracker import FaceTracker
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from tests.support.faces import Picture, first_frames, grey, pasted


@pytest.fixture(scope="module")
def landmarker(face_landmarker: Path) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(face_landmarker, ARKIT_EXPRESSIONS) as opened:
        yield opened


def two_faces(folder: Path, left: bool = True, right: bool = True) -> Picture:
    picture = grey((360, 720))
    if left:
        picture = pasted(folder, "src_astronaut.png", picture, 80, (200, 180))
    return pasted(folder, "src_pyfeat_man.jpg", picture, 80, (520, 180)) if right else picture


def test_a_real_clip_is_tracked_in_every_frame_as_mediapipe_tracks_it(
    landmarker: FaceLandmarker, shared_data: Path
) -> None:
    reference = np.load(shared_data / "drv_d10.track.npz")
    tracker = FaceTracker(landmarker, None, "clip")
    frames = first_frames(shared_data, "drv_d10.mp4", 40)
    landmarks = reference["landmarks"][:40, :, :2] * frames[0].shape[1::-1]
    for frame, expected in zip(frames, landmarks, strict=True):
        face = tracker.follow(frame)
        assert face is not None
        # The reference was smoothed by MediaPipe's video mode.
        assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 0.02 * face.size


def test_a_clip_upside_down_is_tracked_in_every_frame(landmarker: FaceLandmarker, shared_data: Path) -> None:
    frames = first_frames(shared_data, "drv_d10.mp4", 12)
    upright, turned = FaceTracker(landmarker, None, "clip"), FaceTracker(landmarker, None, "clip")
    height, width = frames[0].shape[:2]
    for frame in frames:
        face = turned.follow(np.ascontiguousarray(frame[::-1, ::-1]))
        expected = upright.follow(frame)
        assert face is not None
        assert expected is not None
        assert np.linalg.norm([width, height] - face.landmarks - expected.landmarks, axis=1).mean() < 0.02 * face.size


def test_a_small_moving_face_is_followed_and_found_again_after_a_gap(
    landmarker: FaceLandmarker, shared_data: Path
) -> None:
    tracker = FaceTracker(landmarker, None, "clip")
    empty = grey((720, 1280))
    seen = []
    for index in range(30):
        there = index < 8 or index >= 14
        place = (200 + 15 * index, 300)
        picture = pasted(shared_data, "src_obama.jpg", empty, 45, place) if there else empty
        face = tracker.follow(picture)
        seen.append(face is not None)
        if face is not None:
            np.testing.assert_allclose(face.centre, place, atol=6)
    assert seen[:14] == [True] * 8 + [False] * 6
    # Back within a second, and never lost again.
    back = seen.index(True, 14)
    assert all(seen[back:])


def test_a_long_stretch_without_a_face_stays_cheap(landmarker: FaceLandmarker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network runs on far fewer windows of a later picture than of the first."""
    views: list[Picture] = []
    detect = landmarker.detect

    def counted(view: Picture) -> list[FaceObservation]:
        views.append(view)
        return detect(view)

    monkeypatch.setattr(landmarker, "detect", counted)
    tracker = FaceTracker(landmarker, None, "clip")
    # Plain windows are passed over.
    empty = np.random.default_rng(0).integers(100, 120, (1080, 1920, 3), np.uint8)
    tracker.follow(empty)
    first = len(views)
    views.clear()
    for _ in range(10):
        assert tracker.follow(empty) is None
    assert len(views) / 10 < first / 4


def test_several_faces_need_a_number_and_the_chosen_one_is_followed(
    landmarker: FaceLandmarker, shared_data: Path
) -> None:
    with pytest.raises(HideNerfError, match=r"clip\.mp4: 2 faces were found .*--face N"):
        FaceTracker(landmarker, None, "clip.mp4").follow(two_faces(shared_data))
    with pytest.raises(HideNerfError, match="there is no face 3"):
        FaceTracker(landmarker, 3, "clip.mp4").follow(two_faces(shared_data))
    tracker = FaceTracker(landmarker, 2, "clip.mp4")
    for _ in range(2):
        face = tracker.follow(two_faces(shared_data))
        assert face is not None
        assert face.centre[0] == pytest.approx(520, abs=8)


def test_the_tracker_does_not_go_over_to_the_neighbour_of_a_hidden_face(
    landmarker: FaceLandmarker, shared_data: Path
) -> None:
    tracker = FaceTracker(landmarker, 2, "clip.mp4")
    assert tracker.follow(two_faces(shared_data)) is not None
    for _ in range(4):
        assert tracker.follow(two_faces(shared_data, right=False)) is None
    back = tracker.follow(two_faces(shared_data))
    assert back is not None
    assert back.centre[0] == pytest.approx(520, abs=8)
