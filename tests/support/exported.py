"""The tiny models' graphs, exported once for all tests of this folder (an export takes seconds).

Graphs of the model with an aligned identity path go by their names with `ALIGNED` before them.
"""

import functools
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from hidenerf.export.custom_ops import TRANSLATIONS
from hidenerf.export.graph_modules import GraphModule, graph_modules, refiner_module
from hidenerf.export.onnx_export import export_module
from hidenerf.export.passes.base import Pass, apply_passes
from hidenerf.export.passes.fp16 import island_counts as counts_of
from hidenerf.export.precision import FloatPrecision, passes_for
from tests.support import made_once
from tests.support.tiny import aligned_model, tiny_inputs, tiny_model

NAMES = ("source_encoder", "led", "renderer_refiner")
ALIGNED = "aligned "
# Its graph `led` is that of the other model.
ALL_NAMES = (*NAMES, f"{ALIGNED}source_encoder", f"{ALIGNED}renderer_refiner")
PRECISIONS = ("fp32", "fp16")


@functools.cache
def tiny_graphs() -> dict[str, GraphModule]:
    return {graph.name: graph for graph in graph_modules(tiny_model())}


@functools.cache
def aligned_graphs() -> dict[str, GraphModule]:
    """Maps and picture, the finest scale with constants."""
    return {graph.name: graph for graph in graph_modules(aligned_model("maps and picture", 3))}


@functools.cache
def tiny_refiner() -> GraphModule:
    return refiner_module(tiny_graphs()["renderer_refiner"])


def graph_of(name: str) -> GraphModule:
    """A graph before its export. name: one of `ALL_NAMES`, or either model's `refiner`."""
    graphs = aligned_graphs() if name.startswith(ALIGNED) else tiny_graphs()
    name = name.removeprefix(ALIGNED)
    return refiner_module(graphs["renderer_refiner"]) if name == "refiner" else graphs[name]


def export_plain(graph: GraphModule) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        model = export_module(graph.module, graph.inputs, graph.outputs, TRANSLATIONS)
    return ir.to_proto(model).SerializeToString()


@functools.cache
def _plain(name: str) -> bytes:
    file = made_once.shared[0] / f"tiny-{name.replace(' ', '-')}.onnx"
    return made_once.make_once(file, lambda path: path.write_bytes(export_plain(graph_of(name)))).read_bytes()


def plain(name: str) -> ModelProto:
    """FP32, without the custom ops' bodies."""
    return onnx.load_model_from_string(_plain(name))


def plain_ir(name: str) -> ir.Model:
    """The same as passes take it."""
    return ir.from_proto(plain(name))


def passed(model: ModelProto, *passes: Pass) -> tuple[ModelProto, dict[str, int]]:
    """A copy of `model` after these passes, and how many of its nodes each rule kept in FP32."""
    result = apply_passes(ir.from_proto(model), passes)
    return ir.to_proto(result), counts_of(result)


@functools.cache
def _whole(name: str, precision: str) -> tuple[bytes, dict[str, int]]:
    model = apply_passes(plain_ir(name), passes_for(FloatPrecision(precision), name))
    return ir.to_proto(model).SerializeToString(), counts_of(model)


def whole(name: str, precision: str) -> ModelProto:
    """As the bundle holds it."""
    return onnx.load_model_from_string(_whole(name, precision)[0])


def island_counts(name: str) -> dict[str, int]:
    return _whole(name, "fp16")[1]


@functools.cache
def reference_values() -> dict[str, torch.Tensor]:
    """Random inputs of all graphs, and every output that PyTorch's graph modules make of them, by name."""
    values = tiny_inputs(seed=11)
    for graph in tiny_graphs().values():
        values |= graph.run(values)
    return values


@functools.cache
def aligned_values() -> dict[str, torch.Tensor]:
    """The same of the model with an aligned identity path."""
    values = tiny_inputs(seed=2)
    for graph in aligned_graphs().values():
        values |= graph.run(values)
    return values


def values_of(name: str) -> dict[str, torch.Tensor]:
    """`reference_values` or `aligned_values`, by the name of a graph."""
    return aligned_values() if name.startswith(ALIGNED) else reference_values()


def run_onnx(model: ModelProto, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """All outputs by ONNX Runtime, inputs converted to the types that the graph asks for."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {
        value.name: np.asarray(inputs[value.name]).astype(
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in model.graph.input
    }
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, feed), strict=True))


def value_types(model: ModelProto) -> dict[str, int]:
    """Type of every value after inlining all functions, by strict inference: it fails where types disagree."""
    inlined = onnx.inliner.inline_local_functions(model)
    del inlined.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(inlined, check_type=True, strict_mode=True, data_prop=True)
    graph = inferred.graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output, *graph.value_info]}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types


def is_real(kind: int) -> bool:
    return kind in (TensorProto.FLOAT, TensorProto.FLOAT16)
