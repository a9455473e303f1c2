"""Precision plans: the file that `hidenerf-calibrate` writes and `hidenerf-export --precision` applies.

A plan is JSON of the schema `hidenerf-precision-plan`, version 1. The exporter reads:

- `schema`, `schema_version`: `hidenerf-precision-plan`, 1.
- `checkpoint`: the weights that the plan was made for, as in a bundle's manifest.
- `graphs`: SHA-256 of each FP32 graph (`hidenerf.export.convolutions.graph_digest`).
- `layers`: one entry a convolution with `graph`, `layer`, `group`, `precision` (`int8`, `fp16`, `fp32`), `gflops`, for
  INT8 `activation_range` and `activation_scale`, and the `reason` in words.
- `islands`: nodes that would overflow in FP16: `graph`, `node`, `tensor`, `max_abs` and the `reason` in words.

The other keys record how the plan was found: `calibration` (hashes of sources, motions and frames), `budget`,
`ranges`, `reached`, `share`, `cost`, `guard`, `groups` and `steps`; see docs/precision.md.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.json_text import GARBLED, parse_json
from hidenerf.runtime.manifest import Weights

SCHEMA = "hidenerf-precision-plan"
SCHEMA_VERSION = 1
PRECISIONS = ("int8", "fp16", "fp32")
CALIBRATE = "make one with hidenerf-calibrate"

Json = dict[str, Any]


@dataclass(frozen=True)
class LayerEntry:
    """One convolution of a plan.

    precision: one of `PRECISIONS`. reason: why it has this precision, in words. group: None if it had no choice.
    activation_scale, activation_range: of the activation that it reads, None but for INT8. activation_max: the largest
    value seen of it. weight_scales: the smallest and the largest.
    """

    graph: str
    layer: str
    precision: str
    activation_scale: float | None = None
    reason: str = ""
    group: str | None = None
    gflops: float | None = None
    activation_range: float | None = None
    activation_max: float | None = None
    weight_scales: tuple[float, float] | None = None

    @staticmethod
    def from_json(entry: Json) -> "LayerEntry":
        """Parse what the exporter reads. Errors: KeyError, TypeError, ValueError."""
        graph, layer, precision, scale = str(entry["graph"]), str(entry["layer"]), entry["precision"], None
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}")
        if precision == "int8":
            scale = float(entry["activation_scale"])
            if not (math.isfinite(scale) and scale > 0.0):
                raise ValueError(f"the scale {scale:g} of {layer}")
        return LayerEntry(graph, layer, precision, scale)

    def to_json(self) -> Json:
        """All that is known; `group` also where it is None."""
        return {"group": self.group} | {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class IslandEntry:
    """A node that stays in FP32 because `tensor`, which it makes or reads, reaches `max_abs`. reason: in words."""

    graph: str
    node: str
    tensor: str = ""
    max_abs: float | None = None
    reason: str = ""

    @staticmethod
    def from_json(entry: Json) -> "IslandEntry":
        """Parse what the exporter reads. Errors: KeyError, TypeError."""
        return IslandEntry(str(entry["graph"]), str(entry["node"]))

    def to_json(self) -> Json:
        """All keys."""
        return vars(self)


@dataclass(frozen=True)
class PlanContent:
    """What the exporter reads of a plan: the fields are the keys of this module's list, without the schema."""

    checkpoint: Weights
    graphs: Mapping[str, str]
    layers: Sequence[LayerEntry]
    islands: Sequence[IslandEntry]

    @staticmethod
    def from_json(content: Json) -> "PlanContent":
        """Parse a plan of this schema version. Errors: KeyError, TypeError, ValueError, AttributeError."""
        parsed = PlanContent(
            checkpoint=Weights.from_json(content["checkpoint"]),
            graphs={str(name): str(digest) for name, digest in content["graphs"].items()},
            layers=tuple(map(LayerEntry.from_json, content["layers"])),
            islands=tuple(map(IslandEntry.from_json, content["islands"])),
        )
        named = {layer.graph for layer in parsed.layers if layer.precision == "int8"}
        unknown = sorted((named | {island.graph for island in parsed.islands}) - parsed.graphs.keys())
        if unknown:
            raise ValueError(f"graph {unknown[0]!r}")
        return parsed

    def to_json(self) -> Json:
        """With the schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "checkpoint": self.checkpoint.to_json(),
            "graphs": self.graphs,
            "islands": [island.to_json() for island in self.islands],
            "layers": [layer.to_json() for layer in self.layers],
        }


@dataclass(frozen=True)
class PrecisionPlan:
    """A precision plan as the exporter needs it.

    path: the file. checkpoint: the weights that it was made for. digests: graph → SHA-256. scales: graph → INT8 layer →
    scale of the activation that it reads. islands: graph → names of nodes that stay FP32. text: the file's bytes.
    """

    path: Path
    checkpoint: Weights
    digests: Mapping[str, str]
    scales: Mapping[str, Mapping[str, float]]
    islands: Mapping[str, frozenset[str]]
    text: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.text).hexdigest()

    def require_checkpoint(self, checkpoint: Weights) -> None:
        """Check that the plan was made for these weights. Errors: it was not."""
        if not self.checkpoint.same_as(checkpoint):
            raise HideNerfError(
                f"{self.path}: this plan was made for {self.checkpoint}, and not for {checkpoint}; {CALIBRATE} for "
                "the model that is exported."
            )

    def require_graph(self, name: str, digest: str) -> None:
        """Check that the plan was made for the FP32 graph `name` of this digest. Errors: it was not."""
        if self.digests.get(name) != digest:
            raise HideNerfError(
                f"{self.path}: this plan was made for another graph {name} than is exported here, by other versions "
                f"of hidenerf or PyTorch or in another preset; {CALIBRATE} anew."
            )


def read_plan(path: Path) -> PrecisionPlan:
    """Read and check a precision plan. Errors: no such file, another kind of file or version, invalid entries."""
    if not path.is_file():
        raise HideNerfError(f"{path}: no such precision plan; {CALIBRATE} -o {path}.")
    text = path.read_bytes()
    try:
        content = parse_json(text)
    except ValueError as error:
        raise HideNerfError(f"{path}: not readable as JSON ({shown(error)}); {CALIBRATE}.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise HideNerfError(f"{path}: not a precision plan; {CALIBRATE}.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise HideNerfError(
            f"{path}: precision plan of schema version {shown(content.get('schema_version'))}, this hidenerf reads "
            f"{SCHEMA_VERSION}; {CALIBRATE} anew."
        )
    try:
        parsed = PlanContent.from_json(content)
    except GARBLED as error:
        raise HideNerfError(f"{path}: {shown(error)} is missing or invalid in this plan; {CALIBRATE} anew.") from None
    return _precision_plan(path, parsed, text)


def _precision_plan(path: Path, content: PlanContent, text: bytes) -> PrecisionPlan:
    scales: dict[str, dict[str, float]] = {}
    for entry in content.layers:
        if entry.activation_scale is not None:
            scales.setdefault(entry.graph, {})[entry.layer] = entry.activation_scale
    islands: dict[str, frozenset[str]] = {}
    for island in content.islands:
        islands[island.graph] = islands.get(island.graph, frozenset()) | {island.node}
    return PrecisionPlan(path, content.checkpoint, content.graphs, scales, islands, text)
