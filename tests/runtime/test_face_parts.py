from dataclasses import replace

import numpy as np
import pytest

from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.face_parts import (
    CAVITY,
    EYE,
    GUM,
    INNER_TONGUE,
    OUTER_LIPS,
    SKIN,
    TONGUE,
    TOOTH,
    connected_pieces,
    mouth_inside,
    mouth_weights,
    parts_of,
    smooth_step,
)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(default_face_model_path())


def test_the_parts_of_the_shipped_face_model(model: FaceModel) -> None:
    part = parts_of(model.mean, model.triangles)
    left = model.mean[:, 0] > 0
    sizes = [part == SKIN, part == TONGUE, (part == EYE) & left, (part == EYE) & ~left]
    assert [int(chosen.sum()) for chosen in sizes] == [4200, 226, 72, 72]
    assert len(np.unique(connected_pieces(model.triangles, len(model.mean)))) == 4


def test_pieces_by_hand() -> None:
    """Two triangles share an edge, a third one stands alone, and vertex 7 belongs to none."""
    triangles = np.array([[0, 1, 2], [2, 1, 3], [4, 5, 6]], np.int32)
    assert connected_pieces(triangles, 8).tolist() == [0, 0, 0, 0, 4, 4, 4, 7]


def test_lips_are_before_the_mouth_bag(model: FaceModel) -> None:
    part = parts_of(model.mean, model.triangles)
    lips, bag = mouth_weights(model, part)
    order = {number: place for place, number in enumerate(model.landmark_index.tolist())}
    # Where the lips meet.
    edge = model.landmark_vertices[[order[number] for number in (13, 14)]].reshape(-1)
    assert lips[edge].min() == 1
    assert bag[edge].max() == 0
    assert bag[part != SKIN].max() == 0
    assert model.mean[bag == 1, 2].max() < model.mean[lips == 1, 2].max() - 0.07


def test_what_is_inside_the_mouth(model: FaceModel) -> None:
    inside = mouth_inside(model)
    assert model.teeth is not None
    assert inside.shape == (len(model.mean) + len(model.teeth.mean),)
    part = parts_of(model.mean, model.triangles)
    face, teeth = np.split(inside, [len(model.mean)])
    np.testing.assert_array_equal(face[part == TONGUE], np.float32(INNER_TONGUE))
    assert face[part == EYE].max() == 0
    assert face[part == SKIN].max() == np.float32(CAVITY)
    # Nose, cheeks, chin and what is seen of the lips.
    order = {number: place for place, number in enumerate(model.landmark_index.tolist())}
    for number in (4, 50, 280, 152, *OUTER_LIPS):
        assert face[model.landmark_vertices[order[number]]].max() == 0
    # The rows that meet are teeth, those at the far ends gums.
    height = model.teeth.mean[:, 1]
    assert (teeth[np.abs(height + 0.35) < 0.04] == np.float32(TOOTH)).all()
    assert (teeth[np.abs(height + 0.345) > 0.09] == np.float32(GUM)).all()


def test_a_face_model_without_teeth_or_lips_has_less_inside(model: FaceModel) -> None:
    assert len(mouth_inside(replace(model, teeth=None))) == len(model.mean)
    kept = model.landmark_index != OUTER_LIPS[0]
    names = ("landmark_index", "landmark_vertices", "landmark_barycentric", "landmark_weight")
    less = mouth_inside(replace(model, teeth=None, **{name: getattr(model, name)[kept] for name in names}))
    assert sorted(set(less.tolist())) == [0, np.float32(INNER_TONGUE)]


def test_smooth_step_by_hand() -> None:
    values = np.array([0.0, 1.0, 1.5, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(smooth_step(values, 1.0, 3.0), [0, 0, 5 / 32, 0.5, 1, 1])
