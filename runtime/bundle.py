"""The bundle: a folder with `manifest.json`, ONNX graphs, the face model, and parity's report (DESIGN §5).

Manifest, schema version 1:

| key             | meaning                                                                                        |
|-----------------|------------------------------------------------------------------------------------------------|
| `schema`        | `hidenerf-bundle`                                                                              |
| `schema_version`| 1                                                                                              |
| `generator`     | versions of hidenerf, torch and onnx that made it                                              |
| `model`         | the model's config (`hidenerf.model.config.ModelConfig`)                                       |
| `checkpoint`    | `sha256` of the checkpoint file, or the `random_init` seed of untrained weights                |
| `precision`     | `name` (`fp32`, `fp16` or `int8`), per graph how many nodes each island rule kept in FP32; for |
|                 | `int8` also how many convolutions are INT8 per graph, and `file` and `sha256` of the `plan`    |
| `graphs`        | per graph: `file`, `inputs` and `outputs`, each a list of `name`, `shape`, `dtype`             |
| `kernel_parts`  | for backends that render with our kernel in place of the graph `renderer_refiner`: `refiner`,  |
|                 | described as the graphs are, and `renderer_mlp`, the file of the MLP's FP32 weights (NumPy     |
|                 | archive: `weight_1`, `bias_1`, `weight_2`, `bias_2`); missing from bundles of before           |
| `face_model`    | `file` and `name`                                                                              |
| `files`         | SHA-256 of every file of the bundle but the manifest                                           |
| `parity`        | null if never compared; `{"waived": true}` if the user exported with `--no-parity`; or the     |
|                 | verdict on this bundle against PyTorch: `passed`; `failed`, null or what was                   |
|                 | outside the thresholds in words; `precision`, `backend`, number of `frames`; `frame_psnr` and  |
|                 | `flicker_psnr`, the worst in dB; `tensors_failed`; the `thresholds`; the file of its `report`  |
"""

import enum
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of

