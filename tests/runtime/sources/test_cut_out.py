"""The person's mask where no portrait is needed; real portraits are in test_prepare.py."""

import numpy as np

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.sources.cut_out import over_black, person_mask, triangle_mask

SIZE = 256


def test_a_face_that_fills_the_picture_is_all_there_is() -> None:
    face_model = load_face_model(default_face_model_path())
    vertices = project(face_model.mean.astype(np.float64), canonical_camera()) * SIZE
    crop = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    inside = np.zeros((SIZE, SIZE), np.uint8)
    inside[110:150, 100:156] = 255
    mask = person_mask(crop, inside, vertices, face_model)
    assert (mask[inside > 0] == 255).all()


def test_a_triangle_covers_its_pixels() -> None:
    vertices = np.array([[0.5, 0.5], [8.5, 0.5], [0.5, 8.5]])
    mask = triangle_mask(vertices, np.array([[0, 1, 2]], np.int32), 10)
    row, column = np.mgrid[:10, :10]
    np.testing.assert_array_equal(mask, row + column <= 8)


def test_over_black_scales_by_the_mask() -> None:
    crop = np.full((1, 3, 3), 200, np.uint8)
    mask = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_array_equal(over_black(crop, mask)[0, :, 0], [0, 40, 200])
