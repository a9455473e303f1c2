"""Rays and feature-volume coordinates against hand numbers and the FP64 loops of `reference`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hidenerf.model.geometry import (
    cell_centres,
    frontal_projection,
    grid_sample_3d,
    ray_points,
    rays_from_camera,
    volume_grid,
)
from hidenerf.runtime.camera import camera_from_head_pose, canonical_camera, project, rotation_from_euler
from tests.support import reference
from tests.support.reference import frontal_camera, general_camera, make_camera

CPU = torch.device("cpu")


def batch_of(*cameras: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(cameras)).float()


def test_cell_centres_are_the_middles_of_equal_cells() -> None:
    assert cell_centres(4, CPU).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert cell_centres(1, CPU).tolist() == [0.0]


def test_rays_of_a_frontal_camera_by_hand() -> None:
    rays = rays_from_camera(batch_of(frontal_camera(4.0, 2.0)), 2)
    # Pixel centres 0.25 and 0.75 lie 0.25 from the middle: tangent 0.125, so |direction| = sqrt(1 + 2/64).
    norm = (1 + 2 / 64) ** 0.5
    top_left = torch.tensor([-0.125, 0.125, -1.0]) / norm
    bottom_right = torch.tensor([0.125, -0.125, -1.0]) / norm
    torch.testing.assert_close(rays.direction[0, :, 0, 0], top_left)
    torch.testing.assert_close(rays.direction[0, :, 1, 1], bottom_right)
    assert rays.origin.flatten().tolist() == [0.0, 0.0, 4.0]
    # It enters at z = 1, three units along the axis, and leaves at z = -1, where it is 0.625 from the axis.
    torch.testing.assert_close(rays.near, torch.full((1, 1, 2, 2), 3.0 * norm))
    torch.testing.assert_close(rays.far, torch.full((1, 1, 2, 2), 5.0 * norm))


@pytest.mark.parametrize("size", [3, 8])
def test_rays_of_a_general_camera_against_loops(size: int) -> None:
    cameras = general_camera(), frontal_camera(3.0, 0.6)
    rays = rays_from_camera(batch_of(*cameras), size)
    hits = 0
    for index, camera in enumerate(cameras):
        for row, column in np.ndindex(size, size):
            origin, direction = reference.pixel_ray(camera, size, row, column)
            near, far = reference.box_interval(origin, direction)
            hits += far > near
            np.testing.assert_allclose(rays.direction[index, :, row, column], direction, atol=3e-7)
            if far > near:
                np.testing.assert_allclose(rays.near[index, 0, row, column], near, rtol=1e-5)
                np.testing.assert_allclose(rays.far[index, 0, row, column], far, rtol=1e-5)
            else:
                assert rays.near[index, 0, row, column] == rays.far[index, 0, row, column]
    assert size < hits < 2 * size**2 - size, "both kinds of rays must be among them"


@settings(max_examples=40)
@given(
    yaw=st.floats(-170, 170),
    pitch=st.floats(-60, 60),
    roll=st.floats(-60, 60),
    x=st.floats(-0.5, 0.5),
    y=st.floats(-0.5, 0.5),
    depth=st.floats(3, 9),
    focal=st.floats(0.5, 4),
    aspect=st.floats(0.7, 1.4),
    skew=st.floats(-0.3, 0.3),
    right=st.floats(0.3, 0.7),
    down=st.floats(0.3, 0.7),
)
def test_points_of_a_ray_project_onto_its_pixel_centre(
    yaw: float,
    pitch: float,
    roll: float,
    x: float,
    y: float,
    depth: float,
    focal: float,
    aspect: float,
    skew: float,
    right: float,
    down: float,
) -> None:
    intrinsics = np.array([[focal, skew, right], [0, focal * aspect, down], [0, 0, 1]])
    camera = camera_from_head_pose(rotation_from_euler(yaw, pitch, roll), np.array([x, y, depth]), intrinsics)
    size = 5
    points, _ = ray_points(rays_from_camera(torch.from_numpy(camera)[None], size), 2)
    projected = project(points[0].permute(0, 2, 3, 1).double().numpy(), camera)
    pixel = (np.arange(size) + 0.5) / size
    np.testing.assert_allclose(projected[..., 0], np.broadcast_to(pixel[None, :], (2, size, size)), atol=2e-5)
    np.testing.assert_allclose(projected[..., 1], np.broadcast_to(pixel[:, None], (2, size, size)), atol=2e-5)


def test_a_ray_along_an_axis_enters_and_leaves_through_opposite_faces() -> None:
    rays = rays_from_camera(batch_of(frontal_camera(4.0, 2.0)), 1)
    assert rays.direction.flatten().tolist() == [0.0, 0.0, -1.0]
    torch.testing.assert_close(rays.near.flatten(), torch.tensor([3.0]))
    torch.testing.assert_close(rays.far.flatten(), torch.tensor([5.0]))


def test_rays_that_miss_the_box_have_length_zero_and_finite_points() -> None:
    aside = frontal_camera(4.0, 2.0)
    aside[3] = 2.5
    away = frontal_camera(4.0, 2.0)
    away[[5, 10]] *= -1
    points, length = ray_points(rays_from_camera(batch_of(aside, away), 1), 3)
    assert length.flatten().tolist() == [0.0, 0.0]
    assert torch.isfinite(points).all()


def test_from_inside_the_box_a_ray_starts_at_the_camera() -> None:
    rays = rays_from_camera(batch_of(frontal_camera(0.5, 2.0)), 1)
    torch.testing.assert_close(rays.near.flatten(), torch.tensor([1e-3]))
    torch.testing.assert_close(rays.far.flatten(), torch.tensor([1.5]))


def test_ray_points_are_the_midpoints_of_equal_intervals() -> None:
    points, length = ray_points(rays_from_camera(batch_of(frontal_camera(4.0, 2.0)), 1), 4)
    assert points.shape == (1, 4, 3, 1, 1)
    torch.testing.assert_close(points[0, :, 2, 0, 0], torch.tensor([0.75, 0.25, -0.25, -0.75]))
    torch.testing.assert_close(length.flatten(), torch.tensor([0.5]))


def test_volume_grid_against_loops() -> None:
    size, samples = 3, 2
    cameras = general_camera(), frontal_camera(6.0, 3.0)
    grid = volume_grid(batch_of(*cameras), size, samples)
    assert grid.shape == (2, 3 * size, samples, size, 3)
    for index, camera in enumerate(cameras):
        for plane, row, sample, column in np.ndindex(3, size, samples, size):
            across, up, along = (reference.centre(i, n) for i, n in ((column, size), (row, size), (sample, samples)))
            point = ((across, up, along), (across, along, up), (along, across, up))[plane]
            expected = reference.point_in_volume(camera, np.array(point))
            np.testing.assert_allclose(grid[index, plane * size + row, sample, column], expected, atol=2e-6)


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, -20, 15)])
def test_volume_grid_agrees_with_the_runtimes_projection(angles: tuple[float, float, float]) -> None:
    size, samples = 4, 3
    camera = canonical_camera(*angles)
    grid = volume_grid(torch.from_numpy(camera)[None], size, samples)[0].double().numpy()
    cells, along = cell_centres(size, CPU).double().numpy(), cell_centres(samples, CPU).double().numpy()
    rows, normals, columns = np.meshgrid(cells, along, cells, indexing="ij")
    for plane, world in enumerate(((columns, rows, normals), (columns, normals, rows), (normals, columns, rows))):
        expected = 2 * project(np.stack(world, -1), camera) - 1
        np.testing.assert_allclose(grid[plane * size : (plane + 1) * size, ..., :2], expected, atol=1e-5)


def test_the_third_plane_is_yz_and_not_a_second_xz() -> None:
    """EG3D's published planes are XY, XZ, ZX: its third plane spans the axes of its second (DESIGN §3)."""
    grid = volume_grid(batch_of(frontal_camera(1000.0, 500.0)), 4, 4)[0].reshape(3, 4, 4, 4, 3)
    # This far camera is almost orthographic: u = x, v = -y, w = -z. Which of them varies along which axis?
    rows, normals, columns = (grid.diff(dim=axis).abs().amax((1, 2, 3)) > 0.1 for axis in (1, 2, 3))
    x, y, z = 0, 1, 2
    expected = {0: (y, z, x), 1: (z, y, x), 2: (z, x, y)}
    for plane, axes in expected.items():
        for varies, axis in zip((rows, normals, columns), axes, strict=True):
            assert varies[plane].nonzero().flatten().tolist() == [axis]


