"""`RendererSizes`: the sizes of a model that its renderer's kernels are compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RendererSizes:
    """Sizes of one model's renderer (`hidenerf.model.config`).

    render_size: R, side of the rendered image.
    samples: N, samples along a ray.
    rendered: K, rendered channels.
    levels: L, plane levels; each has half the resolution of the next.
    channels: C, channels of a plane.
    finest: r, side of the finest plane.
    width: W, hidden units of the MLP.
    octaves: of the positional encoding.
    place: 1 if the canonical points are composited, too, as models with an aligned identity path need; otherwise 0.
    """

    render_size: int
    samples: int
    rendered: int
    levels: int
    channels: int
    finest: int
    width: int
    octaves: int
    place: int = 0

    @staticmethod
    def of_model(config: Mapping[str, Any]) -> "RendererSizes":
        """The sizes of a model. config: its config's values, as in a bundle's manifest."""
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
            # Absent from bundles that are older than alignment.
            place=int(config.get("alignment", "none") != "none"),
        )

    @property
    def padded_width(self) -> int:
        """Hidden units, padded with zero units so that a lane's share of a point is whole 16-byte words."""
        return -(-self.width // 32) * 32

    @property
    def outputs(self) -> int:
        """Columns of the second layer: K rendered channels, zeros, and density last."""
        return -(-(self.rendered + 1) // 16) * 16

    @property
    def encoding_products(self) -> int:
        """How many tensor core products, of 16 inputs each, the positional encoding takes."""
        return (self.octaves + 1) // 2

    @property
    def points(self) -> int:
        """Points along a side of the merged planes."""
        return 2 * (self.finest + (1 << (self.levels - 1))) + 1

    @property
    def merged_bytes(self) -> int:
        """Bytes of a source's merged planes, FP16 [3, points, points, padded_width]."""
        return 3 * self.points**2 * self.padded_width * 2

    def definitions(self) -> tuple[tuple[str, int], ...]:
        """The macros of `model_sizes.cuh`, with their values."""
        return (
            ("RENDER_SIZE", self.render_size),
            ("SAMPLES", self.samples),
            ("RENDERED", self.rendered),
            ("LEVELS", self.levels),
            ("CHANNELS", self.channels),
            ("FINEST", self.finest),
            ("WIDTH", self.width),
            ("OCTAVES", self.octaves),
            ("PLACE", self.place),
        )
