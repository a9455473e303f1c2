"""The two custom ops `hidenerf::GridSample3d` and `hidenerf::TriplaneRender`: PyTorch, ONNX node, ONNX function body.

Each is one ONNX node in domain `hidenerf`, version 1, that carries a model-local function of standard ops (DESIGN
§4), so one file serves ONNX Runtime (which inlines the body), TensorRT with our plugin, and TensorRT-RTX.
Coordinates (grid, deformation, camera) are FP32 by the ops' own signature, whatever the data are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnxscript
import torch
from onnx import FunctionProto, NodeProto, TensorProto, helper
from torch import Tensor, nn

from hidenerf.export.engines.plugin import NAMESPACE
from hidenerf.export.onnx_export import OPSET, export_module
from hidenerf.model import geometry, rendering

# The nodes' domain is also where TensorRT looks for their plugins.
DOMAIN = NAMESPACE
OP_VERSION = 1
# TensorRT takes a plugin only for a node that names the plugin's namespace; otherwise it imports the function body.
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(OP_VERSION)}

# Inputs that stay FP32 in an FP16 graph; every other floating-point input may be FP16.
FP32_INPUTS = {"GridSample3d": ("grid",), "TriplaneRender": ("deformation", "camera")}
# Outputs that are FP32 in an FP16 graph; every other floating-point output has the data's type.
FP32_OUTPUTS: dict[str, tuple[str, ...]] = {"GridSample3d": (), "TriplaneRender": ("rendered", "alpha")}


@torch.library.custom_op("hidenerf::grid_sample_3d", mutates_args=())
def grid_sample_3d(volume: Tensor, grid: Tensor) -> Tensor:
    """`geometry.grid_sample_3d` as one op: volume [B, C, D, H, W], grid [B, d, h, w, 3] → [B, C, d, h, w]."""
    return geometry.grid_sample_3d(volume, grid)


@grid_sample_3d.register_fake
def _(volume: Tensor, grid: Tensor) -> Tensor:
    return volume.new_empty(*volume.shape[:2], *grid.shape[1:4])


@torch.library.custom_op("hidenerf::triplane_render", mutates_args=())
def triplane_render(
    deformation: Tensor,
    camera: Tensor,
    planes: Sequence[Tensor],
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    octaves: int,
) -> tuple[Tensor, Tensor]:
    """`rendering.triplane_render` as one op → rendered [B, K, R, R], alpha [B, 1, R, R]."""
    return rendering.triplane_render(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves)


@triplane_render.register_fake
def _(
    deformation: Tensor,
    camera: Tensor,  # noqa: ARG001
    planes: Sequence[Tensor],  # noqa: ARG001
    weight_1: Tensor,  # noqa: ARG001
    bias_1: Tensor,  # noqa: ARG001
    weight_2: Tensor,
    bias_2: Tensor,  # noqa: ARG001
    octaves: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    batch, _, *size = deformation.shape
    return deformation.new_empty(batch, len(weight_2) - 1, *size), deformation.new_empty(batch, 1, *size)


def triplane_render_inputs(levels: int) -> list[str]:
    """Input names of the ONNX node, in order."""
    planes = [f"planes_{level}" for level in range(levels)]
    return ["deformation", "camera", *planes, "weight_1", "bias_1", "weight_2", "bias_2"]


def _schema(
    name: str, inputs: Sequence[str], outputs: Sequence[str], integers: Sequence[str] = ()
) -> onnx.defs.OpSchema:
    data, real = "T", ["tensor(float)", "tensor(float16)"]
    single = set(FP32_INPUTS[name]) | set(FP32_OUTPUTS[name])
    parameter = onnx.defs.OpSchema.FormalParameter
    attributes = [
        onnx.defs.OpSchema.Attribute(key, helper.make_attribute(key, value)) for key, value in PLUGIN_ATTRIBUTES.items()
    ]
    attributes += [onnx.defs.OpSchema.Attribute(key, onnx.defs.OpSchema.AttrType.INT) for key in integers]
    return onnx.defs.OpSchema(
        name,
        DOMAIN,
        OP_VERSION,
        inputs=[parameter(x, "tensor(float)" if x in single else data) for x in inputs],
        outputs=[parameter(x, "tensor(float)" if x in single else data) for x in outputs],
        type_constraints=[(data, real, "features and weights")],
        attributes=attributes,
    )


_OPSET = onnxscript.values.Opset(DOMAIN, OP_VERSION)
_GRID_SAMPLE_3D = onnxscript.values.Op(_OPSET, "GridSample3d", _schema("GridSample3d", ["volume", "grid"], ["sampled"]))


def _grid_sample_3d_node(volume, grid):  # type: ignore[no-untyped-def]  # onnxscript's symbolic values
    return _GRID_SAMPLE_3D(volume, grid, **PLUGIN_ATTRIBUTES)


def _triplane_render_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    schema = _schema("TriplaneRender", triplane_render_inputs(len(planes)), ["rendered", "alpha"], ["octaves"])
    node = onnxscript.values.Op(_OPSET, "TriplaneRender", schema)
    mlp = weight_1, bias_1, weight_2, bias_2
    return node(deformation, camera, *planes, *mlp, octaves=octaves, **PLUGIN_ATTRIBUTES)


TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.hidenerf.grid_sample_3d.default: _grid_sample_3d_node,
    torch.ops.hidenerf.triplane_render.default: _triplane_render_node,
}


def grid_sample_3d_function() -> FunctionProto:
    """The body of GridSample3d: GridSample in the grid's type, then back to the volume's."""
    names = {"volume": "grid_sample_3d_volume", "out": "grid_sample_3d_sampled"}
    nodes = [
        helper.make_node("CastLike", ["volume", "grid"], [names["volume"]]),
        helper.make_node(
            "GridSample",
            [names["volume"], "grid"],
            [names["out"]],
            mode="linear",
            padding_mode="zeros",
            align_corners=0,
        ),
        helper.make_node("CastLike", [names["out"], "volume"], ["sampled"]),
    ]
    return _function("GridSample3d", ["volume", "grid"], ["sampled"], nodes, [])


class _TriplaneRender(nn.Module):
    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.octaves = octaves

    def forward(self, deformation: Tensor, camera: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        *planes, weight_1, bias_1, weight_2, bias_2 = rest
        return rendering.triplane_render(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, self.octaves)


def triplane_render_function(shapes: dict[str, tuple[int, ...]], octaves: int, half: bool) -> FunctionProto:
    """The body of TriplaneRender, exported from `rendering.triplane_render` for inputs of these shapes.

    half: planes and weights are FP16; coordinates and compositing stay FP32 in the body.
    """
    in_order = tuple((name, shapes[name]) for name in triplane_render_inputs(len(shapes) - 6))
    function = FunctionProto()
    function.CopyFrom(_triplane_render_function(in_order, octaves, half))
    return function


# The export takes seconds, and a search for a precision plan asks for the same body again and again.
@functools.cache
def _triplane_render_function(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], octaves: int, half: bool
) -> FunctionProto:
    single = FP32_INPUTS["TriplaneRender"]
    inputs = {
        name: torch.zeros(shape, dtype=torch.float16 if half and name not in single else torch.float32)
        for name, shape in shapes
    }
    model = export_module(_TriplaneRender(octaves), inputs, ["rendered", "alpha"])
    nodes: list[NodeProto] = [
        helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer
    ]
    nodes += list(model.graph.node)
    return _function("TriplaneRender", list(inputs), ["rendered", "alpha"], nodes, ["octaves"])


def _function(
    name: str, inputs: list[str], outputs: list[str], nodes: list[NodeProto], attributes: list[str]
) -> FunctionProto:
    """A function with every inner value and node prefixed: TensorRT keys layer names over the whole network."""
    outer = {*inputs, *outputs, ""}
    renamed = []
    for index, original in enumerate(nodes):
        node = NodeProto()
        node.CopyFrom(original)
        node.name = f"{name}_{index}_{node.op_type}"
        for field in (node.input, node.output):
            field[:] = [value if value in outer else f"{name}_{value}" for value in field]
        renamed.append(node)
    return helper.make_function(
        DOMAIN,
        name,
        inputs,
        outputs,
        renamed,
        opset_imports=[helper.make_opsetid("", OPSET)],
        attributes=[*PLUGIN_ATTRIBUTES, *attributes],
    )


def attach_functions(model: onnx.ModelProto) -> None:
    """Add the bodies of the custom ops that `model` uses, for the shapes, types and attributes it has now."""
    values = {v.name: v for v in [*model.graph.input, *model.graph.value_info]}
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values.values()}
    types = {v.name: v.type.tensor_type.elem_type for v in values.values()}
    for tensor in model.graph.initializer:
        shapes[tensor.name], types[tensor.name] = tuple(tensor.dims), tensor.data_type
    del model.functions[:]
    used = {node.op_type: node for node in model.graph.node if node.domain == DOMAIN}
    if "GridSample3d" in used:
        model.functions.append(grid_sample_3d_function())
    if "TriplaneRender" in used:
        node = used["TriplaneRender"]
        names = triplane_render_inputs(len(node.input) - 6)
        by_name = dict(zip(names, node.input, strict=True))
        half = types[by_name["weight_1"]] == TensorProto.FLOAT16
        octaves = next(attribute.i for attribute in node.attribute if attribute.name == "octaves")
        model.functions.append(
            triplane_render_function({name: shapes[value] for name, value in by_name.items()}, octaves, half)
        )
