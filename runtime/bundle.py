"""The bundle: a folder with a manifest, ONNX graphs, the face model, and parity's report (DESIGN §5)."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import EXPORT_AGAIN, GraphEntry, LaunchPlanEntry, Manifest, TensorSpec, read_manifest

GRAPH_NAMES = ("source_encoder", "led", "renderer_refiner")
# Before the name of a map of the source, as an input of the refiner alone: it lies in the frame's coordinates.
IN_FRAME = "in_frame_"
# How the names of SPADE's maps, outputs of the source encoder, begin.
MAPS = ("gamma_", "beta_")
# What LED's graph reads of the source, an output of the source encoder.
LED_CANONICAL = "led_canonical"
# Input of a frame of models with alignment.
FACE_SIGHT = "face_sight"
# The parts of LED before and after its RaySamples, and the tensors that pass between them and our kernel.
LED_ENCODER, LED_DECODER = "led_encoder", "led_decoder"
EMBEDDING, LOOKUP_FEATURES, POINTS, LOOKED_UP = "embedding", "lookup_features", "points", "looked_up"
PARITY_REPORT = "parity/report.html"


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its ONNX file, and its tensors by name."""

    name: str
    path: Path
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class LaunchPlanFiles:
    """Files of a launch plan (`launch_plan.py`) and of its weights."""

    path: Path
    weights_path: Path


@dataclass(frozen=True)
class KernelParts:
    """What replaces `led` and `renderer_refiner` where our kernels run between the parts.

    refiner: the refiner's graph. weights_path: the kernels' weights. led_encoder, led_decoder: LED's graph before and
    after its RaySamples; None in bundles of older exports. refiner_plan, led_plan: the refiner's graph, and the whole
    of LED's, as launch plans; None where the bundle has none.
    """

    refiner: GraphSpec
    weights_path: Path
    led_encoder: GraphSpec | None = None
    led_decoder: GraphSpec | None = None
    refiner_plan: LaunchPlanFiles | None = None
    led_plan: LaunchPlanFiles | None = None

    @property
    def files(self) -> list[Path]:
        """All files of the parts."""
        graphs = [self.refiner, self.led_encoder, self.led_decoder]
        plans = [plan for plan in (self.refiner_plan, self.led_plan) if plan is not None]
        of_plans = [path for plan in plans for path in (plan.path, plan.weights_path)]
        return [self.weights_path, *(graph.path for graph in graphs if graph is not None), *of_plans]