MANIFEST_NAME = "manifest.json"
SCHEMA = "hidenerf-bundle"
SCHEMA_VERSION = 1
GRAPH_NAMES = ("source_encoder", "led", "renderer_refiner")
PARITY_REPORT = "parity/report.html"
EXPORT_AGAIN = "export it again with hidenerf-export"


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and NumPy dtype of one input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its ONNX file, and its tensors by name."""

    name: str
    path: Path
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class KernelParts:
    """In place of `renderer_refiner` for a backend whose kernel renders: the refiner's graph, and the MLP's file."""

    refiner: GraphSpec
    mlp_path: Path


class ParityState(enum.Enum):
    """What a manifest says of the comparison with the PyTorch model."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    NEVER_COMPARED = "never compared"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. image_size S, render_size R, secc_size Q, samples_per_ray N are the model's.

    kernel_parts: None in bundles that were exported before there were any.
    """

    folder: Path
    manifest: dict[str, Any]
    graphs: dict[str, GraphSpec]
    kernel_parts: KernelParts | None

    @property
    def image_size(self) -> int:
        return int(self.manifest["model"]["image_size"])

    @property
    def render_size(self) -> int:
        return int(self.manifest["model"]["render_size"])

    @property
    def secc_size(self) -> int:
        return int(self.manifest["model"]["secc_size"])

    @property
    def preset(self) -> str:
        return str(self.manifest["model"]["name"])

    @property
    def precision(self) -> str:
        return str(self.manifest["precision"]["name"])

    @property
    def trained(self) -> bool:
        """Whether the weights come from a checkpoint rather than from a seed."""
        return "sha256" in self.manifest["checkpoint"]

    @property
    def parity(self) -> ParityState:
        """What is known of the bundle's agreement with the PyTorch model."""
        entry = self.manifest.get("parity")
        if entry is None:
            return ParityState.NEVER_COMPARED
        if entry.get("waived") is True:
            return ParityState.WAIVED
        return ParityState.PASSED if entry["passed"] else ParityState.FAILED

    @property
    def failed_parity(self) -> str | None:
        """What parity found outside its thresholds, in words; None unless the state is `FAILED`."""
        if self.parity is not ParityState.FAILED:
            return None
        entry = self.manifest["parity"]
        if "failed" in entry:
            return str(entry["failed"])
        # The verdict of a hidenerf that had no words for it.
        return f"worst frame {entry['frame_psnr']} dB where {entry['thresholds']['frame_psnr']} dB is asked"

    @property
    def face_model_name(self) -> str:
        return str(self.manifest["face_model"]["name"])

    @property
    def face_model_path(self) -> Path:
        return self.folder / self.manifest["face_model"]["file"]


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and verify every file's hash.

    Errors: no such folder, no or unreadable manifest, another schema version, a missing, changed or foreign file;
    each says which and what to run.
    """
    if not folder.is_dir():
        raise HideNerfError(f"{folder}: no such bundle folder; make one with hidenerf-export -o {folder}.")
    manifest = read_manifest(folder)
    try:
        _verify_files(folder, manifest["files"])
        graphs = {name: _graph(folder, name, manifest["graphs"][name]) for name in GRAPH_NAMES}
        parts = _kernel_parts(folder, manifest["kernel_parts"]) if "kernel_parts" in manifest else None
        bundle = Bundle(folder, manifest, graphs, parts)
        hashed = {folder / name for name in manifest["files"]}
        used = [*(graph.path for graph in graphs.values()), bundle.face_model_path]
        used += [parts.refiner.path, parts.mlp_path] if parts is not None else []
        for path in used:
            if path not in hashed:
                raise HideNerfError(f"{folder}: the manifest has no hash of its file {path.name}; {EXPORT_AGAIN}.")
        # Reading them finds out now, rather than in the middle of a run, whether they are there.
        _ = (bundle.image_size, bundle.render_size, bundle.secc_size, bundle.precision, bundle.trained)
        _ = (bundle.face_model_name, bundle.preset, bundle.parity, bundle.failed_parity)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HideNerfError(f"{folder}: the manifest lacks or garbles {error}; {EXPORT_AGAIN}.") from None
    return bundle


def require_parity(bundle: Bundle) -> None:
    """Raise `HideNerfError` unless the bundle passed parity or its export waived it.

    Refused are a bundle that failed, and one that was never compared: an export whose gate could not run, or a
    comparison that was interrupted while its verdict was stored.
    """
    folder = bundle.folder
    if bundle.parity is ParityState.NEVER_COMPARED:
        raise HideNerfError(
            f"{folder}: this bundle was never compared with the model it was exported from; run hidenerf-parity "
            f"{folder}, or use it as it is with --allow-failed-parity."
        )
    if bundle.parity is ParityState.FAILED:
        report = f", see {folder / PARITY_REPORT}" if PARITY_REPORT in bundle.manifest["files"] else ""
        raise HideNerfError(
            f"{folder}: parity with the model it was exported from failed: {bundle.failed_parity}{report}; "
            f"{EXPORT_AGAIN}, or use it as it is with --allow-failed-parity."
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle folder, its schema checked but not its files."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise HideNerfError(f"{folder}: not a bundle, it has no {MANIFEST_NAME}; {EXPORT_AGAIN}.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HideNerfError(f"{path}: not readable as JSON ({error}); {EXPORT_AGAIN}.") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise HideNerfError(f"{path}: not a hidenerf bundle's manifest; {EXPORT_AGAIN}.")
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        age = "older" if isinstance(version, int) and version < SCHEMA_VERSION else "other"
        raise HideNerfError(
            f"{folder}: bundle of the {age} schema version {version}, this hidenerf reads "
            f"{SCHEMA_VERSION}; {EXPORT_AGAIN}."
        )
    return manifest


def _verify_files(folder: Path, files: dict[str, str]) -> None:
    for name, expected in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise HideNerfError(f"{folder}: the manifest names {name!r}, outside the bundle; {EXPORT_AGAIN}.")
        path = folder / name
        if not path.is_file():
            raise HideNerfError(f"{folder}: the bundle's file {name} is missing; {EXPORT_AGAIN}.")
        if sha256_of(path) != expected:
            raise HideNerfError(f"{folder}: the bundle's file {name} was changed after the export; {EXPORT_AGAIN}.")


def _graph(folder: Path, name: str, entry: dict[str, Any]) -> GraphSpec:
    def tensors(kind: str) -> dict[str, TensorSpec]:
        return {t["name"]: TensorSpec(t["name"], tuple(t["shape"]), np.dtype(t["dtype"])) for t in entry[kind]}

    return GraphSpec(name, folder / entry["file"], tensors("inputs"), tensors("outputs"))


def _kernel_parts(folder: Path, entry: dict[str, Any]) -> KernelParts:
    return KernelParts(_graph(folder, "refiner", entry["refiner"]), folder / entry["renderer_mlp"])
