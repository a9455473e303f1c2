"""Inputs of TriplaneRender, and what PyTorch makes of them in FP64."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hidenerf.model.rendering import triplane_render_placed
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.kernels.sizes import RendererSizes

# Odd everywhere: a picture of no whole tiles, samples of no whole steps, hidden units and outputs to pad.
ODD = RendererSizes(render_size=9, samples=6, rendered=5, levels=2, channels=16, finest=16, width=24, octaves=3)
BASE = RendererSizes(render_size=128, samples=48, rendered=31, levels=3, channels=32, finest=256, width=64, octaves=6)
DEMO = RendererSizes(render_size=64, samples=32, rendered=31, levels=3, channels=16, finest=128, width=64, octaves=4)


def plane_sizes(sizes: RendererSizes) -> list[int]:
    """Side of each level's planes; each has half the resolution of the next."""
    return [sizes.finest >> (sizes.levels - 1 - level) for level in range(sizes.levels)]


class Scene(NamedTuple):
    """deformation [1, 3N, R, R], camera [1, 25], planes per level [1, 3, C, r_l, r_l], weights; all FP32."""

    deformation: Tensor
    camera: Tensor
    planes: list[Tensor]
    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor

    @property
    def mlp(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.weight_1, self.bias_1, self.weight_2, self.bias_2


def camera_of(seed: int, fov_degrees: float = 16.0) -> Tensor:
    """A camera that sees the head from some side: [1, 25]."""
    yaw, pitch, roll = np.random.default_rng(seed).uniform(-35, 35, 3)
    return torch.from_numpy(canonical_camera(yaw, pitch, roll, fov_degrees))[None]


def smooth_noise(generator: torch.Generator, channels: int, size: int, coarse: int) -> Tensor:
    """[1, channels, size, size] with features of size/coarse pixels."""
    noise = torch.randn(1, channels, coarse, coarse, generator=generator)
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)


def random_scene(sizes: RendererSizes, seed: int) -> Scene:
    """Densities of every strength and points in and out of the box: nothing ends early everywhere, nothing is empty."""
    g = torch.Generator().manual_seed(seed)
    features, size = sizes.levels * sizes.channels, sizes.render_size

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    deformation = smooth_noise(g, 3 * sizes.samples, size, max(2, size // 8)) * 0.15
    planes = [normal(1, 3, sizes.channels, r, r) for r in plane_sizes(sizes)]
    weight_1 = normal(sizes.width, features + 6 * sizes.octaves) * features**-0.5
    weight_2 = normal(sizes.rendered + 1, sizes.width) * 2.0 * sizes.width**-0.5
    bias_2 = normal(sizes.rendered + 1)
    bias_2[-1] = -4.0
    return Scene(deformation, camera_of(seed, 20.0), planes, weight_1, normal(sizes.width) * 0.3, weight_2, bias_2)


def head_scene(sizes: RendererSizes, seed: int) -> Scene:
    """An opaque ellipsoid of a head's size in an empty box, as a trained field has it; textured at every level."""
    g = torch.Generator().manual_seed(seed)
    scene = random_scene(sizes, seed)
    for level, plane in enumerate(scene.planes):
        for k in range(3):
            plane[0, k] = smooth_noise(g, sizes.channels, plane.shape[-1], max(2, plane.shape[-1] // 4))[0]
        plane[0, :, :2] = 0.0
        if level == sizes.levels - 1:
            line = (torch.arange(sizes.finest) + 0.5) * (2.0 / sizes.finest) - 1.0
            column, row = line[None, :].square(), line[:, None].square()
            plane[0, 0, 0] = 3.0 * (column / 0.55**2 + row / 0.72**2)
            plane[0, 1, 0] = 3.0 * row / 0.6**2 + 0.0 * column
            plane[0, :, 1] = 1.0
    inside, first = 12.0, (sizes.levels - 1) * sizes.channels
    scene.weight_1[0], scene.bias_1[0] = 0.0, 0.0
    scene.weight_1[0, first], scene.weight_1[0, first + 1] = -inside, inside
    scene.weight_2[-1] *= 0.02
    scene.weight_2[:, 0] = 0.0
    scene.weight_2[-1, 0], scene.bias_2[-1] = 4.0, -9.0
    deformation = smooth_noise(g, 3 * sizes.samples, sizes.render_size, 4) * 0.03
    return scene._replace(deformation=deformation)


def reference(scene: Scene, octaves: int) -> tuple[Tensor, Tensor]:
    """rendered [K, R, R] and alpha [R, R] by PyTorch in FP64, on the scene's device."""
    return placed_reference(scene, octaves)[:2]


def placed_reference(scene: Scene, octaves: int) -> tuple[Tensor, Tensor, Tensor]:
    """`reference`, and the canonical points composited, place [3, R, R]."""
    double = [t.double() for t in (scene.deformation, scene.camera, *scene.mlp)]
    planes = [p.double() for p in scene.planes]
    # model.geometry makes its pixel centres in FP32; a promoted FP64 camera makes the rest FP64.
    rendered, alpha, place = triplane_render_placed(double[0], double[1], planes, *double[2:], octaves)  # type: ignore[call-arg]
    return rendered[0], alpha[0, 0], place[0]
