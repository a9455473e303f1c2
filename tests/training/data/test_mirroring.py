import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.mirroring import Mirror, make_mirror, mirror_camera


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    return make_mirror(clip_face_model())


def test_a_mirrored_head_is_a_head_of_the_model(mirror: Mirror) -> None:
    model = clip_face_model()
    random = np.random.default_rng(0)
    identity = random.uniform(-0.5, 0.5, len(model.identity_names)).astype(np.float32)
    expression = random.uniform(0, 0.5, len(model.expression_names)).astype(np.float32)
    expected = model.vertices(identity, expression)[mirror.vertex] * [-1, 1, 1]
    found = model.vertices(mirror.identity(identity), mirror.expression(expression))
    # Some of Anny's expressions are not quite those of the other side.
    distance = np.linalg.norm(found - expected, axis=1)
    assert distance.max() < 0.02
    assert np.median(distance) < 1e-3
    assert np.abs(model.vertices(identity, expression) - expected).max() > 0.05


def test_mirroring_twice_changes_nothing(mirror: Mirror) -> None:
    assert (mirror.vertex[mirror.vertex] == np.arange(len(mirror.vertex))).all()
    assert (mirror.expression_order[mirror.expression_order] == np.arange(len(mirror.expression_order))).all()
    camera = canonical_camera(yaw=20, pitch=5, roll=3)
    np.testing.assert_allclose(mirror_camera(mirror_camera(camera)), camera, atol=1e-6)


def test_a_mirrored_camera_sees_the_mirrored_picture() -> None:
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (20, 3))
    camera = canonical_camera(yaw=20, pitch=5, roll=3)
    camera[18] = 0.47
    seen = project(points, camera)
    mirrored = project(points * [-1, 1, 1], mirror_camera(camera))
    np.testing.assert_allclose(mirrored, np.stack([1 - seen[:, 0], seen[:, 1]], 1), atol=1e-5)