class ParityState(enum.Enum):
    """What a manifest says of the comparison with the PyTorch model."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    NEVER_COMPARED = "never compared"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    graphs: by name, `GRAPH_NAMES`.
    kernel_parts: None in bundles of older exports.
    """

    folder: Path
    manifest: Manifest
    graphs: dict[str, GraphSpec]
    kernel_parts: KernelParts | None

    @property
    def image_size(self) -> int:
        """S, the side of source and output pictures, pixels."""
        return self.manifest.model.image_size

    @property
    def render_size(self) -> int:
        """R, the side of the rendered feature map, pixels."""
        return self.manifest.model.render_size

    @property
    def secc_size(self) -> int:
        """Q, the side of SECCs, pixels."""
        return self.manifest.model.secc_size

    @property
    def preset(self) -> str:
        """The name of the model's config."""
        return self.manifest.model.name

    @property
    def precision(self) -> str:
        """The graphs' precision: "fp32", "fp16" or "int8"."""
        return self.manifest.precision.name

    @property
    def trained(self) -> bool:
        """Whether the weights come from a checkpoint rather than from a seed."""
        return self.manifest.checkpoint.trained

    @property
    def parity(self) -> ParityState:
        """What is known of the bundle's agreement with the PyTorch model."""
        if self.manifest.parity_waived:
            return ParityState.WAIVED
        verdict = self.manifest.parity
        if verdict is None:
            return ParityState.NEVER_COMPARED
        return ParityState.PASSED if verdict.passed else ParityState.FAILED

    @property
    def failed_parity(self) -> str | None:
        """What parity found outside its thresholds, in words; None unless the state is `FAILED`."""
        verdict = self.manifest.parity
        return verdict.failed if verdict is not None else None

    @property
    def takes_face_sight(self) -> bool:
        """Whether frames take a face sight (`hidenerf.runtime.face_sight`), as those of models with alignment do."""
        return FACE_SIGHT in self.graphs["renderer_refiner"].inputs

    @property
    def face_model_path(self) -> Path:
        """The face model's file."""
        return self.folder / self.manifest.face_model.file


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and verify every file's hash.

    Errors: no such folder, those of `read_manifest`, a missing, changed or foreign file; each says which and what to
    run.
    """
    if not folder.is_dir():
        raise HideNerfError(f"{folder}: no such bundle folder; make one with hidenerf-export -o {folder}.")
    manifest = read_manifest(folder)
    _verify_files(folder, manifest.files)
    missing = [name for name in GRAPH_NAMES if name not in manifest.graphs]
    if missing:
        raise HideNerfError(f"{folder}: the manifest lacks the graph {missing[0]}; {EXPORT_AGAIN}.")
    graphs = {name: _graph(folder, name, manifest.graphs[name]) for name in GRAPH_NAMES}
    parts = None
    if manifest.kernel_parts is not None:
        entry = manifest.kernel_parts
        encoder, decoder = entry.led_encoder, entry.led_decoder
        parts = KernelParts(
            refiner=_graph(folder, "refiner", entry.refiner),
            weights_path=folder / entry.weights,
            led_encoder=None if encoder is None else _graph(folder, LED_ENCODER, encoder),
            led_decoder=None if decoder is None else _graph(folder, LED_DECODER, decoder),
            refiner_plan=_plan(folder, entry.refiner_plan),
            led_plan=_plan(folder, entry.led_plan),
        )
    bundle = Bundle(folder, manifest, graphs, parts)
    hashed = {folder / name for name in manifest.files}
    used = [*(graph.path for graph in graphs.values()), bundle.face_model_path]
    used += parts.files if parts is not None else []
    for path in used:
        if path not in hashed:
            raise HideNerfError(f"{folder}: the manifest has no hash of its file {shown(path.name)}; {EXPORT_AGAIN}.")
    # Exports have had LED's parts since face sights have had values below 0, which older graphs would take for others.
    if bundle.takes_face_sight and (parts is None or parts.led_encoder is None):
        raise HideNerfError(
            f"{folder}: this bundle is older than face sights that say what is inside a mouth; {EXPORT_AGAIN}."
        )
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
        report = f", see {folder / PARITY_REPORT}" if PARITY_REPORT in bundle.manifest.files else ""
        raise HideNerfError(
            f"{folder}: parity with the model it was exported from failed: {bundle.failed_parity}{report}; "
            f"{EXPORT_AGAIN}, or use it as it is with --allow-failed-parity."
        )


def _verify_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise HideNerfError(
                f"{folder}: the manifest names {shown(repr(name))}, outside the bundle; {EXPORT_AGAIN}."
            )
        path = folder / name
        if not path.is_file():
            raise HideNerfError(f"{folder}: the bundle's file {shown(name)} is missing; {EXPORT_AGAIN}.")
        if sha256_of(path) != expected:
            raise HideNerfError(
                f"{folder}: the bundle's file {shown(name)} was changed after the export; {EXPORT_AGAIN}."
            )


def _graph(folder: Path, name: str, entry: GraphEntry) -> GraphSpec:
    inputs, outputs = ({tensor.name: tensor for tensor in tensors} for tensors in (entry.inputs, entry.outputs))
    return GraphSpec(name, folder / entry.file, inputs, outputs)


def _plan(folder: Path, entry: LaunchPlanEntry | None) -> LaunchPlanFiles | None:
    return None if entry is None else LaunchPlanFiles(folder / entry.file, folder / entry.weights)
