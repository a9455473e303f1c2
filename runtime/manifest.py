"""The manifest: a bundle's `manifest.json` as typed records, parsed once when the bundle is opened (DESIGN §5).

Schema version 1:

| key             | meaning                                                                                        |
|-----------------|------------------------------------------------------------------------------------------------|
| `schema`        | `hidenerf-bundle`                                                                              |
| `schema_version`| 1                                                                                              |
| `generator`     | versions of hidenerf, torch and onnx that made it                                              |
| `model`         | the model's config (`hidenerf.model.config.ModelConfig`)                                       |
| `checkpoint`    | `sha256` and `name` of the checkpoint file, or the `random_init` seed of untrained weights     |
| `precision`     | `name` (`fp32`, `fp16` or `int8`); `fp32_islands`: per graph how many nodes each island rule   |
|                 | kept in FP32; for `int8` also `int8_layers`, the number of INT8 convolutions per graph, and    |
|                 | `file` and `sha256` of the `plan`                                                              |
| `graphs`        | per graph: `file`, `inputs` and `outputs`, each a list of `name`, `shape`, `dtype`             |
| `kernel_parts`  | for backends that run our kernels between parts of the graphs `led` and `renderer_refiner`:    |
|                 | `refiner`, `led_encoder` and `led_decoder`, described as the graphs are (older bundles lack    |
|                 | the last two), and `weights`, the file of the kernels' FP32 weights (NumPy                     |
|                 | archive: the MLP's `weight_1`, `bias_1`, `weight_2`, `bias_2`; with an aligned identity path   |
|                 | `absent`, an input of AlignSource: of gamma_0, beta_0, gamma_1, … one after the other). Older  |
|                 | bundles have it as `renderer_mlp`, or lack it. Of FP16 bundles also `refiner_plan` and         |
|                 | `led_plan`, for those of the graphs `refiner` and `led` that have one: `file` and `weights`    |
|                 | of its launch plan (`launch_plan.py`)                                                          |
| `face_model`    | `file` and `name`                                                                              |
| `files`         | SHA-256 of every file of the bundle but the manifest and the engines                           |
| `parity`        | null if never compared; `{"waived": true}` if the user exported with `--no-parity`; or the     |
|                 | verdict on this bundle against PyTorch: `passed`; `failed`, null or what was                   |
|                 | outside the thresholds in words; `precision`, `backend`, number of `frames`; `frame_psnr` and  |
|                 | `flicker_psnr`, the worst in dB; `tensors_failed`; the `thresholds`; the file of its `report`  |
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.json_text import GARBLED, parse_json

MANIFEST_NAME = "manifest.json"
SCHEMA = "hidenerf-bundle"
SCHEMA_VERSION = 1
EXPORT_AGAIN = "export it again with hidenerf-export"

Json = dict[str, Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and NumPy dtype of one input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @staticmethod
    def from_json(entry: Json) -> "TensorSpec":
        """Parse `name`, `shape` and `dtype`."""
        return TensorSpec(entry["name"], tuple(entry["shape"]), np.dtype(entry["dtype"]))

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype.name}


@dataclass(frozen=True)
class ModelEntry:
    """The model's name and sizes. config: all values of its `ModelConfig`, which the model layer parses."""

    name: str
    image_size: int
    render_size: int
    secc_size: int
    config: Mapping[str, Any]

    @staticmethod
    def from_json(entry: Json) -> "ModelEntry":
        """Parse the model's config."""
        return ModelEntry(
            name=str(entry["name"]),
            image_size=int(entry["image_size"]),
            render_size=int(entry["render_size"]),
            secc_size=int(entry["secc_size"]),
            config=entry,
        )


@dataclass(frozen=True)
class Weights:
    """Which weights: those of a checkpoint file with this SHA-256 and name, or untrained ones from a seed."""

    sha256: str | None = None
    name: str | None = None
    seed: int | None = None

    def same_as(self, other: "Weights") -> bool:
        """Whether they are the same weights; the checkpoint file may have another name."""
        return (self.sha256, self.seed) == (other.sha256, other.seed)

    def __str__(self) -> str:
        """In words, for messages."""
        if self.sha256 is None:
            return f"untrained weights from seed {self.seed}"
        return f"{self.name or 'a checkpoint'} (SHA-256 {self.sha256[:12]}…)"

    @property
    def trained(self) -> bool:
        """Whether they come from a checkpoint rather than from a seed."""
        return self.sha256 is not None

    @staticmethod
    def from_json(entry: Json) -> "Weights":
        """Parse `sha256` and `name`, or `random_init`."""
        if not isinstance(entry, dict) or entry.keys().isdisjoint(("sha256", "random_init")):
            raise ValueError("which weights these are")
        if "random_init" in entry:
            return Weights(seed=int(entry["random_init"]))
        return Weights(sha256=str(entry["sha256"]), name=entry.get("name"))

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        if self.sha256 is None:
            return {"random_init": self.seed}
        return {"sha256": self.sha256} | ({"name": self.name} if self.name is not None else {})


