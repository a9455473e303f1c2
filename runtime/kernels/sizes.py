"""The sizes that a renderer's kernels are compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RendererSizes:
    """R, N, K, L, C, r (finest plane), W, octaves of one model (`hidenerf.model.config`)."""

    render_size: int
    samples: int
    rendered: int
    levels: int
    channels: int
    finest: int
    width: int
    octaves: int

    @staticmethod
    def of_model(config: Mapping[str, Any]) -> "RendererSizes":
        """The renderer's sizes out of a model config's values, as a bundle's manifest has them."""
        planes = config["plane_sizes"]
        return RendererSizes(
            render_size=config["render_size"],
            samples=config["samples_per_ray"],
            rendered=config["render_channels"],
            levels=len(planes),
            channels=config["plane_channels"],
            finest=planes[-1],
            width=config["mlp_width"],
            octaves=config["encoding_octaves"],
        )

    @property
    def padded_width(self) -> int:
        """Hidden units with zero units added, so that a lane's share of a point is whole 16-byte words."""
        return -(-self.width // 32) * 32

    @property
    def outputs(self) -> int:
        """Columns of the second layer: K, zeros, and density last."""
        return -(-(self.rendered + 1) // 16) * 16

    @property
    def encoding_products(self) -> int:
        """Tensor core products (16 inputs each) that the positional encoding takes."""
        return (self.octaves + 1) // 2

    @property
    def points(self) -> int:
        """Points along a side of the merged planes."""
        return 2 * (self.finest + (1 << (self.levels - 1))) + 1

    @property
    def merged_bytes(self) -> int:
        """Size of a source's merged planes, FP16 [3, points, points, padded_width]."""
        return 3 * self.points**2 * self.padded_width * 2

    def plane_size(self, level: int) -> int:
        """r_l; each level has half the resolution of the next."""
        return self.finest >> (self.levels - 1 - level)

    def definitions(self) -> tuple[tuple[str, int], ...]:
        """What `model_sizes.cuh` wants defined."""
        return (
            ("RENDER_SIZE", self.render_size),
            ("SAMPLES", self.samples),
            ("RENDERED", self.rendered),
            ("LEVELS", self.levels),
            ("CHANNELS", self.channels),
            ("FINEST", self.finest),
            ("WIDTH", self.width),
            ("OCTAVES", self.octaves),
        )