def test_volume_grid_is_finite_for_cells_behind_the_camera() -> None:
    assert torch.isfinite(volume_grid(batch_of(frontal_camera(0.3, 1.0)), 4, 4)).all()


def test_frontal_projection_is_the_seccs_own_view() -> None:
    points = torch.tensor([[[0.3, 0.4, 5.0], [-1.0, 1.0, 0.0]]])
    torch.testing.assert_close(frontal_projection(points), torch.tensor([[[0.3, -0.4], [-1.0, -1.0]]]))


def test_grid_sample_3d_against_loops() -> None:
    rng = np.random.default_rng(0)
    volume = rng.standard_normal((1, 2, 3, 4, 5))
    grid = rng.uniform(-1.4, 1.4, (1, 2, 3, 4, 3))
    sampled = grid_sample_3d(torch.from_numpy(volume), torch.from_numpy(grid)).numpy()
    assert sampled.shape == (1, 2, 2, 3, 4)
    for d, h, w in np.ndindex(2, 3, 4):
        np.testing.assert_allclose(sampled[0, :, d, h, w], reference.linear(volume[0], grid[0, d, h, w]), atol=1e-12)


def test_grid_sample_3d_at_the_edge_by_hand() -> None:
    volume = torch.tensor([2.0, 6.0]).reshape(1, 1, 1, 1, 2)
    # Centres at ±0.5; at 1 half of the last cell is left, at 1.5 nothing.
    grid = torch.tensor([[-0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.5, 0.0, 0.0]]).reshape(1, 1, 1, 4, 3)
    assert grid_sample_3d(volume, grid).flatten().tolist() == [2.0, 4.0, 3.0, 0.0]


def test_make_camera_packs_as_the_runtime_does() -> None:
    rotation = rotation_from_euler(20, 10, -5)
    ours = camera_from_head_pose(rotation, np.array([0.1, 0.2, 6.0]), np.eye(3))
    cam2world = rotation.T @ np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(ours, make_camera(cam2world, -cam2world @ [0.1, 0.2, 6.0], np.eye(3)), atol=1e-6)