@dataclass(frozen=True)
class PlanEntry:
    """The precision plan's file in the bundle, and its SHA-256."""

    file: str
    sha256: str

    @staticmethod
    def from_json(entry: Json) -> "PlanEntry":
        """Parse `file` and `sha256`."""
        return PlanEntry(str(entry["file"]), str(entry["sha256"]))


@dataclass(frozen=True)
class PrecisionEntry:
    """The graphs' precision.

    name: "fp32", "fp16" or "int8".
    fp32_islands: per graph how many nodes each island rule kept in FP32.
    int8_layers: per graph how many convolutions are INT8; None but for "int8".
    plan: the precision plan; None but for "int8".
    """

    name: str
    fp32_islands: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    int8_layers: Mapping[str, int] | None = None
    plan: PlanEntry | None = None

    @staticmethod
    def from_json(entry: Json) -> "PrecisionEntry":
        """Parse the entry `precision`."""
        islands, plan = entry.get("fp32_islands", {}), entry.get("plan")
        return PrecisionEntry(
            str(entry["name"]),
            islands,
            entry.get("int8_layers"),
            PlanEntry.from_json(plan) if plan is not None else None,
        )

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        optional = {"int8_layers": self.int8_layers, "plan": vars(self.plan) if self.plan is not None else None}
        return {"name": self.name, "fp32_islands": self.fp32_islands} | _without_none(optional)


@dataclass(frozen=True)
class GraphEntry:
    """One graph: the name of its ONNX file, and its tensors in the graph's order."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @staticmethod
    def from_json(entry: Json) -> "GraphEntry":
        """Parse `file`, `inputs` and `outputs`."""
        inputs, outputs = (tuple(map(TensorSpec.from_json, entry[key])) for key in ("inputs", "outputs"))
        return GraphEntry(str(entry["file"]), inputs, outputs)

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        inputs, outputs = ([tensor.to_json() for tensor in tensors] for tensors in (self.inputs, self.outputs))
        return {"file": self.file, "inputs": inputs, "outputs": outputs}


@dataclass(frozen=True)
class LaunchPlanEntry:
    """A launch plan's file, and that of its weights."""

    file: str
    weights: str

    @staticmethod
    def from_json(entry: Json) -> "LaunchPlanEntry":
        """Parse the entry of a plan."""
        return LaunchPlanEntry(str(entry["file"]), str(entry["weights"]))


@dataclass(frozen=True)
class KernelPartsEntry:
    """What replaces `led` and `renderer_refiner` where our kernels run: graphs, and the file of the kernels' weights.

    led_encoder, led_decoder: None in older bundles. refiner_plan, led_plan: of the refiner's graph, and of LED's, as
    launch plans; None where it has none.
    """

    refiner: GraphEntry
    weights: str
    led_encoder: GraphEntry | None = None
    led_decoder: GraphEntry | None = None
    refiner_plan: LaunchPlanEntry | None = None
    led_plan: LaunchPlanEntry | None = None

    @staticmethod
    def from_json(entry: Json) -> "KernelPartsEntry":
        """Parse the entry `kernel_parts`, also of older bundles, which call the weights `renderer_mlp`."""
        weights = entry["renderer_mlp"] if "renderer_mlp" in entry else entry["weights"]
        encoder, decoder = (entry.get(name) for name in ("led_encoder", "led_decoder"))
        plans = [entry.get(name) for name in ("refiner_plan", "led_plan")]
        refiner_plan, led_plan = (None if plan is None else LaunchPlanEntry.from_json(plan) for plan in plans)
        return KernelPartsEntry(
            refiner=GraphEntry.from_json(entry["refiner"]),
            weights=str(weights),
            led_encoder=None if encoder is None else GraphEntry.from_json(encoder),
            led_decoder=None if decoder is None else GraphEntry.from_json(decoder),
            refiner_plan=refiner_plan,
            led_plan=led_plan,
        )

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        graphs = {"refiner": self.refiner, "led_encoder": self.led_encoder, "led_decoder": self.led_decoder}
        described = {name: None if graph is None else graph.to_json() for name, graph in graphs.items()}
        entries = {"refiner_plan": self.refiner_plan, "led_plan": self.led_plan}
        plans = {name: None if plan is None else vars(plan) for name, plan in entries.items()}
        return _without_none(described | plans) | {"weights": self.weights}


@dataclass(frozen=True)
class FaceModelEntry:
    """The face model's file and name."""

    file: str
    name: str


