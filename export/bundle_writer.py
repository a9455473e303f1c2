"""Bundle writer: exports a model's graphs and writes the bundle folder, which appears whole or not at all."""

import json
import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from hidenerf.export.convolutions import graph_digest
from hidenerf.export.custom_ops import ABSENT, TRANSLATIONS
from hidenerf.export.graph_modules import GraphModule, RendererRefiner, graph_modules, refiner_module
from hidenerf.export.led_parts import led_parts
from hidenerf.export.lowering.lower import lower_led, lower_refiner
from hidenerf.export.lowering.onnx_view import LoweringError
from hidenerf.export.onnx_export import export_module
from hidenerf.export.passes.base import apply_passes
from hidenerf.export.passes.fp16 import island_counts
from hidenerf.export.precision import FloatPrecision, Precision, passes_for
from hidenerf.export.precision_plan import PrecisionPlan
from hidenerf.export.versions import versions
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.bundle import LED_DECODER, LED_ENCODER
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, save_face_model
from hidenerf.runtime.files import atomic_folder, sha256_of
from hidenerf.runtime.manifest import (
    MANIFEST_NAME,
    FaceModelEntry,
    GraphEntry,
    KernelPartsEntry,
    LaunchPlanEntry,
    Manifest,
    ModelEntry,
    PlanEntry,
    PrecisionEntry,
    TensorSpec,
    Weights,
    read_manifest,
    write_manifest,
)
from hidenerf.runtime.tensorrt.engine_set import ENGINES_FOLDER

logger = logging.getLogger(__name__)

FACE_MODEL_FILE = "face_model.npz"
KERNEL_WEIGHTS_FILE = "kernel_weights.npz"
PLAN_FILE = "precision.json"
# Graphs that may have a launch plan: what a log calls them, and what lowers them.
PLANS = {"led": ("LED", lower_led), "refiner": ("The refiner", lower_refiner)}


def write_bundle(
    model: HideNerf,
    folder: Path,
    *,
    checkpoint: Weights,
    face_model: FaceModel,
    precision: Precision,
    parity_waived: bool = False,
) -> None:
    """Export the graphs of `model` and write the bundle `folder`, which appears whole or not at all.

    Engines of a bundle that is replaced stay, also those of changed graphs: the next build finds them out of date by
    their hashes.

    checkpoint: the manifest's entry on the weights, see `describe_checkpoint`. face_model: goes into the bundle.
    precision: FP32, FP16, or a precision plan, of which the bundle gets a copy. parity_waived: the user wants this
    bundle to run without a comparison with PyTorch; the manifest says so. Errors: a folder that holds something else,
    a plan made for other weights or graphs.
    """
    check_replaceable(folder)
    if isinstance(precision, PrecisionPlan):
        precision.require_checkpoint(checkpoint)
    with atomic_folder(folder) as partial:
        graphs: dict[str, GraphEntry] = {}
        plans: dict[str, LaunchPlanEntry | None] = {}
        islands: dict[str, dict[str, int]] = {}
        modules = graph_modules(model)
        for graph in (*modules, refiner_module(modules[-1])):
            start = time.perf_counter()
            exported, islands[graph.name] = export_graph(graph, precision)
            graphs[graph.name] = _save_graph(exported, partial / f"{graph.name}.onnx", start)
            if graph.name == "led":
                for name, part in zip((LED_ENCODER, LED_DECODER), led_parts(exported), strict=True):
                    graphs[name] = _save_graph(part, partial / f"{name}.onnx", time.perf_counter())
            if precision is FloatPrecision.FP16 and graph.name in PLANS:
                plans[graph.name] = _save_plan(graph.name, exported, partial)
        save_face_model(face_model, partial / FACE_MODEL_FILE)
        _save_kernel_weights(modules[-1], partial / KERNEL_WEIGHTS_FILE)
        if isinstance(precision, PrecisionPlan):
            (partial / PLAN_FILE).write_bytes(precision.text)
        refiner, led_encoder, led_decoder = (graphs.pop(name) for name in ("refiner", LED_ENCODER, LED_DECODER))
        manifest = Manifest(
            generator=versions(("torch", "onnx")),
            model=ModelEntry.from_json(model.config.to_dict()),
            checkpoint=checkpoint,
            precision=_precision_entry(precision, islands),
            graphs=graphs,
            kernel_parts=KernelPartsEntry(
                refiner, KERNEL_WEIGHTS_FILE, led_encoder, led_decoder, plans.get("refiner"), plans.get("led")
            ),
            face_model=FaceModelEntry(FACE_MODEL_FILE, face_model.name),
            files={path.name: sha256_of(path) for path in sorted(partial.iterdir())},
            parity_waived=parity_waived,
        )
        write_manifest(manifest, partial)
        _copy_engines(folder, partial)


