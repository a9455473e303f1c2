"""Photometric fit: on drawn heads with a known texture, what a tracker that jitters says comes nearer to the truth."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.clips import photometric_fit
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.clips.photometric_fit import SurfacePoints, refine_fit
from hidenerf.training.data.synthetic.rasterise import Rasteriser

SIZE = 256
YAWS = (-6.0, -3.0, 0.0, 3.0, 6.0)
JAW = (0.0, 0.3, 0.1, 0.2, 0.05)

Floats = NDArray[np.float32]
Grey = NDArray[np.uint8]


def painted(face_model: FaceModel, vertices: Floats, camera: Floats, light: float = 1.0) -> Grey:
    """A head whose grey values are waves over the mean shape, of 8 to 16 pixels, so that they move with the skin."""
    count = len(face_model.triangles)
    triangle, barycentric = np.zeros((SIZE, SIZE), np.int16), np.zeros((2, SIZE, SIZE), np.uint8)
    Rasteriser(face_model.triangles, SIZE).draw(vertices, camera, np.arange(count), count, triangle, barycentric)
    seen = triangle > 0
    two = barycentric[:, seen].T / np.float32(255)
    weights = np.concatenate([two, 1 - two.sum(1, keepdims=True)], 1)
    places = np.einsum("mc,mcd->md", weights, face_model.mean[face_model.triangles[triangle[seen] - 1]])
    waves = np.sin(50 * places[:, 0] + 1) + np.sin(40 * places[:, 1]) + np.sin(35 * (places[:, 0] + places[:, 1]) + 2)
    picture = np.full((SIZE, SIZE), 60, np.uint8)
    picture[seen] = np.clip(light * (110 + 25 * waves), 0, 255).astype(np.uint8)
    return picture


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return clip_face_model()


class Scene:
    """A head in several poses with an opening jaw, and what a tracker that jitters would say of it."""

    def __init__(self, face_model: FaceModel) -> None:
        random = np.random.default_rng(0)
        self.face_model = face_model
        self.identity = random.normal(0, 0.3, len(face_model.identity_names)).astype(np.float32)
        self.expression = np.zeros((len(YAWS), len(face_model.expression_names)), np.float32)
        self.jaw = face_model.expression_names.index("jawOpen")
        self.expression[:, self.jaw] = JAW
        angles = np.outer(YAWS, (1, 1 / 2, 1 / 3))
        noise = random.normal(0, 1.5, angles.shape)
        self.camera = np.array([canonical_camera(*row) for row in angles])
        self.tracked_camera = np.array([canonical_camera(*row) for row in angles + noise])
        self.tracked_expression = self.expression.copy()
        self.tracked_expression[:, self.jaw] += [0.0, -0.15, 0.0, 0.15, 0.0]
        self.pictures = [
            painted(face_model, self.vertices(expression), camera, light)
            for expression, camera, light in zip(self.expression, self.camera, (1.0, 0.9, 1.1, 0.95, 1.0), strict=True)
        ]
        self.inside = [np.full((SIZE, SIZE), 255, np.uint8)] * len(YAWS)

    def vertices(self, expression: Floats) -> Floats:
        return self.face_model.vertices(self.identity, expression)

    def refined(self) -> tuple[Floats, Floats]:
        tracked = self.tracked_camera, self.identity, self.tracked_expression
        return refine_fit(self.pictures, self.inside, *tracked, self.face_model)

    def disagreement(self, cameras: Floats, expressions: Floats) -> float:
        """How far the frames' points are from the true ones, pixels, less what all frames have in common."""
        front = self.face_model.mean[:, 2] > 0.2
        off = []
        for camera, expression, true_camera, truth in zip(
            cameras, expressions, self.camera, self.expression, strict=True
        ):
            found = project(self.vertices(expression)[front].astype(np.float64), camera)
            off.append(SIZE * (found - project(self.vertices(truth)[front].astype(np.float64), true_camera)))
        return float(np.sqrt(np.square(off - np.mean(off, 0)).sum(2).mean()))


@pytest.fixture(scope="module")
def scene(face_model: FaceModel) -> Scene:
    return Scene(face_model)


def test_poses_and_scores_that_jitter_come_nearer_to_the_truth(scene: Scene) -> None:
    cameras, expressions = scene.refined()
    before = scene.disagreement(scene.tracked_camera, scene.tracked_expression)
    assert before > 1.5
    assert scene.disagreement(cameras, expressions) < 0.25 * before
    spread = np.ptp(scene.tracked_expression[:, scene.jaw] - scene.expression[:, scene.jaw])
    assert np.ptp(expressions[:, scene.jaw] - scene.expression[:, scene.jaw]) < 0.5 * spread
    assert expressions.min() >= 0
    assert expressions.max() <= 1
    assert (cameras.dtype, expressions.dtype) == (np.float32, np.float32)


def test_a_fit_that_is_right_stays(scene: Scene) -> None:
    tracked = scene.camera, scene.identity, scene.expression
    cameras, expressions = refine_fit(scene.pictures, scene.inside, *tracked, scene.face_model)
    assert scene.disagreement(cameras, expressions) < 0.3


def test_a_single_frame_and_frames_that_show_nothing_stay_as_tracked(scene: Scene) -> None:
    one = [scene.pictures[0]], [scene.inside[0]], scene.tracked_camera[:1], scene.identity, scene.tracked_expression[:1]
    cameras, expressions = refine_fit(*one, scene.face_model)
    np.testing.assert_array_equal(cameras, scene.tracked_camera[:1])
    np.testing.assert_array_equal(expressions, scene.tracked_expression[:1])
    nothing = [np.zeros((SIZE, SIZE), np.uint8)] * len(YAWS)
    tracked = scene.tracked_camera, scene.identity, scene.tracked_expression
    cameras, _ = refine_fit(scene.pictures, nothing, *tracked, scene.face_model)
    np.testing.assert_allclose(cameras, scene.tracked_camera, atol=1e-5)


def test_long_clips_are_fitted_in_interleaved_groups(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of at most three of five frames: 0, 2, 4 and 1, 3."""
    together: list[int] = []
    plain = photometric_fit._agree

    def spy(frames: list[photometric_fit.FittedFrame], side: int) -> None:
        together.append(len(frames))
        plain(frames, side)

    monkeypatch.setattr(photometric_fit, "_agree", spy)
    monkeypatch.setattr(photometric_fit, "MOST_TOGETHER", 3)
    monkeypatch.setattr(photometric_fit, "SIDES", (64,))
    cameras, _ = scene.refined()
    assert together == [3, 2]
    assert (np.abs(cameras - scene.tracked_camera).max(1) > 1e-4).all()


def test_points_count_where_they_face_the_camera_and_nothing_hides_them(face_model: FaceModel) -> None:
    points = SurfacePoints(face_model)
    vertices = face_model.mean.astype(np.float64)
    middles = vertices[points.triangles].mean(1)
    frontal, turned = (points.weights(vertices, canonical_camera(yaw)) for yaw in (0.0, 60.0))
    left = middles[:, 0] > 0.3
    # Turned by 60 degrees to the subject's left, the head shows its right side.
    assert frontal[left].sum() > 4 * turned[left].sum()
    inner = points.weights(vertices, canonical_camera(180.0))
    assert inner.sum() < 0.02 * frontal.sum()
