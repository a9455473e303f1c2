"""Model config: the sizes of the networks. The paper gives few of them; the presets are ours."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.errors import HideNerfError

# How an error names what an entry must be.
KINDS: dict[Any, str] = {
    int: "a whole number above 0",
    float: "a finite number above 0",
    str: "a text",
    tuple[int, ...]: "a list of whole numbers above 0",
    int | None: "a whole number above 0, or null",
}


# How the source's identity reaches the refine network, see `ModelConfig`.
UNALIGNED, MAPS, PICTURE = "none", "maps", "maps and picture"
ALIGNMENTS = (UNALIGNED, MAPS, PICTURE)


@dataclass(frozen=True)
class ModelConfig:
    """One model's sizes; pictures are square, channels are listed from the finest resolution to the coarsest.

    image_size: side S of the source picture and of the frame. render_size: side R of the rendered picture.
    secc_size: side Q of a SECC, twice R. samples_per_ray: N. plane_sizes: r_l, coarsest first, each twice the one
    before, the last half of S. plane_channels: C. volume_terms: products that a feature volume is the sum of.
    volume_depths: its slices D, per level. plane_samples: samples of it along each plane's normal, per level.
    encoding_octaves: of the observed point's positional encoding.
    render_channels: of the rendered picture; the first three are its colours, the others features for the refiner.
    lookup_stride: every which sample of a ray looks up SECC features at its frontal projection.
    maximum_deformation: bound of each component of Δ, world units.
    extractor_channels: at S/2, S/4, … deformation_channels: LED's decoder at R, R/2, …
    identity_channels: ID encoder at S, S/2, …, R/4. refiner_channels: decoder at S, S/2, …, R/4.
    alignment: "none": SPADE's maps lie in the source picture's coordinates, as in the paper; "maps": they are sampled
    where the source camera saw what a pixel shows; "maps and picture": the source picture is, too. aligned_scales: most
    scales of the decoder, from the coarsest on, that sample maps; the finer ones have constants instead.
    enlarger_width: channels of the enlarger, which doubles the refined picture's side (`model/enlarger.py`). The other
    networks then see and draw pictures of S/2, and S/2 takes the place of S above. None: there is none.
    """

    name: str
    image_size: int
    render_size: int
    secc_size: int
    samples_per_ray: int
    plane_sizes: tuple[int, ...]
    plane_channels: int
    volume_terms: int
    volume_depths: tuple[int, ...]
    plane_samples: tuple[int, ...]
    mlp_width: int
    encoding_octaves: int
    render_channels: int
    extractor_channels: tuple[int, ...]
    expression_channels: int
    position_channels: int
    lookup_channels: int
    lookup_stride: int
    deformation_channels: tuple[int, ...]
    maximum_deformation: float
    identity_channels: tuple[int, ...]
    refiner_channels: tuple[int, ...]
    spade_width: int
    alignment: str = UNALIGNED
    aligned_scales: int = 8
    enlarger_width: int | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        scales = len(self.refiner_channels)
        size = self.working_size
        rules = {
            "render_channels must be at least 3, the colours": self.render_channels >= 3,
            "secc_size must be twice render_size": self.secc_size == 2 * self.render_size,
            "plane_sizes must double from level to level and end at half of image_size": self.plane_sizes
            == tuple(size >> (len(self.plane_sizes) - level) for level in range(len(self.plane_sizes))),
            "volume_depths and plane_samples must have one entry a level, and at least one": len(self.volume_depths)
            == len(self.plane_samples)
            == len(self.plane_sizes)
            > 0,
            "extractor_channels must have more entries than there are plane_sizes": len(self.extractor_channels)
            > len(self.plane_sizes),
            "image_size must be divisible by 2 to the number of extractor_channels": size
            % (1 << len(self.extractor_channels))
            == 0,
            "samples_per_ray must be divisible by lookup_stride": self.lookup_stride > 0
            and self.samples_per_ray % self.lookup_stride == 0,
            "render_size must be divisible by 2 to one less than the number of deformation_channels": self.render_size
            % (1 << max(0, len(self.deformation_channels) - 1))
            == 0
            < len(self.deformation_channels),
            "identity_channels must have as many entries as refiner_channels": len(self.identity_channels) == scales,
            "the refiner's coarsest scale must be a quarter of render_size": scales >= 3
            and size << 2 == self.render_size << (scales - 1),
            "enlarger_width needs the alignment 'maps and picture' and an even image_size": not self.enlarged
            or (self.alignment == PICTURE and self.image_size % 2 == 0),
            f"alignment must be one of {', '.join(ALIGNMENTS)}": self.alignment in ALIGNMENTS,
        }
        for rule, holds in rules.items():
            if not holds:
                raise HideNerfError(f"Model config '{self.name}': {rule}; correct the config.")

    @property
    def enlarged(self) -> bool:
        """Whether there is an enlarger."""
        return self.enlarger_width is not None

    @property
    def working_size(self) -> int:
        """Side of the source picture and of the frame as all networks but the enlarger see them."""
        return self.image_size // 2 if self.enlarged else self.image_size

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "ModelConfig":
        """The config in `values`; a missing, unknown or ill-typed entry is named. What has a default may be missing."""
        if not isinstance(values, dict):
            raise HideNerfError(f"The model config is {values!r}, not a table of sizes; use the checkpoint's own.")
        fields = {field.name: field.type for field in dataclasses.fields(ModelConfig)}
        needed = {field.name for field in dataclasses.fields(ModelConfig) if field.default is dataclasses.MISSING}
        for problem, names in (
            ("lacks", needed - values.keys()),
            ("has unknown", values.keys() - fields.keys()),
        ):
            if names:
                raise HideNerfError(f"The model config {problem} {', '.join(sorted(names))}; use the checkpoint's own.")
        checked: dict[str, Any] = {}
        for key, value in values.items():
            kind = fields[key]
            good = {
                int: type(value) is int and value > 0,
                float: type(value) in (int, float) and 0 < value < math.inf,
                str: isinstance(value, str),
                int | None: value is None or (type(value) is int and value > 0),
                tuple[int, ...]: isinstance(value, (list, tuple)) and all(type(v) is int and v > 0 for v in value),
            }[kind]  # type: ignore[index]
            if not good:
                raise HideNerfError(f"The model config's {key} is {value!r}; it must be {KINDS[kind]}.")
            checked[key] = tuple(value) if isinstance(value, list) else value
        return ModelConfig(**checked)


_BASE = ModelConfig(
    name="base",
    image_size=512,
    render_size=128,
    secc_size=256,
    samples_per_ray=48,
    plane_sizes=(64, 128, 256),
    plane_channels=32,
    volume_terms=4,
    volume_depths=(16, 32, 32),
    plane_samples=(16, 32, 32),
    mlp_width=64,
    encoding_octaves=6,
    render_channels=31,
    extractor_channels=(64, 96, 160, 256, 256),
    expression_channels=64,
    position_channels=64,
    lookup_channels=4,
    lookup_stride=2,
    deformation_channels=(96, 128, 160, 192),
    maximum_deformation=0.3,
    identity_channels=(32, 48, 64, 96, 128),
    refiner_channels=(32, 64, 64, 128, 256),
    spade_width=64,
)
_DEMO = ModelConfig(
    name="demo",
    image_size=256,
    render_size=64,
    secc_size=128,
    samples_per_ray=32,
    plane_sizes=(32, 64, 128),
    plane_channels=16,
    volume_terms=4,
    volume_depths=(16, 32, 32),
    plane_samples=(16, 32, 32),
    mlp_width=64,
    encoding_octaves=4,
    render_channels=31,
    extractor_channels=(64, 96, 128, 176, 208),
    expression_channels=48,
    position_channels=48,
    lookup_channels=4,
    lookup_stride=1,
    deformation_channels=(128, 128, 128, 160),
    maximum_deformation=0.3,
    identity_channels=(24, 32, 48, 64, 96),
    refiner_channels=(24, 32, 48, 96, 128),
    spade_width=48,
)
# The networks of `demo`, and an enlarger.
_DEMO512 = dataclasses.replace(_DEMO, name="demo512", image_size=512, alignment=PICTURE, enlarger_width=32)

PRESETS = {config.name: config for config in (_BASE, _DEMO, _DEMO512)}
