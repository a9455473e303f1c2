"""Model → bundle folder, written atomically."""

import importlib.metadata
import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from hidenerf.export.graph_modules import GraphModule, graph_modules, refiner_module
from hidenerf.export.onnx_export import export_module
from hidenerf.export.passes.convolutions import graph_digest
from hidenerf.export.passes.custom_ops import TRANSLATIONS, attach_functions
from hidenerf.export.passes.half_precision import to_half
from hidenerf.export.passes.planned_precision import to_planned
from hidenerf.export.precision_plan import PLANNED_GRAPH, PrecisionPlan
from hidenerf.model.hidenerf import HideNerf
from hidenerf.model.rendering import Renderer
from hidenerf.runtime.bundle import MANIFEST_NAME, SCHEMA, SCHEMA_VERSION, read_manifest
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, save_face_model
from hidenerf.runtime.files import atomic_folder, sha256_of
from hidenerf.runtime.tensorrt.engine_set import ENGINES_FOLDER

FACE_MODEL_FILE = "face_model.npz"
MLP_FILE = "renderer_mlp.npz"
PLAN_FILE = "precision.json"


def write_bundle(
    model: HideNerf,
    folder: Path,
    *,
    checkpoint: dict[str, Any],
    face_model: FaceModel,
    half: bool,
    report: Callable[[str], None],
    plan: PrecisionPlan | None = None,
    parity_waived: bool = False,
) -> None:
    """Export the graphs of `model` and write the bundle `folder`, which appears whole or not at all.

    Engines in the bundle that it replaces stay, those of changed graphs too: the next build tells them by their hashes.
    checkpoint: what the manifest says of the weights, `{"sha256": …}` or `{"random_init": seed}`. half: FP16.
    report is called with one line after each graph. plan: precision of every layer, in place of `half`; the bundle
    takes a copy of its file. parity_waived: the user wants this bundle to run without a comparison with PyTorch; the
    manifest says so. Errors: a plan made for other weights or graphs.
    """
    check_replaceable(folder)
    if plan is not None:
        plan.require_checkpoint(checkpoint)
    with atomic_folder(folder) as partial:
        graphs: dict[str, Any] = {}
        islands: dict[str, dict[str, int]] = {}
        modules = graph_modules(model)
        for graph in (*modules, refiner_module(modules[-1])):
            start = time.perf_counter()
            if plan is None:
                exported, islands[graph.name] = export_graph(graph, half)
            else:
                exported, islands[graph.name] = export_planned_graph(graph, plan)
            path = partial / f"{graph.name}.onnx"
            onnx.save(exported, path)
            graphs[graph.name] = {
                "file": path.name,
                "inputs": [_tensor(value) for value in exported.graph.input],
                "outputs": [_tensor(value) for value in exported.graph.output],
            }
            report(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB  {time.perf_counter() - start:.1f} s")
        save_face_model(face_model, partial / FACE_MODEL_FILE)
        _save_mlp(model.renderer, partial / MLP_FILE)
        if plan is not None:
            (partial / PLAN_FILE).write_bytes(plan.text)
        refiner = graphs.pop("refiner")
        manifest = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "generator": {name: importlib.metadata.version(name) for name in ("hidenerf", "torch", "onnx")},
            "model": model.config.to_dict(),
            "checkpoint": checkpoint,
            "precision": _precision(half, plan, islands),
            "graphs": graphs,
            "kernel_parts": {"refiner": refiner, "renderer_mlp": MLP_FILE},
            "face_model": {"file": FACE_MODEL_FILE, "name": face_model.name},
            "files": {path.name: sha256_of(path) for path in sorted(partial.iterdir())},
            "parity": {"waived": True} if parity_waived else None,
        }
        (partial / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _copy_engines(folder, partial)


def _copy_engines(bundle: Path, partial: Path) -> None:
    """Links stay links, since sets of engines may lie on another disk."""
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
    """Refuse to overwrite what is not a bundle: only a new or empty folder, or another bundle, gives way.

    A file inside a bundle that its manifest does not name is someone's own, and keeps the bundle from giving way; the
    folder of engines does not, since it goes over into the new bundle as it is.
    """
    if folder.exists() and not folder.is_dir():
        raise HideNerfError(f"{folder}: this is a file; give the bundle a folder of its own with -o.")
    if folder.resolve() == Path.cwd():
        raise HideNerfError(f"{folder}: this is the working folder, which cannot be replaced; choose another with -o.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ours = {MANIFEST_NAME, *read_manifest(folder).get("files", ())}
    except HideNerfError:
        raise HideNerfError(
            f"{folder}: this folder holds something else than a bundle; choose another with -o."
        ) from None
    for path in sorted(folder.rglob("*")):
        engine = folder / ENGINES_FOLDER in path.parents
        if path.is_file() and not engine and path.relative_to(folder).as_posix() not in ours:
            raise HideNerfError(
                f"{path}: this file is not part of the bundle around it and would be lost; move it, or choose another "
                "folder with -o."
            )


def export_graph(graph: GraphModule, half: bool) -> tuple[onnx.ModelProto, dict[str, int]]:
    """One graph as a checked ONNX model, and how many nodes each island rule kept in FP32 (none for FP32)."""
    with quiet_exporter():
        exported = export_module(graph.module, graph.inputs, graph.outputs, TRANSLATIONS)
        islands = to_half(exported) if half else {}
        attach_functions(exported)
    onnx.checker.check_model(exported, full_check=True)
    return exported, islands


def export_planned_graph(graph: GraphModule, plan: PrecisionPlan) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The same in the precision of a plan. Errors: the plan was made for another graph."""
    planned = PLANNED_GRAPH.get(graph.name, graph.name)
    with quiet_exporter():
        exported = export_module(graph.module, graph.inputs, graph.outputs, TRANSLATIONS)
        plan.require_graph(graph.name, graph_digest(exported.graph))
        islands = to_planned(exported, plan.scales.get(planned, {}), plan.islands.get(graph.name, frozenset()))
    onnx.checker.check_model(exported, full_check=True)
    return exported, islands


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without PyTorch's warnings on its own exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield


def _precision(half: bool, plan: PrecisionPlan | None, islands: dict[str, dict[str, int]]) -> dict[str, Any]:
    if plan is None:
        return {"name": "fp16" if half else "fp32", "fp32_islands": islands if half else {}}
    int8 = {name: len(layers) for name, layers in plan.scales.items()}
    entry = {"file": PLAN_FILE, "sha256": plan.sha256}
    return {"name": "int8", "fp32_islands": islands, "int8_layers": int8, "plan": entry}


def describe_checkpoint(path: Path | None, seed: int | None) -> dict[str, Any]:
    """The manifest's entry on the weights."""
    return {"sha256": sha256_of(path), "name": path.name} if path is not None else {"random_init": seed}


def _save_mlp(renderer: Renderer, path: Path) -> None:
    layers = {1: renderer.first, 2: renderer.second}
    tensors = {f"weight_{number}": layer.weight for number, layer in layers.items()}
    tensors |= {f"bias_{number}": layer.bias for number, layer in layers.items()}
    arrays: dict[str, Any] = {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    return {
        "name": value.name,
        "shape": [dimension.dim_value for dimension in kind.shape.dim],
        "dtype": helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
    }
