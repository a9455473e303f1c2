"""Cameras and features that RaySamples reads, and what the model makes of them in FP64."""

import torch
from torch import Tensor

from hidenerf.model.deformation import ray_samples
from hidenerf.runtime.kernels.ray_sampler import SampleSizes
from tests.support.kernels.scenes import camera_of

BASE = SampleSizes(render_size=128, samples=48, stride=2, channels=4)
DEMO = SampleSizes(render_size=64, samples=32, stride=1, channels=4)
# Pixels of no whole block, samples of no whole thread, more features than are unrolled.
ODD = SampleSizes(render_size=9, samples=6, stride=3, channels=5)


def ray_scene(sizes: SampleSizes, seed: int, *, fp16: bool = False) -> tuple[Tensor, Tensor]:
    """A camera [1, 25], some of whose outer rays miss the box, and features [1, K, R, R] that no two cells share."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, sizes.channels, sizes.render_size, sizes.render_size, generator=generator)
    return camera_of(seed, 20.0), features.half() if fp16 else features


def expected_samples(camera: Tensor, features: Tensor, sizes: SampleSizes) -> tuple[Tensor, Tensor]:
    """Points [3N, R, R] and looked-up features [K·n, R, R] in FP64."""
    points, looked_up = ray_samples(camera.double(), features.double(), sizes.samples, sizes.stride)
    return points[0], looked_up[0]
