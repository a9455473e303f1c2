"""The pass that attaches the bodies of custom ops: each becomes a model-local function of standard ONNX ops."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor, nn

from hidenerf.export.custom_ops import (
    ALIGN_SOURCE,
    DOMAIN,
    ENLARGED,
    FP32_INPUTS,
    GRID_SAMPLE_3D,
    MAPS,
    PICTURE,
    PLACE,
    PLUGIN_ATTRIBUTES,
    RAY_SAMPLES,
    SAMPLES,
    STRIDE,
    TRIPLANE_RENDER,
    input_names,
    is_set,
    output_names,
)
from hidenerf.export.onnx_export import OPSET, export_module
from hidenerf.model import deformation, refinement, rendering
from hidenerf.model.alignment import SourceView

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
    result = ir.node("CastLike", [*sampled.outputs, volume], outputs=[ir.Value(name="sampled")])
    graph = ir.Graph([volume, grid], result.outputs, nodes=[typed, sampled, result], opset_imports={"": OPSET})
    return _function(GRID_SAMPLE_3D, graph)


def ray_samples_body(shapes: Shapes, samples: int, stride: int, fp16: bool) -> ir.Function:
    """The body of RaySamples, exported from `deformation.ray_samples`.

    shapes: of the node's inputs, in order. samples, stride: its attributes. fp16: features are FP16, and so are both
    outputs; all is computed in FP32.
    """
    return _ray_samples_body(shapes, samples, stride, fp16).clone()


def triplane_render_body(shapes: Shapes, octaves: int, fp16: bool, placed: bool = False) -> ir.Function:
    """The body of TriplaneRender, exported from `rendering.triplane_render_placed`.

    shapes: of the node's inputs, in order. fp16: planes and weights are FP16; coordinates and compositing stay FP32.
    placed: whether the node has the output `place`.
    """
    return _triplane_render_body(shapes, octaves, fp16, placed).clone()


def align_source_body(shapes: Shapes, picture: bool, enlarged: bool, fp16: bool) -> ir.Function:
    """The body of AlignSource, exported from `refinement.align_source`.

    shapes: of the node's inputs, in order. picture: whether the source picture is among them. enlarged: whether the
    model has an enlarger. fp16: maps are FP16, and so is what convolutions read; they are computed in FP32.
    """
    return _align_source_body(shapes, picture, enlarged, fp16).clone()


def _body(node: ir.Node) -> ir.Function:
    if node.op_type == GRID_SAMPLE_3D:
        return grid_sample_3d_body()
    if node.op_type not in (RAY_SAMPLES, TRIPLANE_RENDER, ALIGN_SOURCE):
        raise ValueError(f"Node {node.name}: the op {node.op_type} of the domain {DOMAIN} has no body.")
    shapes = tuple(_shape(node, value) for value in node.inputs)
    last = node.inputs[-1]
    fp16 = last is not None and last.dtype == ir.DataType.FLOAT16
    if node.op_type == RAY_SAMPLES:
        samples, stride = (node.attributes[name].as_int() for name in (SAMPLES, STRIDE))
        return ray_samples_body(shapes, samples, stride, fp16)
    if node.op_type == ALIGN_SOURCE:
        return align_source_body(shapes, is_set(node, PICTURE), is_set(node, ENLARGED), fp16)
    return triplane_render_body(shapes, node.attributes["octaves"].as_int(), fp16, placed=PLACE in node.attributes)


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    if value is None or value.shape is None:
        raise ValueError(f"Node {node.name}: an input without a recorded shape; run ONNX shape inference on the graph.")
    return value.shape.numpy()


class _RaySamples(nn.Module):
    def __init__(self, samples: int, stride: int) -> None:
        super().__init__()
        self.samples = samples
        self.stride = stride

    def forward(self, camera: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return deformation.ray_samples(camera, features, self.samples, self.stride)


class _TriplaneRender(nn.Module):
    def __init__(self, octaves: int, outputs: int) -> None:
        super().__init__()
        self.octaves = octaves
        self.outputs = outputs

    def forward(self, deformation: Tensor, camera: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *planes, weight_1, bias_1, weight_2, bias_2 = rest
        mlp = weight_1, bias_1, weight_2, bias_2
        return rendering.triplane_render_placed(deformation, camera, planes, *mlp, self.octaves)[: self.outputs]


class _AlignSource(nn.Module):
    def __init__(self, pictures: int, enlarged: bool) -> None:
        super().__init__()
        self.pictures = pictures
        self.enlarged = enlarged

    def forward(
        self,
        place: Tensor,
        alpha: Tensor,
        rendered: Tensor,
        projection: Tensor,
        surface: Tensor,
        face_sight: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        pictures, (absent, *maps) = rest[: self.pictures], rest[self.pictures :]
        view = SourceView(projection, surface)
        inputs, in_frame = refinement.align_source(
            place, alpha, rendered, view, face_sight, pictures, absent, maps, self.enlarged
        )
        return (*(one for one in inputs if one is not None), *in_frame)


# The export takes seconds, and a search for a precision plan asks for the same body again and again.
@functools.cache
def _ray_samples_body(shapes: Shapes, samples: int, stride: int, fp16: bool) -> ir.Function:
    inputs = _examples(RAY_SAMPLES, input_names(RAY_SAMPLES, len(shapes)), shapes, fp16)
    outputs = output_names(RAY_SAMPLES, 2)
    return _exported(RAY_SAMPLES, _RaySamples(samples, stride), inputs, outputs, [SAMPLES, STRIDE])


@functools.cache
def _triplane_render_body(shapes: Shapes, octaves: int, fp16: bool, placed: bool) -> ir.Function:
    outputs = output_names(TRIPLANE_RENDER, 3 if placed else 2)
    inputs = _examples(TRIPLANE_RENDER, input_names(TRIPLANE_RENDER, len(shapes)), shapes, fp16)
    attributes = ["octaves", PLACE] if placed else ["octaves"]
    return _exported(TRIPLANE_RENDER, _TriplaneRender(octaves, len(outputs)), inputs, outputs, attributes)


@functools.cache
def _align_source_body(shapes: Shapes, picture: bool, enlarged: bool, fp16: bool) -> ir.Function:
    names = input_names(ALIGN_SOURCE, len(shapes), picture=picture)
    maps, pictures = sum(name not in FP32_INPUTS[ALIGN_SOURCE] for name in names), 2 if picture else 0
    made = 1 + (3 if picture else 0) + (1 if enlarged else 0)
    outputs = output_names(ALIGN_SOURCE, made + maps, picture=picture, enlarged=enlarged)
    inputs = _examples(ALIGN_SOURCE, names, shapes, fp16)
    attributes = [MAPS, *([PICTURE] if picture else []), *([ENLARGED] if enlarged else [])]
    return _exported(ALIGN_SOURCE, _AlignSource(pictures, enlarged), inputs, outputs, attributes)


def _examples(op: str, names: Sequence[str], shapes: Shapes, fp16: bool) -> dict[str, Tensor]:
    """Inputs for an export, by name."""
    halves = set(names) - set(FP32_INPUTS[op]) if fp16 else set()
    types = [torch.float16 if name in halves else torch.float32 for name in names]
    return {name: torch.zeros(shape, dtype=dtype) for name, shape, dtype in zip(names, shapes, types, strict=True)}


def _exported(
    op: str, module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], attributes: Sequence[str]
) -> ir.Function:
    graph = export_module(module, inputs, outputs).graph
    _weights_to_constants(graph)
    return _function(op, graph, attributes)


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
