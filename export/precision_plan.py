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
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError

SCHEMA = "hidenerf-precision-plan"
SCHEMA_VERSION = 1
PRECISIONS = ("int8", "fp16", "fp32")
CALIBRATE = "make one with hidenerf-calibrate"


@dataclass(frozen=True)
class PrecisionPlan:
    """A precision plan as the exporter needs it.

    path: the file. checkpoint: the manifest's entry. digests: graph → SHA-256. scales: graph → INT8 layer → scale of
    the activation that it reads. islands: graph → names of nodes that stay FP32. text: the file's bytes.
    """

    path: Path
    checkpoint: Mapping[str, Any]
    digests: Mapping[str, str]
    scales: Mapping[str, Mapping[str, float]]
    islands: Mapping[str, frozenset[str]]
    text: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.text).hexdigest()

    def require_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Check that the plan was made for the weights of the manifest entry `checkpoint`. Errors: it was not."""
        if _identity(self.checkpoint) != _identity(checkpoint):
            raise HideNerfError(
                f"{self.path}: this plan was made for {_words(self.checkpoint)}, and not for {_words(checkpoint)}; "
                f"{CALIBRATE} for the model that is exported."
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
        content = json.loads(text)
    except ValueError as error:
        raise HideNerfError(f"{path}: not readable as JSON ({error}); {CALIBRATE}.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise HideNerfError(f"{path}: not a precision plan; {CALIBRATE}.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise HideNerfError(
            f"{path}: precision plan of schema version {content.get('schema_version')}, this hidenerf reads "
            f"{SCHEMA_VERSION}; {CALIBRATE} anew."
        )
    try:
        return _plan(path, content, text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HideNerfError(f"{path}: {error} is missing or invalid in this plan; {CALIBRATE} anew.") from None


def _plan(path: Path, content: dict[str, Any], text: bytes) -> PrecisionPlan:
    digests = {str(name): str(digest) for name, digest in content["graphs"].items()}
    scales: dict[str, dict[str, float]] = {}
    for entry in content["layers"]:
        if entry["precision"] not in PRECISIONS:
            raise ValueError(f"precision {entry['precision']!r}")
        if entry["precision"] == "int8":
            scale = float(entry["activation_scale"])
            if not (math.isfinite(scale) and scale > 0.0):
                raise ValueError(f"the scale {scale:g} of {entry['layer']}")
            scales.setdefault(entry["graph"], {})[entry["layer"]] = scale
    islands: dict[str, set[str]] = {}
    for entry in content["islands"]:
        islands.setdefault(entry["graph"], set()).add(entry["node"])
    unknown = sorted((scales.keys() | islands.keys()) - digests.keys())
    if unknown:
        raise ValueError(f"graph {unknown[0]!r}")
    _identity(content["checkpoint"])
    named = {graph: frozenset(nodes) for graph, nodes in islands.items()}
    return PrecisionPlan(path, content["checkpoint"], digests, scales, named, text)


def _identity(checkpoint: Mapping[str, Any]) -> tuple[str, Any]:
    key = "sha256" if "sha256" in checkpoint else "random_init"
    return key, checkpoint[key]


def _words(checkpoint: Mapping[str, Any]) -> str:
    key, value = _identity(checkpoint)
    if key == "random_init":
        return f"untrained weights from seed {value}"
    return f"{checkpoint.get('name', 'a checkpoint')} (SHA-256 {str(value)[:12]}…)"
