"""Geometry: cameras, ray points and feature-volume coordinates as differentiable tensors, always FP32.

Cameras are [B, 25] in the convention of `hidenerf.runtime.camera`: flattened 4×4 cam2world (OpenCV axes), then
flattened 3×3 normalised intrinsics. The world box is [-1, 1]³.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEAREST = 1e-3


class Rays(NamedTuple):
    """Rays of an R×R picture. origin [B, 3, 1, 1]; direction [B, 3, R, R], unit length; near, far [B, 1, R, R]."""

    origin: Tensor
    direction: Tensor
    near: Tensor
    far: Tensor


def cell_centres(count: int, device: torch.device) -> Tensor:
    """Centres of `count` equal cells of [-1, 1]: [count]; for 2: [-0.5, 0.5]."""
    return (torch.arange(count, device=device, dtype=torch.float32) + 0.5) * (2.0 / count) - 1.0


def split_camera(camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, 25] → rotation cam2world [B, 3, 3], camera position [B, 3], intrinsics [B, 3, 3]."""
    cam2world = camera[:, :16].reshape(-1, 4, 4)
    return cam2world[:, :3, :3], cam2world[:, :3, 3], camera[:, 16:].reshape(-1, 3, 3)


def rays_from_camera(camera: Tensor, size: int) -> Rays:
    """One ray through each pixel centre; near and far where it enters and leaves the world box.

    A ray that misses the box has far = near, so everything on it has length zero.
    """
    rotation, position, intrinsics = split_camera(camera)
    pixel = (torch.arange(size, device=camera.device, dtype=torch.float32) + 0.5) / size
    entry = intrinsics[:, :, :, None, None]
    y = (pixel[:, None] - entry[:, 1, 2]) / entry[:, 1, 1]
    x = (pixel[None, :] - entry[:, 0, 2] - entry[:, 0, 1] * y) / entry[:, 0, 0]
    column = rotation[:, :, :, None, None]
    direction = column[:, :, 0] * x[:, None] + column[:, :, 1] * y[:, None] + column[:, :, 2]
    direction = direction / direction.square().sum(1, keepdim=True).sqrt()
    origin = position[:, :, None, None]
    return Rays(origin, direction, *box_interval(origin, direction))


def box_interval(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays of unit length, [B, 3, ...] from [B, 3, ...], enter and leave the box: near, far [B, 1, ...]."""
    inverse = 1.0 / torch.where(direction.abs() < 1e-6, torch.full_like(direction, 1e-6), direction)
    low, high = (-1.0 - origin) * inverse, (1.0 - origin) * inverse
    near = torch.minimum(low, high).amax(1, keepdim=True).clamp_min(NEAREST)
    return near, torch.maximum(torch.maximum(low, high).amin(1, keepdim=True), near)


def ray_points(rays: Rays, samples: int) -> tuple[Tensor, Tensor]:
    """Midpoints of `samples` equal intervals between near and far: points [B, N, 3, R, R], lengths δ [B, 1, R, R]."""
    length = (rays.far - rays.near) / samples
    step = torch.arange(samples, device=length.device, dtype=torch.float32).reshape(1, -1, 1, 1) + 0.5
    distance = (rays.near + length * step)[:, :, None]
    return rays.origin[:, None] + rays.direction[:, None] * distance, length


def volume_grid(camera: Tensor, size: int, samples: int) -> Tensor:
    """Where the cells of the world planes lie in the source camera's feature volume: [B, 3·size, samples, size, 3].

    Along the second axis stand the three planes XY, XZ, YZ one after the other, each with its rows; the third runs
    along the plane's normal. The last axis is (u, v, w) in [-1, 1]: picture right, picture down, depth relative to
    the world origin's (Eq. 1 as read in DESIGN §8: the source's whole camera, perspective and translation included).
    """
    rotation, position, intrinsics = split_camera(camera)
    world2cam = rotation.transpose(1, 2)
    offset = -(world2cam * position[:, None, :]).sum(2)
    column = cell_centres(size, camera.device)[None, None, None, :]
    row = cell_centres(size, camera.device)[None, :, None, None]
    normal = cell_centres(samples, camera.device)[None, None, :, None]

    def entry(matrix: Tensor, i: int, j: int) -> Tensor:
        return matrix[:, i, j].reshape(-1, 1, 1, 1)

    planes = []
    for x, y, z in ((column, row, normal), (column, normal, row), (normal, column, row)):
        in_camera = [
            entry(world2cam, i, 0) * x
            + entry(world2cam, i, 1) * y
            + entry(world2cam, i, 2) * z
            + offset[:, i].reshape(-1, 1, 1, 1)
            for i in range(3)
        ]
        depth = in_camera[2].clamp_min(NEAREST)
        right, down = in_camera[0] / depth, in_camera[1] / depth
        u = entry(intrinsics, 0, 0) * right + entry(intrinsics, 0, 1) * down + entry(intrinsics, 0, 2)
        v = entry(intrinsics, 1, 1) * down + entry(intrinsics, 1, 2)
        w = in_camera[2] - offset[:, 2].reshape(-1, 1, 1, 1)
        planes.append(torch.stack([2.0 * u - 1.0, 2.0 * v - 1.0, w], -1))
    return torch.cat(planes, 1)


def frontal_projection(points: Tensor) -> Tensor:
    """World points [B, ..., 3] → SECC coordinates [B, ..., 2] in [-1, 1] (right, down): the SECC's own view."""
    # From arange and not from a list: values from the host would halt the GPU in each training step.
    signs = 1.0 - 2.0 * torch.arange(2, device=points.device, dtype=torch.float32)
    return points[..., :2] * signs


def grid_sample_3d(volume: Tensor, grid: Tensor) -> Tensor:
    """Trilinear samples of volume [B, C, D, H, W] at grid [B, d, h, w, 3] (u, v, w) → [B, C, d, h, w]; zero outside."""
    return F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