@dataclass(frozen=True)
class ParityVerdict:
    """What parity found.

    failed: what was outside the thresholds in words, None if nothing.
    precision, backend, frames: of the comparison.
    frame_psnr, flicker_psnr: the worst, dB; infinite where nothing differs.
    tensors_failed: how many tensors were outside.
    report: its file in the bundle.
    """

    passed: bool
    failed: str | None = None
    precision: str | None = None
    backend: str | None = None
    frames: int | None = None
    frame_psnr: float | None = None
    flicker_psnr: float | None = None
    tensors_failed: int | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    report: str | None = None

    @staticmethod
    def from_json(entry: Json) -> "ParityVerdict":
        """Parse a verdict; one of an older hidenerf has no words for a failure and gets them here."""
        if not isinstance(entry["passed"], bool):
            raise ValueError(f"parity's verdict {entry['passed']!r}")
        failed = entry.get("failed")
        if not entry["passed"] and failed is None:
            limit = entry["thresholds"]["frame_psnr"]
            failed = f"worst frame {entry['frame_psnr']} dB where {limit} dB is asked"
        return ParityVerdict(
            passed=entry["passed"],
            failed=failed,
            precision=entry.get("precision"),
            backend=entry.get("backend"),
            frames=entry.get("frames"),
            frame_psnr=_decibels(entry.get("frame_psnr")),
            flicker_psnr=_decibels(entry.get("flicker_psnr")),
            tensors_failed=entry.get("tensors_failed"),
            thresholds=entry.get("thresholds", {}),
            report=entry.get("report"),
        )

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        # JSON has no infinity and no NaN.
        decibels = {"frame_psnr": self.frame_psnr, "flicker_psnr": self.flicker_psnr}
        words = {key: str(value) for key, value in decibels.items() if value is not None and not math.isfinite(value)}
        return vars(self) | words


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest; the fields are the keys of this module's table.

    parity: None where the bundle was never compared, or where `parity_waived`.
    parity_waived: whether the user exported with `--no-parity`.
    """

    generator: Mapping[str, str]
    model: ModelEntry
    checkpoint: Weights
    precision: PrecisionEntry
    graphs: Mapping[str, GraphEntry]
    kernel_parts: KernelPartsEntry | None
    face_model: FaceModelEntry
    files: Mapping[str, str]
    parity: ParityVerdict | None = None
    parity_waived: bool = False

    @staticmethod
    def from_json(content: Json) -> "Manifest":
        """Parse a manifest of this schema version. Errors: KeyError, TypeError, ValueError, AttributeError."""
        parity = content.get("parity")
        waived = parity == {"waived": True}
        parts = content.get("kernel_parts")
        return Manifest(
            generator=content.get("generator", {}),
            model=ModelEntry.from_json(content["model"]),
            checkpoint=Weights.from_json(content["checkpoint"]),
            precision=PrecisionEntry.from_json(content["precision"]),
            graphs={name: GraphEntry.from_json(entry) for name, entry in content["graphs"].items()},
            kernel_parts=KernelPartsEntry.from_json(parts) if parts is not None else None,
            face_model=FaceModelEntry(str(content["face_model"]["file"]), str(content["face_model"]["name"])),
            files=dict(content["files"].items()),
            parity=ParityVerdict.from_json(parity) if parity is not None and not waived else None,
            parity_waived=waived,
        )

    def to_json(self) -> Json:
        """Inverse of `from_json`, with the schema."""
        parity = self.parity.to_json() if self.parity is not None else None
        parts = {"kernel_parts": self.kernel_parts.to_json()} if self.kernel_parts is not None else {}
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "generator": self.generator,
            "model": self.model.config,
            "checkpoint": self.checkpoint.to_json(),
            "precision": self.precision.to_json(),
            "graphs": {name: graph.to_json() for name, graph in self.graphs.items()},
            **parts,
            "face_model": vars(self.face_model),
            "files": self.files,
            "parity": {"waived": True} if self.parity_waived else parity,
        }


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle folder; the bundle's other files are not looked at.

    Errors: no manifest, not JSON, another schema or version, a missing or garbled entry; each says which.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise HideNerfError(f"{folder}: not a bundle, it has no {MANIFEST_NAME}; {EXPORT_AGAIN}.")
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HideNerfError(f"{path}: not readable as JSON ({shown(error)}); {EXPORT_AGAIN}.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise HideNerfError(f"{path}: not a hidenerf bundle's manifest; {EXPORT_AGAIN}.")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        age = "older" if isinstance(version, int) and version < SCHEMA_VERSION else "other"
        raise HideNerfError(
            f"{folder}: bundle of the {age} schema version {shown(version)}, this hidenerf reads "
            f"{SCHEMA_VERSION}; {EXPORT_AGAIN}."
        )
    try:
        return Manifest.from_json(content)
    except GARBLED as error:
        raise HideNerfError(f"{folder}: the manifest lacks or garbles {shown(error)}; {EXPORT_AGAIN}.") from None


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of a bundle folder; it replaces the old one whole or not at all."""
    with atomic_path(folder / MANIFEST_NAME) as partial:
        partial.write_text(json.dumps(manifest.to_json(), indent=1) + "\n", encoding="utf-8")


def _decibels(value: Any) -> float | None:
    return None if value is None else float(value)


def _without_none(entries: Json) -> Json:
    return {key: value for key, value in entries.items() if value is not None}
