"""Fast sampling: the model's two expensive look-ups, tri-planes and feature volumes, for training on a GPU.

`F.grid_sample` reads the channels of a point from addresses far apart, and the camera-to-world step needs a grid and
all samples in memory. The Triton kernels here keep channels innermost, compute the grid on the fly and sum along the
normals directly. They are several times faster. The model's plain functions define the results; they run without Triton
or a GPU.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.geometry import NEAREST, split_camera
from hidenerf.model.hidenerf import HideNerf
from hidenerf.model.rendering import sample_planes
from hidenerf.training.kernels.triton_use import kernels_fit, power_of_two

# Points or cells of one program, and its warps. On an H200 all sizes from 32 to 256 take the same time, that of the
# atomics.
BLOCK = 64
WARPS = 4


def plane_features(planes: Sequence[Tensor], points: Tensor) -> Tensor:
    """Features [B, N, P, L · C] of points at all levels: `rendering.sample_planes` of each level, concatenated.

    planes: of each level, [B, 3, C, r_l, r_l].
    points: [B, N, 3, P], world units.
    """
    if kernels_fit(points):
        return _PlaneFeatures.apply(points, *planes)
    by_axis = points.transpose(1, 2)
    return torch.cat([sample_planes(plane, by_axis) for plane in planes], 1).permute(0, 2, 3, 1)


def resample_volume(volume: Tensor, camera: Tensor, size: int, samples: int) -> Tensor:
    """`CameraToWorld` by the kernels: planes [B, 3, C, size, size]; differentiable in the volume only.

    volume: [B, C, D, H, W].
    camera: [B, 25], the source's.
    samples: along each normal.
    """
    return _ResampleVolume.apply(volume, _views(camera), size, samples)


class FastCameraToWorld(CameraToWorld):
    """`CameraToWorld` through `resample_volume` where the kernels fit."""

    def forward(self, volume: Tensor, camera: Tensor) -> Tensor:
        """volume [B, C, D, H, W], camera [B, 25] → planes [B, 3, C, size, size]."""
        if kernels_fit(volume):
            return resample_volume(volume, camera, self.size, self.samples)
        return super().forward(volume, camera)


def use_fast_sampling(model: HideNerf) -> None:
    """Replace the model's camera-to-world steps; they have no weights, so the model's state is unchanged."""
    steps = model.appearance.camera_to_world
    for index, step in enumerate(steps):
        if not isinstance(step, CameraToWorld):
            raise AssertionError("the model's camera-to-world steps are CameraToWorld modules")
        steps[index] = FastCameraToWorld(step.size, step.samples)


def _views(camera: Tensor) -> Tensor:
    """camera [B, 25] → [B, 17]: world2cam's rotation (9, by rows) and offset (3), then fx, skew, cx, fy, cy."""
    rotation, position, intrinsics = split_camera(camera)
    world2cam = rotation.transpose(1, 2)
    offset = -(world2cam * position[:, None, :]).sum(2)
    return torch.cat([world2cam.flatten(1), offset, intrinsics[:, 0], intrinsics[:, 1, 1:]], 1).contiguous()


def _channels_inside(plane: Tensor) -> Tensor:
    """The plane set [B, 3, C, r, r] with contiguous channels in memory; a copy if they are not."""
    if plane.stride(2) == 1:
        return plane
    return plane.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)


class _PlaneFeatures(torch.autograd.Function):
    """`plane_features` as an autograd function."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, *planes: Tensor) -> Tensor:
        from hidenerf.training.kernels import sampling_kernels as kernels

        points = points.contiguous()
        planes = tuple(_channels_inside(plane) for plane in planes)
        batch, samples, _, pixels = points.shape
        total, channels = samples * pixels, planes[0].shape[2]
        width = channels * len(planes)
        out = torch.empty(batch, samples, pixels, width, device=points.device, dtype=planes[0].dtype)
        for level, plane in enumerate(planes):
            kernels.planes_forward[(_blocks(total), batch)](
                plane,
                points,
                out,
                plane.shape[-1],
                pixels,
                total,
                *_strides(plane),
                width,
                level * channels,
                CHANNELS=channels,
                WIDTH=power_of_two(channels),
                BLOCK=BLOCK,
                num_warps=WARPS,
            )
        ctx.save_for_backward(points, *planes)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        from hidenerf.training.kernels import sampling_kernels as kernels

        points, *planes = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        batch, samples, _, pixels = points.shape
        total, channels = samples * pixels, planes[0].shape[2]
        grad_points = torch.empty_like(points)
        grad_planes = []
        for level, plane in enumerate(planes):
            size = plane.shape[-1]
            sums = torch.zeros(batch, size, size, 3, channels, device=points.device, dtype=points.dtype)
            kernels.planes_backward[(_blocks(total), batch)](
                plane,
                points,
                gradient,
                sums,
                grad_points,
                size,
                pixels,
                total,
                *_strides(plane),
                channels * len(planes),
                level * channels,
                CHANNELS=channels,
                WIDTH=power_of_two(channels),
                ADD=level > 0,
                BLOCK=BLOCK,
                num_warps=WARPS,
            )
            grad_planes.append(sums.to(plane.dtype).permute(0, 3, 4, 1, 2))
        return grad_points, *grad_planes


class _ResampleVolume(torch.autograd.Function):
    """`resample_volume` as an autograd function; views: [B, 17], see `_views`."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, views: Tensor, size: int, samples: int) -> Tensor:
        from hidenerf.training.kernels import sampling_kernels as kernels

        batch, channels, depth, height, width = volume.shape
        inside = volume.permute(0, 3, 4, 2, 1).contiguous()
        out = torch.empty(batch, size, size, 3, channels, device=volume.device, dtype=volume.dtype)
        kernels.resample_forward[(_blocks(size * size), 3, batch)](
            inside,
            views,
            out,
            size,
            depth,
            height,
            width,
            NEAREST,
            SAMPLES=samples,
            CHANNELS=channels,
            WIDTH=power_of_two(channels),
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
        ctx.save_for_backward(views)
        ctx.shape, ctx.dtype, ctx.samples = volume.shape, volume.dtype, samples
        return out.permute(0, 3, 4, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        from hidenerf.training.kernels import sampling_kernels as kernels

        (views,) = ctx.saved_tensors
        batch, channels, depth, height, width = ctx.shape
        gradient = gradients[0].permute(0, 3, 4, 1, 2).contiguous()
        size = gradient.shape[1]
        sums = torch.zeros(batch, height, width, depth, channels, device=gradient.device, dtype=views.dtype)
        kernels.resample_backward[(_blocks(size * size), 3, batch)](
            gradient,
            views,
            sums,
            size,
            depth,
            height,
            width,
            NEAREST,
            SAMPLES=ctx.samples,
            CHANNELS=channels,
            WIDTH=power_of_two(channels),
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
        return sums.to(ctx.dtype).permute(0, 4, 3, 1, 2), None, None, None


def _blocks(count: int) -> int:
    """Number of programs for `count` points or cells."""
    return -(-count // BLOCK)


def _strides(plane: Tensor) -> tuple[int, int, int, int]:
    """Strides of a plane set [B, 3, C, r, r] over batch, plane, row and column."""
    return plane.stride(0), plane.stride(1), plane.stride(3), plane.stride(4)
