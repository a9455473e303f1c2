"""`RaySampler`: RaySamples on the GPU, with kernels compiled for one model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.launch_plan import LaunchPlan, PlanMap, RaySamples

# As in ray_samples.cuh and ray_samples.cu.
SAMPLES_A_THREAD = 4
THREADS = 128
# The same of the kernel whose results are a launch plan's maps.
PIXELS_A_BLOCK = 32
THREADS_OF_MAPS = 256
# Of a pixel, both results: they pass through a block's 48 KiB of shared memory, with a word more.
MOST_NUMBERS = 48 * 1024 // (2 * PIXELS_A_BLOCK) - 2


@dataclass(frozen=True)
class SampleSizes:
    """Sizes of what one model's LED reads along its rays (`hidenerf.model.config`).

    render_size: R, side of the picture of rays.
    samples: N, samples along a ray.
    stride: every how manieth sample is looked up; it divides N.
    channels: K, features that are looked up.
    """

    render_size: int
    samples: int
    stride: int
    channels: int

    @staticmethod
    def of_model(config: Mapping[str, Any]) -> "SampleSizes":
        """The sizes of a model. config: its config's values, as in a bundle's manifest."""
        return SampleSizes(
            render_size=config["render_size"],
            samples=config["samples_per_ray"],
            stride=config["lookup_stride"],
            channels=config["lookup_channels"],
        )

    @staticmethod
    def of_step(step: RaySamples, plan: LaunchPlan) -> "SampleSizes":
        """The sizes of a launch plan's step."""
        features = plan.maps[step.features]
        return SampleSizes(features.width, step.samples, step.stride, features.channels)

    @property
    def rows(self) -> tuple[int, int]:
        """How many pictures [R, R] the points and the looked-up features are."""
        return 3 * self.samples, self.channels * self.samples // self.stride

    def definitions(self) -> tuple[tuple[str, int], ...]:
        """The macros of ray_samples.cu, with their values."""
        return (
            ("RENDER_SIZE", self.render_size),
            ("SAMPLES", self.samples),
            ("LOOKUP_STRIDE", self.stride),
            ("LOOKUP_CHANNELS", self.channels),
        )


def numbers_of_pixel(sizes: SampleSizes) -> int:
    """How many numbers both results have of a pixel, where they are a launch plan's maps."""
    return sum(PlanMap(rows, 1, 1).padded for rows in sizes.rows)


class RaySampler:
    """Samples the rays of one model. Arguments of its method are device addresses; everything is asynchronous."""

    def __init__(self, sizes: SampleSizes) -> None:
        """Compile the kernels."""
        self.sizes = sizes
        self._kernels = Kernels("ray_samples.cu", sizes.definitions())

    def sample(self, camera: int, features: int, points: int, looked_up: int, half: bool, stream: int) -> None:
        """Find the ray points, and look the features up at their frontal projections.

        camera: FP32 [25].
        features: [K, R, R], FP16 if half, otherwise FP32, as both results are.
        points: the result [3N, R, R], row 3i + k: axis k of sample i.
        looked_up: the result [K·N/stride, R, R].
        stream: handle of the stream.
        """
        pixels = self.sizes.render_size**2
        grid = (-(-pixels // THREADS), -(-self.sizes.samples // SAMPLES_A_THREAD), 1)
        name = "ray_samples_fp16" if half else "ray_samples_fp32"
        self._kernels.launch(name, grid, THREADS, stream, [camera, features, points, looked_up])
