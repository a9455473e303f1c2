"""The pass that attaches the bodies of custom ops: each becomes a model-local function of standard ONNX ops."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor, nn

from hidenerf.export.custom_ops import (
    DOMAIN,
    FP32_INPUTS,
    GRID_SAMPLE_3D,
    OUTPUTS,
    PLACE,
    PLUGIN_ATTRIBUTES,
    TRIPLANE_RENDER,
    input_names,
)
from hidenerf.export.onnx_export import OPSET, export_module
from hidenerf.model import rendering

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FunctionBodies:
    """The pass. It runs last, since a body has the shapes and types that its node has in the end."""

    name: str = "function bodies"

    def __call__(self, model: ir.Model) -> ir.Model:
        """Attach the bodies of the custom ops that `model` uses, in place of those that it has.

        Errors: a custom node without a known body, or whose inputs have no recorded shapes.
        """
        model.functions.clear()
        for node in model.graph:
            if node.domain == DOMAIN:
                body = _body(node)
                model.functions[body.identifier()] = body
        return model


def grid_sample_3d_body() -> ir.Function:
    """The body of GridSample3d: GridSample in the grid's type, then back to the volume's."""
    volume, grid = (ir.Value(name=name) for name in input_names(GRID_SAMPLE_3D, 2))
    typed = ir.node("CastLike", [volume, grid], outputs=[ir.Value(name="volume")])
    settings: dict[str, str | int] = {"mode": "linear", "padding_mode": "zeros", "align_corners": 0}
    sampled = ir.node("GridSample", [*typed.outputs, grid], settings, outputs=[ir.Value(name="sampled")])
    result = ir.node("CastLike", [*sampled.outputs, volume], outputs=[ir.Value(name=OUTPUTS[GRID_SAMPLE_3D][0])])
    graph = ir.Graph([volume, grid], result.outputs, nodes=[typed, sampled, result], opset_imports={"": OPSET})
    return _function(GRID_SAMPLE_3D, graph)


def triplane_render_body(shapes: Shapes, octaves: int, fp16: bool, placed: bool = False) -> ir.Function:
    """The body of TriplaneRender, exported from `rendering.triplane_render_placed`.

    shapes: of the node's inputs, in order. fp16: planes and weights are FP16; coordinates and compositing stay FP32.
    placed: whether the node has the output `place`.
    """
    return _triplane_render_body(shapes, octaves, fp16, placed).clone()


def _body(node: ir.Node) -> ir.Function:
    if node.op_type == GRID_SAMPLE_3D:
        return grid_sample_3d_body()
    if node.op_type != TRIPLANE_RENDER:
        raise ValueError(f"Node {node.name}: the op {node.op_type} of the domain {DOMAIN} has no body.")
    shapes = tuple(_shape(node, value) for value in node.inputs)
    last = node.inputs[-1]
    fp16 = last is not None and last.dtype == ir.DataType.FLOAT16
    placed = len(node.outputs) == len(OUTPUTS[TRIPLANE_RENDER])
    return triplane_render_body(shapes, node.attributes["octaves"].as_int(), fp16, placed)


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    if value is None or value.shape is None:
        raise ValueError(f"Node {node.name}: an input without a recorded shape; run ONNX shape inference on the graph.")
    return value.shape.numpy()


class _TriplaneRender(nn.Module):
    def __init__(self, octaves: int, outputs: int) -> None:
        super().__init__()
        self.octaves = octaves
        self.outputs = outputs

    def forward(self, deformation: Tensor, camera: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *planes, weight_1, bias_1, weight_2, bias_2 = rest
        mlp = weight_1, bias_1, weight_2, bias_2
        return rendering.triplane_render_placed(deformation, camera, planes, *mlp, self.octaves)[: self.outputs]


# The export takes seconds, and a search for a precision plan asks for the same body again and again.
@functools.cache
def _triplane_render_body(shapes: Shapes, octaves: int, fp16: bool, placed: bool) -> ir.Function:
    fixed = FP32_INPUTS[TRIPLANE_RENDER]
    inputs = {
        name: torch.zeros(shape, dtype=torch.float16 if fp16 and name not in fixed else torch.float32)
        for name, shape in zip(input_names(TRIPLANE_RENDER, len(shapes)), shapes, strict=True)
    }
    outputs = OUTPUTS[TRIPLANE_RENDER][: 3 if placed else 2]
    graph = export_module(_TriplaneRender(octaves, len(outputs)), inputs, outputs).graph
    _weights_to_constants(graph)
    return _function(TRIPLANE_RENDER, graph, ["octaves", PLACE] if placed else ["octaves"])


def _weights_to_constants(graph: ir.Graph) -> None:
    """Constant nodes in place of initializers, which a function cannot have."""
    nodes = []
    for value in graph.initializers.values():
        node = ir.node("Constant", [], {"value": value.const_value}, outputs=[ir.Value(name=value.name)])
        value.replace_all_uses_with(node.outputs[0])
        nodes.append(node)
    graph.initializers.clear()
    graph.insert_before(graph[0], nodes)


def _function(op: str, graph: ir.Graph, attributes: Sequence[str] = ()) -> ir.Function:
    """The function of an op; every inner value and node gets a prefix: TensorRT keys layer names over the network."""
    outer = {*graph.inputs, *graph.outputs}
    for index, node in enumerate(graph):
        node.name = f"{op}_{index}_{node.op_type}"
        for value in node.outputs:
            if value not in outer:
                value.name = f"{op}_{value.name}"
    # The types in a function follow from its node; PyTorch's notes on values do not belong in the file.
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        value.type = value.shape = None
        value.metadata_props.clear()
    without_default = [ir.Attr(name, ir.AttributeType.UNDEFINED, None) for name in (*PLUGIN_ATTRIBUTES, *attributes)]
    return ir.Function(DOMAIN, op, graph=graph, attributes=without_default)
