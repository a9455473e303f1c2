"""The convolutions of an exported graph: their names for people, weights, sizes and FLOPs."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from hidenerf.export.passes.half_precision import FP32_TENSORS

Float = NDArray[np.float32]

WEIGHT_SUFFIX = ".weight"
# The refiner sits one module deeper in the graph `renderer_refiner` than in the graph `refiner`.
OUTER_MODULE = "refine."


@dataclass(frozen=True)
class Convolution:
    """One 2-D Conv node with a constant weight.

    layer: path of its PyTorch module, or the node's name where its weight was computed at export. data: name of the
    tensor that it reads. weight: [O, I, h, w]. input_shape, output_shape: [1, C, H, W].
    """

    node: str
    layer: str
    data: str
    weight: Float
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def flops(self) -> int:
        """Two for each multiply-add."""
        return 2 * math.prod(self.weight.shape[1:]) * math.prod(self.output_shape)


def convolutions(graph: onnx.GraphProto) -> list[Convolution]:
    """The 2-D convolutions of an FP32 graph in its order, each under a layer name of its own."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {v.name: _shape(v) for v in [*graph.input, *graph.output, *graph.value_info]}
    found: list[Convolution] = []
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights:
            continue
        weight = numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
        if weight.ndim != 4:
            continue
        layer = next(name for name in _layer_names(node) if name not in taken)
        taken.add(layer)
        data = node.input[0]
        found.append(Convolution(node.name, layer, data, weight, shapes[data], shapes[node.output[0]]))
    return found


def all_convolution_flops(graph: onnx.GraphProto) -> int:
    """FLOPs of every Conv node, whatever its dimensions."""
    shapes = {v.name: _shape(v) for v in [*graph.input, *graph.output, *graph.value_info]}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return sum(
        2 * math.prod(shapes[node.input[1]][1:]) * math.prod(shapes[node.output[0]])
        for node in graph.node
        if node.op_type == "Conv"
    )


def output_layers(graph: onnx.GraphProto) -> set[str]:
    """Layers after which no other convolution comes on the way to an output of coordinates or pixels."""
    layers = {convolution.node: convolution.layer for convolution in convolutions(graph)}
    wanted = {value.name for value in graph.output if value.name in FP32_TENSORS}
    found = set()
    for node in reversed(graph.node):
        if not wanted.intersection(node.output):
            continue
        if node.op_type != "Conv":
            wanted.update(node.input)
        elif node.name in layers:
            found.add(layers[node.name])
    return found


def graph_digest(graph: onnx.GraphProto) -> str:
    """SHA-256 of an FP32 graph, weights included, without the custom ops' bodies."""
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


def _layer_names(node: onnx.NodeProto) -> Iterator[str]:
    weight = node.input[1]
    path = weight.removesuffix(WEIGHT_SUFFIX).removeprefix(OUTER_MODULE)
    name = path if weight.endswith(WEIGHT_SUFFIX) else node.name
    yield name
    count = 2
    while True:
        yield f"{name}@{count}"
        count += 1


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
