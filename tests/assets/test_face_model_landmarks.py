"""Finding MediaPipe's landmarks on a face model: geometry by hand, the search with a perfect detector, the real one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hidenerf.assets import face_model_landmarks
from hidenerf.assets.face_model_landmarks import (
    FIRST_IRIS,
    OUTLINE,
    closest_barycentric,
    find_landmarks,
    landmark_weights,
    mediapipe_detector,
)
from hidenerf.assets.portraits import BALD, PortraitPainter, make_look
from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.synthetic.heads import HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.people import Person

TRIANGLE = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


@pytest.fixture(scope="module")
def model(mesh: HeadMesh) -> FaceModel:
    return mesh.face_model


@pytest.fixture
def one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search paints six pictures, all seen from in front, instead of 90."""
    monkeypatch.setattr(face_model_landmarks, "_YAWS", (0.0,))
    monkeypatch.setattr(face_model_landmarks, "_PITCHES", (0.0,))


@pytest.mark.parametrize(
    ("point", "barycentric"),
    [
        ([0.25, 0.25, 7], [0.5, 0.25, 0.25]),
        ([0.5, -3, 0], [0.5, 0.5, 0]),
        ([2, 2, 0], [0, 0.5, 0.5]),
        ([-1, 0.25, 0], [0.75, 0, 0.25]),
        ([-1, -1, 1], [1, 0, 0]),
        ([5, 0, 0], [0, 1, 0]),
    ],
)
def test_closest_point_of_a_triangle(point: list[float], barycentric: list[float]) -> None:
    np.testing.assert_allclose(closest_barycentric(TRIANGLE, np.array(point)), [barycentric], atol=1e-12)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_point_of_a_triangle_is_closer(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners, point = random.normal(size=(1, 3, 3)), random.normal(size=3)
    weights = closest_barycentric(corners, point)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    gap = np.linalg.norm(weights[0] @ corners[0] - point)
    others = random.dirichlet([0.5, 0.5, 0.5], 500) @ corners[0]
    assert gap <= np.linalg.norm(others - point, axis=1).min() + 1e-9


def test_weights_fall_with_the_spread_on_the_outline_and_at_the_irises() -> None:
    spread = np.full(478, 0.001)
    spread[1], spread[2] = 0.003, 1.0
    weight = landmark_weights(spread)
    assert weight[[0, 1, 2]].tolist() == [1, 0.5, 0.25]
    assert np.all(weight[list(OUTLINE)] == np.float32(0.35))
    assert np.all(weight[FIRST_IRIS:] == 0.5)


@pytest.fixture(scope="module")
def still(mesh: HeadMesh) -> PortraitPainter:
    """Paints the head with no expression, whatever is asked for."""
    return PortraitPainter(dataclasses.replace(mesh, expression_basis=np.zeros_like(mesh.expression_basis)), 256)


@pytest.mark.slow
@pytest.mark.usefixtures("one_view")
def test_a_perfect_detector_is_believed(still: PortraitPainter, model: FaceModel) -> None:
    """Told where known points of the closed and neutral face are, the search finds these points."""
    pixels = project(model.landmark_mean, canonical_camera()) * 256
    found = find_landmarks(still, lambda _: pixels)
    corners = model.mean[found.vertices]
    points = np.einsum("mk,mkd->md", found.barycentric, corners)
    np.testing.assert_array_equal(found.index, np.arange(478))
    error = np.linalg.norm(points - model.landmark_mean, axis=1)
    # At most half a pixel, 0.0045 units, away, for pixels are painted in quarters; deeper where the surface is steep.
    assert np.median(error) < 0.003
    assert np.percentile(error, 95) < 0.02
    assert np.all(found.weight[0] == 1)


@pytest.mark.usefixtures("one_view")
def test_a_detector_that_finds_nothing(still: PortraitPainter) -> None:
    with pytest.raises(HideNerfError, match="found a face in 0 of 6 pictures"):
        find_landmarks(still, lambda _: None)


@pytest.mark.slow
def test_shipped_landmarks_are_where_the_real_tracker_sees_them(
    mesh: HeadMesh, model: FaceModel, face_landmarker: Path
) -> None:
    """In a pose, look and expression that the search did not use."""
    expression = np.zeros(len(model.expression_names), np.float32)
    expression[model.expression_names.index("mouthSmileLeft")] = 0.4
    expression[model.expression_names.index("mouthSmileRight")] = 0.4
    identity = np.zeros(len(model.identity_names), np.float32)
    camera = canonical_camera(10.0, 5.0, 4.0)
    look = make_look(beard=0.4, brow_density=0.9, sky=0.5)
    portrait = PortraitPainter(mesh, 512).paint(Person(identity, BALD, look), expression, camera)
    picture = portrait.picture + 0.4 * (1 - portrait.alpha[..., None])
    with mediapipe_detector(face_landmarker) as detect:
        found = detect((picture * 255).astype(np.uint8))
        assert detect(np.zeros((256, 256, 3), np.uint8)) is None
    assert found is not None
    expected = project(model.landmarks(identity, expression), camera) * 512
    between_irises: NDArray = expected[468] - expected[473]
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(between_irises)
    assert np.median(error) < 0.03
    assert np.percentile(error, 90) < 0.08


def test_unusable_models(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    with (
        pytest.raises(HideNerfError, match=r"absent\.task: no such file"),
        mediapipe_detector(tmp_path / "absent.task"),
    ):
        pass
    noise = tmp_path / "noise.task"
    noise.write_bytes(b"noise" * 100)
    with pytest.raises(HideNerfError, match=r"noise\.task: not a FaceLandmarker model"), mediapipe_detector(noise):
        pass