def _save_graph(graph: onnx.ModelProto, path: Path, start: float) -> GraphEntry:
    """Write a graph and describe it. start: `time.perf_counter` when its making began, for the log."""
    onnx.save(graph, path)
    inputs, outputs = (tuple(map(_tensor, values)) for values in (graph.graph.input, graph.graph.output))
    logger.info("%s  %.1f MB  %.1f s", path.name, path.stat().st_size / 1e6, time.perf_counter() - start)
    return GraphEntry(path.name, inputs, outputs)


def _copy_engines(bundle: Path, partial: Path) -> None:
    """Copy the engines of an old bundle. Links stay links, since engines may lie on another disk."""
    engines = bundle / ENGINES_FOLDER
    for path in (engines, *([] if engines.is_symlink() else sorted(engines.rglob("*")))):
        kept = partial / path.relative_to(bundle)
        if path.is_symlink():
            kept.symlink_to(path.readlink())
        elif path.is_dir():
            kept.mkdir()
        elif path.exists():
            shutil.copy2(path, kept)


def check_replaceable(folder: Path) -> None:
    """Check that `folder` is new, empty, or a bundle that can be replaced.

    Errors: a file, the working folder, a folder of something else, a bundle with files that its manifest does not list
    (outside its folder of engines, which the new bundle takes over).
    """
    if folder.exists() and not folder.is_dir():
        raise HideNerfError(f"{folder}: this is a file; give the bundle a folder of its own with -o.")
    if folder.resolve() == Path.cwd():
        raise HideNerfError(f"{folder}: this is the working folder, which cannot be replaced; choose another with -o.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ours = {MANIFEST_NAME, *read_manifest(folder).files}
    except HideNerfError:
        raise HideNerfError(f"{folder}: this folder is not a bundle; choose another with -o.") from None
    for path in sorted(folder.rglob("*")):
        engine = folder / ENGINES_FOLDER in path.parents
        if path.is_file() and not engine and path.relative_to(folder).as_posix() not in ours:
            raise HideNerfError(
                f"{path}: this file is not part of the bundle around it and would be lost; move it, or choose another "
                "folder with -o."
            )


def export_graph(graph: GraphModule, precision: Precision) -> tuple[onnx.ModelProto, dict[str, int]]:
    """One graph as a checked ONNX model, and how many nodes each rule kept in FP32 (all 0 in FP32).

    Errors: a precision plan made for another graph, a weight beyond FP16's range.
    """
    with quiet_exporter():
        model = export_module(graph.module, graph.inputs, graph.outputs, TRANSLATIONS)
        if isinstance(precision, PrecisionPlan):
            precision.require_graph(graph.name, graph_digest(model.graph))
        apply_passes(model, passes_for(precision, graph.name))
    exported = ir.to_proto(model)
    onnx.checker.check_model(exported, full_check=True)
    return exported, island_counts(model)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence PyTorch's warnings about its own exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield


def _precision_entry(precision: Precision, islands: dict[str, dict[str, int]]) -> PrecisionEntry:
    if isinstance(precision, PrecisionPlan):
        int8 = {name: len(layers) for name, layers in precision.scales.items()}
        return PrecisionEntry("int8", islands, int8, PlanEntry(PLAN_FILE, precision.sha256))
    return PrecisionEntry(precision.value, {} if precision is FloatPrecision.FP32 else islands)


def describe_checkpoint(path: Path | None, seed: int | None) -> Weights:
    """The manifest's entry on the weights: of the checkpoint file at `path`, or untrained ones from `seed`."""
    return Weights(sha256=sha256_of(path), name=path.name) if path is not None else Weights(seed=seed)


def _save_kernel_weights(renderer_refiner: GraphModule, path: Path) -> None:
    module = renderer_refiner.module
    assert isinstance(module, RendererRefiner)
    layers = {1: module.renderer.first, 2: module.renderer.second}
    tensors = {f"weight_{number}": layer.weight for number, layer in layers.items()}
    tensors |= {f"bias_{number}": layer.bias for number, layer in layers.items()}
    if module.refine.refiner.aligned:
        tensors[ABSENT] = module.absent
    arrays: dict[str, Any] = {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def _save_plan(graph: str, exported: onnx.ModelProto, folder: Path) -> LaunchPlanEntry | None:
    """Write a graph's launch plan and its weights. Returns None, and says why, if it has none. graph: of `PLANS`."""
    called, lower = PLANS[graph]
    try:
        lowered = lower(exported)
    except LoweringError as reason:
        logger.warning("%s has no launch plan, so the CUDA backend runs it with ONNX Runtime: %s.", called, reason)
        return None
    entry = LaunchPlanEntry(f"{graph}_plan.json", f"{graph}_plan.npz")
    text = json.dumps(lowered.plan.to_json(), indent=1)
    (folder / entry.file).write_text(text + "\n", encoding="utf-8")
    with (folder / entry.weights).open("wb") as stream:
        np.savez(stream, **lowered.weights)  # type: ignore[arg-type]
    return entry


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
    return TensorSpec(value.name, shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
