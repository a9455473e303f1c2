"""What a tracker finds: comparisons by hand, and the real tracker on a portrait against itself and turned."""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import camera_from_head_pose, canonical_camera, rotation_from_euler
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.tracking.pose import picture_intrinsics
from hidenerf.training.evaluation.tracking import (
    FaceRetracker,
    TrackedFace,
    action_correlation,
    angle_error,
    same_actions,
    tracked_figures,
    vertex_distance,
)
from tests.support.faces import FACES, portrait

SIZE = 256


def test_same_actions_by_hand() -> None:
    scores, true_scores = np.array([0.0, 0.05, 0.5, 0.9, 0.3]), np.array([0.0, 0.0, 0.45, 0.5, 0.0])
    assert same_actions(scores, true_scores) == pytest.approx((3 / 5, 1 / 3))
    everything, shown = same_actions(np.zeros(4), np.full(4, 0.02))
    assert everything == 1
    assert math.isnan(shown)


def test_action_correlation_is_of_the_actions_that_vary() -> None:
    true = np.array([[0.1, 0.5, 0.2], [0.5, 0.5, 0.4], [0.9, 0.5, 0.9]])
    found = np.array([[0.2, 0.1, 0.3], [0.3, 0.9, 0.3], [0.4, 0.5, 0.3]])
    # The first follows exactly, the second does not vary in truth, the third not in the pictures.
    assert action_correlation(found, true) == pytest.approx(0.5)
    assert math.isnan(action_correlation(found[:2], true[:2]))
    assert math.isnan(action_correlation(found, np.zeros((3, 3))))


def test_angle_error_is_the_root_of_the_mean_square_and_knows_the_circle() -> None:
    assert angle_error(np.array([[3.0, 0, 0], [0, 0, 4.0]]), np.zeros((2, 3))) == pytest.approx(math.sqrt(25 / 6))
    assert angle_error(np.array([179.0, 0, 0]), np.array([-179.0, 0, 0])) == pytest.approx(2 / math.sqrt(3))


def test_vertex_distance_by_hand() -> None:
    assert vertex_distance(np.array([[3.0, 4, 0], [0, 0, 1]]), np.zeros((2, 3))) == pytest.approx(3)


def face(scores: list[float], angles: list[float], height: float) -> TrackedFace:
    return TrackedFace(np.array(scores, np.float32), np.array(angles), np.full((2, 3), height, np.float32))


def test_figures_are_over_the_pictures_in_which_a_face_was_found() -> None:
    camera = canonical_camera(yaw=10)
    faces = [face([0.5, 0.0], [13.0, 0, 0], 0.1), None, face([0.5, 0.0], [0.0, 0, 0], 0.0)]
    truths = [face([0.5, 0.3], [10.0, 0, 0], 0.0), face([0, 0], [0.0, 0, 0], 0.0), None]
    sources = [face([0, 0], [0.0, 0, 0], 0.0), None, None]
    figures = tracked_figures(faces, truths, sources, [camera] * 3)
    assert figures == pytest.approx(
        {
            "face found": 2 / 3,
            "AUCON": 0.5,
            "AUCON shown": 0.5,
            "PRMSE": math.sqrt(3),
            "PRMSE to camera": math.sqrt((9 + 100) / 6),
            "AVD": 0.1 * math.sqrt(3),
        },
        abs=1e-5,
    )
    assert tracked_figures([None], [None], [None], [camera]) == {"face found": 0}


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def retracker(face_landmarker: Path, face_model: FaceModel) -> Iterator[FaceRetracker]:
    pytest.importorskip("scipy", reason="SciPy is not installed (extra [track])")
    with FaceRetracker(face_landmarker, face_model) as opened:
        yield opened


def obama(shared_data: Path, degrees: float) -> NDArray[np.uint8]:
    """The face of the portrait, 128 pixels high in the middle, turned anticlockwise."""
    height, middle = FACES["src_obama.jpg"]
    matrix = cv2.getRotationMatrix2D(middle, degrees, 128 / height)
    matrix[:, 2] += SIZE / 2 - np.array(middle)
    source = cv2.GaussianBlur(portrait(shared_data, "src_obama.jpg"), (0, 0), 1.0)
    return np.asarray(cv2.warpAffine(source, matrix, (SIZE, SIZE)), np.uint8)


def camera(roll: float) -> NDArray[np.float32]:
    intrinsics = picture_intrinsics(SIZE, SIZE, 3 * SIZE) / np.array([[SIZE], [SIZE], [1]])
    return camera_from_head_pose(rotation_from_euler(0, 0, roll), np.array([0, 0, 6.0]), intrinsics)


def test_a_portrait_against_itself_and_turned(
    shared_data: Path, retracker: FaceRetracker, face_model: FaceModel
) -> None:
    nobody = np.zeros(len(face_model.identity_names))
    upright = retracker.track(obama(shared_data, 0), nobody, camera(0))
    assert upright is not None
    assert np.abs(upright.angles[1:]).max() < 15
    same = tracked_figures([upright], [upright], [upright], [camera(0)])
    assert (same["AUCON"], same["AUCON shown"], same["PRMSE"], same["AVD"]) == (1, 1, 0, 0)

    turned = retracker.track(obama(shared_data, 12), nobody, camera(12))
    assert turned is not None
    assert turned.angles[2] - upright.angles[2] == pytest.approx(12, abs=1)
    other = tracked_figures([turned], [upright], [upright], [camera(12)])
    assert other["PRMSE"] == pytest.approx(12 / math.sqrt(3), abs=1)
    assert other["AUCON"] > 0.9
    assert 0 < other["AVD"] < 0.05
    assert other["PRMSE to camera"] == pytest.approx(same["PRMSE to camera"], abs=2)


def test_another_person_is_farther_than_the_same_one(
    shared_data: Path, retracker: FaceRetracker, face_model: FaceModel
) -> None:
    nobody = np.zeros(len(face_model.identity_names))
    pictures = [obama(shared_data, 0), obama(shared_data, 5), portrait(shared_data, "src_pyfeat_man.jpg")]
    one, again, other = (retracker.track(picture, nobody, camera(0)) for picture in pictures)
    assert one is not None
    assert again is not None
    assert other is not None
    assert vertex_distance(other.neutral, one.neutral) > 1.5 * vertex_distance(again.neutral, one.neutral)


def test_a_picture_without_a_face(retracker: FaceRetracker, face_model: FaceModel) -> None:
    plain = np.full((SIZE, SIZE, 3), 128, np.uint8)
    assert retracker.track(plain, np.zeros(len(face_model.identity_names)), camera(0)) is None


def test_a_tracker_whose_file_is_missing_is_an_error(tmp_path: Path, face_model: FaceModel) -> None:
    pytest.importorskip("mediapipe", reason="mediapipe is not installed (extra [track])")
    with pytest.raises(HideNerfError, match="no such file"):
        FaceRetracker(tmp_path / "none.task", face_model)
