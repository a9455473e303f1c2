from pathlib import Path

import cv2
import numpy as np
import pytest

from hidenerf.runtime.camera import rotation_from_euler
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import HeadPose, picture_intrinsics, project_head
from hidenerf.runtime.tracking.search import find_faces
from tests.support.faces import portrait

pytest.importorskip("scipy", reason="scipy is not installed (extra [track])")


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.mark.parametrize(
    ("name", "limit"), [("src_astronaut.png", 0.7), ("src_obama.jpg", 1.4), ("src_pyfeat_man.jpg", 1.4)]
)
def test_real_portraits_fit_within_pixels(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, name: str, limit: float
) -> None:
    picture = portrait(shared_data, name)
    scale = 720 / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        (face,) = find_faces(landmarker, picture)
    fit = fit_face(face, face_model, *picture.shape[:2])
    assert fit.error <= limit
    assert np.abs(fit.identity).max() < 1
    assert fit.expression.min() >= 0
    assert fit.expression.max() <= 1


def test_a_made_up_face_is_fitted_better_than_the_mean_face_by_far(face_model: FaceModel) -> None:
    generator = np.random.default_rng(2)
    identity = generator.uniform(-0.3, 0.3, len(face_model.identity_names)).astype(np.float32)
    expression = np.zeros(len(face_model.expression_names), np.float32)
    expression[face_model.expression_names.index("jawOpen")] = 0.5
    pose = HeadPose(rotation_from_euler(10, 5, -5), np.array([0.3, -0.2, 7.0]))
    intrinsics = picture_intrinsics(480, 640, 1.2 * 640)
    landmarks = np.zeros((478, 2))
    landmarks[face_model.landmark_index] = project_head(face_model.landmarks(identity, expression), pose, intrinsics)
    fit = fit_face(FaceObservation(landmarks, expression), face_model, 480, 640)
    mean = project_head(face_model.landmarks(0 * identity, expression), pose, intrinsics)
    unfitted = np.linalg.norm(mean - landmarks[face_model.landmark_index], axis=1).mean()
    assert fit.error < unfitted / 8
    assert fit.error < 0.3
    assert fit.expression[face_model.expression_names.index("jawOpen")] == pytest.approx(0.5, abs=0.1)
    turned = fit.pose.rotation @ pose.rotation.T
    assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 3
