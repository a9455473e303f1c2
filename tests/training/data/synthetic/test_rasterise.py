from dataclasses import replace

import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera, intrinsics_from_fov, pack_camera, project, unpack_camera
from hidenerf.runtime.face_parts import EYE, SKIN
from hidenerf.training.data.synthetic.heads import HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.people import make_pair
from hidenerf.training.data.synthetic.rasterise import Rasteriser, orthographic_depth

SIZE = 256


def _draw(rasteriser: Rasteriser, vertices: np.ndarray, camera: np.ndarray, two_sided_from: int) -> tuple:
    size = rasteriser.size
    triangle, barycentric = np.empty((size, size), np.int16), np.empty((2, size, size), np.uint8)
    drawn = np.arange(len(rasteriser.triangles))
    rasteriser.draw(vertices, camera, drawn, two_sided_from, triangle, barycentric)
    return triangle, barycentric


def test_one_triangle_by_hand() -> None:
    """A triangle that fills the lower left half of a 4×4 picture whose half side is one unit at distance two."""
    cam2world = np.diag([1.0, -1.0, -1.0, 1.0])
    cam2world[2, 3] = 2.0
    camera = pack_camera(cam2world, intrinsics_from_fov(2 * np.degrees(np.arctan(0.5))))
    # Slightly too small, so that the pixels' centres on the diagonal are outside.
    vertices = np.array([[-1, -1, 0], [0.99, -1, 0], [-1, 0.99, 0]], np.float32)
    rasteriser = Rasteriser(np.array([[0, 1, 2]], np.int32), 4)
    triangle, barycentric = _draw(rasteriser, vertices, camera, two_sided_from=1)
    assert triangle.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    # The centre of the lower left pixel is an eighth of the way to the two other corners.
    weight = 0.25 / 1.99
    assert barycentric[:, 3, 0] == pytest.approx(255 * np.array([1 - 2 * weight, weight]), abs=1)
    behind = vertices[[0, 2, 1]]
    assert (_draw(rasteriser, behind, camera, two_sided_from=1)[0] == 0).all()
    assert (_draw(rasteriser, behind, camera, two_sided_from=0)[0] == triangle).all()


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


def _cameras() -> list[np.ndarray]:
    cameras = []
    for yaw, pitch, roll, fov, aside in ((0, 0, 0, 16, 0.5), (40, -20, 15, 10, 0.3), (-30, 10, -5, 38, 0.75)):
        cam2world, intrinsics = unpack_camera(canonical_camera(yaw, pitch, roll, fov))
        intrinsics[0, 2] = aside
        cameras.append(pack_camera(cam2world, intrinsics))
    return cameras


@pytest.mark.parametrize("camera", _cameras())
def test_pixels_see_the_points_that_the_camera_projects_into_them(mesh: HeadMesh, camera: np.ndarray) -> None:
    """The point that a pixel is said to see falls into that pixel: every third, to a fifth of a pixel."""
    person = make_pair(mesh.face_model, 3).person
    style = replace(person.style, body=False)
    neutral = np.zeros(len(mesh.face_model.expression_names), np.float32)
    vertices = mesh.vertices(mesh.shape(style, mesh.hair_depth(style)), person.identity, neutral)
    triangle, barycentric = _draw(Rasteriser(mesh.triangles, SIZE), vertices, camera, mesh.curtain_start)
    row, column = np.nonzero(triangle)
    row, column = row[::3], column[::3]
    corners = vertices[mesh.triangles[triangle[row, column] - 1]].astype(np.float64)
    weight = barycentric[:, row, column].T / 255
    weight = np.concatenate([weight, 1 - weight.sum(axis=1, keepdims=True)], axis=1)
    seen = project((corners * weight[..., None]).sum(axis=1), camera) * SIZE
    assert len(row) > 1000
    assert np.abs(seen - np.stack([column, row], axis=-1) - 0.5).max() < 0.2


@pytest.mark.parametrize("camera", _cameras()[:2])
def test_the_silhouette_is_that_of_the_projected_vertices(mesh: HeadMesh, camera: np.ndarray) -> None:
    style = replace(make_pair(mesh.face_model, 3).person.style, body=False, curtain_end=None, thickness=0.0)
    shape = mesh.shape(style, mesh.hair_depth(style))
    triangle = np.empty((SIZE, SIZE), np.int16)
    Rasteriser(mesh.triangles, SIZE).draw(
        shape,
        camera,
        mesh.visible_triangles(style),
        mesh.curtain_start,
        triangle,
        np.empty((2, SIZE, SIZE), np.uint8),
    )
    outline = project(shape[np.isin(mesh.part, (SKIN, EYE))], camera) * SIZE
    inside = (outline > 0).all(axis=1) & (outline < SIZE).all(axis=1)
    row, column = np.nonzero(triangle)
    found = [column.min(), row.min(), column.max() + 1, row.max() + 1]
    expected = [*np.maximum(outline.min(axis=0), 0), *np.minimum(outline.max(axis=0), SIZE)]
    assert found == pytest.approx(expected, abs=1)
    # No vertex of the head is outside of what is drawn by more than a pixel.
    grown = np.pad(triangle > 0, 1)
    near = np.any([grown[v : v + SIZE, u : u + SIZE] for u in range(3) for v in range(3)], axis=0)
    place = outline[inside].astype(int)
    assert near[place[:, 1], place[:, 0]].all()


def test_orthographic_depth_is_that_of_the_nearest_surface() -> None:
    square = np.float32([[-0.5, -0.5, 0.2], [0.5, -0.5, 0.2], [0.5, 0.5, 0.4], [-0.5, 0.5, 0.4]])
    behind = square * np.float32([1, 1, -1])
    triangles = np.int32([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    depth = orthographic_depth(np.concatenate([square, behind]), triangles, 8)
    assert (depth[[0, 1, 6, 7]] == -2).all()
    # Row 2's centre is at y = 0.375.
    np.testing.assert_allclose(depth[2, 2:6], 0.3 + 0.2 * 0.375, atol=2e-4)
