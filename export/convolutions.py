"""Convolutions of an exported graph: their layer names, weights, sizes and FLOPs."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hidenerf.export.passes.fp16 import FP32_TENSORS

Float = NDArray[np.float32]

WEIGHT_SUFFIX = ".weight"
# The refiner sits one module deeper in the graph `renderer_refiner` than in the graph `refiner`.
OUTER_MODULE = "refine."


@dataclass(frozen=True)
class Convolution:
    """One 2-D Conv node with a constant weight.

    node: the node's name. layer: path of its PyTorch module, or the node's name where its weight was computed at
    export. data: name of the tensor that it reads. weight: [O, I, h, w]. input_shape, output_shape: [1, C, H, W].
    """

    node: str
    layer: str
    data: str
    weight: Float
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def flops(self) -> int:
        """FLOPs of one run, two for each multiply-add."""
        return 2 * math.prod(self.weight.shape[1:]) * math.prod(self.output_shape)


def convolutions(graph: ir.Graph) -> list[Convolution]:
    """The 2-D convolutions of an FP32 graph in the order of its nodes, each under a layer name of its own."""
    found: list[Convolution] = []
    taken: set[str] = set()
    for node in graph:
        weight = _constant_weight(node)
        if weight is None or weight.ndim != 4:
            continue
        layer = next(name for name in _layer_names(node) if name not in taken)
        taken.add(layer)
        data = _input(node, 0)
        found.append(
            Convolution(node.name or "", layer, data.name or "", weight, _shape(data), _shape(node.outputs[0]))
        )
    return found


def all_convolution_flops(graph: ir.Graph) -> int:
    """FLOPs of every Conv node, whatever its dimensions and wherever its weight comes from."""
    return sum(
        2 * math.prod(_shape(_input(node, 1))[1:]) * math.prod(_shape(node.outputs[0]))
        for node in graph
        if node.op_type == "Conv"
    )


def output_layers(graph: ir.Graph) -> set[str]:
    """Layers after which no other convolution comes on the way to an output of coordinates or pixels."""
    layers = {convolution.node: convolution.layer for convolution in convolutions(graph)}
    reached = {value for value in graph.outputs if value.name in FP32_TENSORS}
    found = set()
    for node in reversed(graph):
        if reached.isdisjoint(node.outputs):
            continue
        if node.op_type != "Conv":
            reached.update(value for value in node.inputs if value is not None)
        elif node.name in layers:
            found.add(layers[node.name])
    return found


def graph_digest(graph: ir.Graph) -> str:
    """SHA-256 of an FP32 graph, weights included, without the bodies of custom ops."""
    return hashlib.sha256(ir.to_proto(graph).SerializeToString(deterministic=True)).hexdigest()


def _constant_weight(node: ir.Node) -> Float | None:
    if node.op_type != "Conv":
        return None
    value = _input(node, 1)
    if not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy().astype(np.float32)


def _layer_names(node: ir.Node) -> Iterator[str]:
    weight = _input(node, 1).name or ""
    path = weight.removesuffix(WEIGHT_SUFFIX).removeprefix(OUTER_MODULE)
    name = path if weight.endswith(WEIGHT_SUFFIX) else node.name or ""
    yield name
    count = 2
    while True:
        yield f"{name}@{count}"
        count += 1


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"Node {node.name} has no input {index}.")
    return value


def _shape(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None:
        raise ValueError(f"Tensor {value.name} has no recorded shape; run ONNX shape inference on the graph first.")
    return value.shape.numpy()
