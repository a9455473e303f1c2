"""Painting a head: which triangle a pixel sees, normals, and parts, by hand."""

import numpy as np
import pytest

from hidenerf.assets.face_paint import (
    EYE,
    TONGUE,
    Head,
    Look,
    find_parts,
    head_to_paint,
    interpolate,
    paint,
    rasterise,
    vertex_normals,
)
from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def head(model: FaceModel) -> Head:
    return head_to_paint(model.mean.astype(np.float64), model.triangles, np.zeros(len(model.mean)))


def test_every_triangle_is_seen_where_it_projects() -> None:
    """The first one too; the left one, with larger x, on the right of the picture; the upper one above."""
    corner = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0.1, 0]])
    places = np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0.4, 0.4, 0.3]])
    vertices = (places[:, None] + corner).reshape(-1, 3)
    triangles = np.arange(9, dtype=np.int32).reshape(3, 3)
    camera = canonical_camera()
    raster = rasterise(vertices, triangles, camera, 128)
    for number, place in enumerate(places):
        column, row = (project(place, camera) * 128).astype(int)
        assert raster.triangle[row, column] == number
    assert raster.triangle[0, 0] == -1
    assert set(np.unique(raster.triangle)) == {-1, 0, 1, 2}


def test_interpolated_places_project_back_to_their_pixels(model: FaceModel) -> None:
    """Barycentric coordinates are those of the surface, not of the picture: perspective is undone."""
    camera = canonical_camera(yaw=25.0, pitch=-10.0, roll=5.0)
    raster = rasterise(model.mean, model.triangles, camera, 128)
    places = interpolate(raster, model.triangles, model.mean)
    rows, columns = np.nonzero(raster.triangle >= 0)
    np.testing.assert_allclose(project(places, camera) * 128, np.stack([columns, rows], axis=1) + 0.5, atol=2e-3)


def test_a_camera_whose_axis_is_off_the_middle_is_refused(model: FaceModel) -> None:
    camera = canonical_camera()
    camera[18] = 0.6
    with pytest.raises(HideNerfError, match="not in the middle of the picture"):
        rasterise(model.mean, model.triangles, camera, 64)


def test_normals_of_a_folded_sheet() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    np.testing.assert_allclose(normals[1], [0, 0, 1])
    np.testing.assert_allclose(normals[3], [1, 0, 0])
    np.testing.assert_allclose(normals[0], [np.sqrt(0.5), 0, np.sqrt(0.5)])


def test_parts_of_the_shipped_head(model: FaceModel, head: Head) -> None:
    parts = find_parts(model.mean, model.triangles)
    assert [len(part) for part in (parts.skin, parts.tongue, parts.left_eye, parts.right_eye)] == [4200, 226, 72, 72]
    assert (head.part == EYE).sum() == 144
    assert (head.part == TONGUE).sum() == 226
    np.testing.assert_allclose(head.irises[0], head.irises[1] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(head.irises[0], model.landmark_mean[473], atol=0.03)
    inside = model.mean[head.mouth_bag > 0.5]
    assert len(inside) > 100
    assert np.all(np.abs(inside[:, 0]) < 0.25)


def test_light_from_the_left_brightens_the_subjects_left(model: FaceModel, head: Head) -> None:
    picture, mask = paint(head, Look(light=(1.0, 0.0, 0.3)), model.mean, canonical_camera(), 64)
    assert np.all(picture[~mask] == 0)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture[:, 32:][mask[:, 32:]].mean() > 1.2 * picture[:, :32][mask[:, :32]].mean()
