"""Cameras and features that RaySamples reads, and what the model makes of them in FP64."""

import torch
from torch import Tensor

from hidenerf.model.deformation import ray_samples
from hidenerf.runtime.kernels.ray_sampler import SampleSizes
from hidenerf.runtime.launch_plan import ChannelsLast, LaunchPlan, Planes, PlanMap, RaySamples
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


def rays_plan(sizes: SampleSizes) -> LaunchPlan:
    """A launch plan of the inputs `camera` and `features`; the map `looked_up` lies in `all`, behind eight channels."""
    (of_points, of_looked_up), size = sizes.rows, sizes.render_size
    padded = PlanMap(of_looked_up, 1, 1).padded
    maps = {
        "features": PlanMap(sizes.channels, size, size),
        "points": PlanMap(of_points, size, size),
        "other": PlanMap(8, size, size, "all", 0),
        "looked_up": PlanMap(of_looked_up, size, size, "all", 8),
        "all": PlanMap(8 + padded, size, size),
    }
    steps = (
        ChannelsLast((Planes("features", 0, sizes.channels),), "features"),
        RaySamples("camera", "features", "points", "looked_up", sizes.samples, sizes.stride),
    )
    return LaunchPlan("test", maps, steps)
