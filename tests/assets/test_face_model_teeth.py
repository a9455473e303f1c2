"""Teeth of a face model: where they lie, what they follow, and models that they do not fit."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.assets.face_model_teeth import COLUMNS, HEIGHTS, JAW_ACTIONS, offsets_along, with_teeth
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model


@pytest.fixture(scope="module")
def shipped() -> FaceModel:
    return load_face_model(default_face_model_path())


def test_the_shipped_model_has_these_teeth(shipped: FaceModel) -> None:
    made = with_teeth(replace(shipped, teeth=None)).teeth
    assert made is not None
    assert shipped.teeth is not None
    assert len(made.mean) == 2 * COLUMNS * HEIGHTS
    assert made.triangles.tolist() == shipped.teeth.triangles.tolist()
    for key in ("mean", "identity_basis", "expression_basis"):
        # Another computer's linear algebra may round the other way.
        np.testing.assert_allclose(getattr(made, key), getattr(shipped.teeth, key), atol=1e-4)


def test_the_lower_teeth_alone_follow_the_jaw_alone(shipped: FaceModel) -> None:
    assert shipped.teeth is not None
    upper, lower = np.split(np.abs(shipped.teeth.expression_basis), 2, 1)
    assert upper.max() == 0
    jaw = np.isin(shipped.expression_names, JAW_ACTIONS)
    assert lower[~jaw].max() == 0
    assert lower[jaw].max((1, 2)).min() > 0.01


def test_affine_offsets_by_hand(shipped: FaceModel) -> None:
    """Offsets that are an affine map of the place stay so, within what the ridge takes."""
    chosen = np.flatnonzero(shipped.mean[:, 2] > 0)
    matrix = np.array([[0.1, 0, 0], [0, -0.2, 0], [0, 0.3, 0]])

    def moved(at: NDArray[np.floating]) -> NDArray[np.floating]:
        return at @ matrix + (0.5, 0, -1)

    points = np.array([[0.0, 0.0, 0.5], [0.1, -0.3, 0.4]])
    found = offsets_along(shipped, moved(shipped.mean)[None], chosen, points)
    np.testing.assert_allclose(found[0], moved(points), atol=0.01)


def test_a_model_of_another_mesh_is_refused(shipped: FaceModel) -> None:
    names = ("landmark_index", "landmark_vertices", "landmark_barycentric", "landmark_weight")
    no_lips = replace(shipped, **{name: getattr(shipped, name)[:61] for name in names})
    with pytest.raises(HideNerfError, match="anny lacks landmark 61, so that teeth cannot be placed; give one made by"):
        with_teeth(no_lips)
    no_jaw = tuple("other" if name == "jawOpen" else name for name in shipped.expression_names)
    with pytest.raises(HideNerfError, match="anny lacks jawOpen"):
        with_teeth(replace(shipped, expression_names=no_jaw))
