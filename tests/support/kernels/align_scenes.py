"""Frames and sources that AlignSource brings together: inputs of the kernels, of the plugin and of the ONNX node."""

from typing import NamedTuple

import torch
from torch import Tensor

from hidenerf.model.alignment import SourceView, source_view
from hidenerf.runtime.camera import canonical_camera


class Scene(NamedTuple):
    """A blob of a head, seen by a source and by a turned frame. Arrays as the kernels take them, FP32."""

    place: Tensor
    alpha: Tensor
    source: SourceView
    face_sight: Tensor


def sight_of_a_face(image_size: int) -> Tensor:
    """Two spots whose weight and place vary within a few pixels: [1, 4, S, S].

    Of the lower one a part is half seen, and of another part it is said what is inside.
    """
    line = (torch.arange(image_size) + 0.5) / image_size
    across, along = line.expand(image_size, image_size), line[:, None].expand(image_size, image_size)
    upper = (2 - 12 * ((across - 0.4) ** 2 + (along - 0.35) ** 2).sqrt()).clamp(0, 1)
    lower = (2 - 10 * ((across - 0.55) ** 2 + (along - 0.7) ** 2).sqrt()).clamp(0, 1)
    weight = torch.maximum(upper, lower)
    place = [(across + 0.05 * torch.sin(40 * along)).clamp(0, 1), (along - 0.08 * across).clamp(0, 1)]
    known = torch.where(across > 0.5, 0.3 * weight, weight)
    known = torch.where(across > 0.6, -0.4 * weight, known)
    return torch.stack([place[0] * weight, place[1] * weight, weight, known])[None]


def scene(size: int, image_size: int, seed: int | None = None) -> Scene:
    """Points on a ball's front with a step in depth, alpha fading out at its edge; the frame's are moved a little.

    size, image_size: R and S. seed: of the points' noise; R where it is None.
    """
    generator = torch.Generator().manual_seed(size if seed is None else seed)
    line = (torch.arange(size) + 0.5) * 2 / size - 1
    x, y = line.expand(size, size), -line[:, None].expand(size, size)
    radius = (x**2 + y**2).sqrt()
    alpha = ((0.8 - radius) * size / 4).clamp(0, 1)[None, None]
    z = torch.where(y < -0.3, -0.5, (0.7 - radius**2).clamp_min(0).sqrt())
    points = 0.6 * torch.stack([x, y, z])[None]
    camera = torch.from_numpy(canonical_camera(5.0, -3.0))[None]
    moved = points + 0.05 * torch.randn(points.shape, generator=generator) + torch.tensor([0.1, 0, 0])[:, None, None]
    return Scene(alpha * moved, alpha, source_view(camera, alpha * points, alpha), sight_of_a_face(image_size))
