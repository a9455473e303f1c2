"""The tiny model's graphs, exported once for all tests of this folder (an export takes seconds)."""

import functools
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from hidenerf.export.graph_modules import GraphModule, graph_modules, refiner_module
from hidenerf.export.onnx_export import export_module
from hidenerf.export.passes.custom_ops import TRANSLATIONS, attach_functions
from hidenerf.export.passes.half_precision import to_half
from tests.support.tiny import tiny_inputs, tiny_model

NAMES = ("source_encoder", "led", "renderer_refiner")
PRECISIONS = ("fp32", "fp16")


@functools.cache
def tiny_graphs() -> dict[str, GraphModule]:
    return {graph.name: graph for graph in graph_modules(tiny_model())}


@functools.cache
def tiny_refiner() -> GraphModule:
    return refiner_module(tiny_graphs()["renderer_refiner"])


def export_plain(graph: GraphModule) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        return export_module(graph.module, graph.inputs, graph.outputs, TRANSLATIONS).SerializeToString()


@functools.cache
def _plain(name: str) -> bytes:
    return export_plain(tiny_refiner() if name == "refiner" else tiny_graphs()[name])


def plain(name: str) -> ModelProto:
    """FP32, without the custom ops' bodies."""
    return onnx.load_model_from_string(_plain(name))


@functools.cache
def _whole(name: str, precision: str) -> tuple[bytes, dict[str, int]]:
    model = plain(name)
    counts = to_half(model) if precision == "fp16" else {}
    attach_functions(model)
    return model.SerializeToString(), counts


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
