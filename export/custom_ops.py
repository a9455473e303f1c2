"""Custom ops: `hidenerf::GridSample3d` and `hidenerf::TriplaneRender` as PyTorch ops and as ONNX nodes.

Each is one ONNX node in domain `hidenerf`, version 1. The pass `FunctionBodies` gives the file a model-local function
of standard ops for each (DESIGN §4), so one file serves ONNX Runtime (which inlines the function), TensorRT with our
plugin, and TensorRT-RTX. Coordinates (grid, deformation, camera) are FP32 by the ops' own signatures.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
import torch
from onnx import helper
from torch import Tensor

from hidenerf.export.engines.plugin import NAMESPACE
from hidenerf.model import geometry, rendering

# The nodes' domain is also where TensorRT looks for their plugins.
DOMAIN = NAMESPACE
OP_VERSION = 1
# TensorRT takes a plugin only for a node that names the plugin's namespace; otherwise it imports the function body.
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(OP_VERSION)}

GRID_SAMPLE_3D, TRIPLANE_RENDER = "GridSample3d", "TriplaneRender"
# A node may leave out the last output of TriplaneRender.
OUTPUTS: dict[str, tuple[str, ...]] = {GRID_SAMPLE_3D: ("sampled",), TRIPLANE_RENDER: ("rendered", "alpha", "place")}
# Attribute of a TriplaneRender with all three outputs, 1: TensorRT's parser does not tell a plugin how many outputs its
# node has, but its attributes.
PLACE = "place"
# Inputs that stay FP32 in an FP16 graph; every other floating-point input may be FP16.
FP32_INPUTS = {GRID_SAMPLE_3D: ("grid",), TRIPLANE_RENDER: ("deformation", "camera")}
# Outputs that are FP32 in an FP16 graph; every other floating-point output has the data's type.
FP32_OUTPUTS: dict[str, tuple[str, ...]] = {GRID_SAMPLE_3D: (), TRIPLANE_RENDER: OUTPUTS[TRIPLANE_RENDER]}


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


@torch.library.custom_op("hidenerf::triplane_render_placed", mutates_args=())
def triplane_render_placed(
    deformation: Tensor,
    camera: Tensor,
    planes: Sequence[Tensor],
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    octaves: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`rendering.triplane_render_placed` as one op → also place [B, 3, R, R]; in ONNX it is TriplaneRender, too."""
    return rendering.triplane_render_placed(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves)


@triplane_render_placed.register_fake
def _(
    deformation: Tensor,
    camera: Tensor,  # noqa: ARG001
    planes: Sequence[Tensor],  # noqa: ARG001
    weight_1: Tensor,  # noqa: ARG001
    bias_1: Tensor,  # noqa: ARG001
    weight_2: Tensor,
    bias_2: Tensor,  # noqa: ARG001
    octaves: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, *size = deformation.shape
    rendered, alpha, place = (deformation.new_empty(batch, count, *size) for count in (len(weight_2) - 1, 1, 3))
    return rendered, alpha, place


def input_names(op: str, count: int) -> list[str]:
    """Names of an op's inputs in order, as its signature calls them.

    op: `GRID_SAMPLE_3D` or `TRIPLANE_RENDER`. count: how many inputs the node has; TriplaneRender has one for each
    level of the tri-plane.
    """
    if op == GRID_SAMPLE_3D:
        return ["volume", "grid"]
    before, after = ["deformation", "camera"], ["weight_1", "bias_1", "weight_2", "bias_2"]
    levels = count - len(before) - len(after)
    return [*before, *(f"planes_{level}" for level in range(levels)), *after]


def fp32_inputs(node: ir.Node) -> list[bool]:
    """For each input of a custom node: whether it stays FP32 in an FP16 graph."""
    return [name in FP32_INPUTS[node.op_type] for name in input_names(node.op_type, len(node.inputs))]


def fp32_outputs(node: ir.Node) -> list[bool]:
    """For each output of a custom node: whether it stays FP32 in an FP16 graph."""
    return [name in FP32_OUTPUTS[node.op_type] for name in OUTPUTS[node.op_type][: len(node.outputs)]]


def _schema(op: str, inputs: int, outputs: int, integers: Sequence[str] = ()) -> onnx.defs.OpSchema:
    data, real = "T", ["tensor(float)", "tensor(float16)"]
    fp32 = set(FP32_INPUTS[op]) | set(FP32_OUTPUTS[op])
    parameter = onnx.defs.OpSchema.FormalParameter
    attributes = [
        onnx.defs.OpSchema.Attribute(key, helper.make_attribute(key, value)) for key, value in PLUGIN_ATTRIBUTES.items()
    ]
    attributes += [onnx.defs.OpSchema.Attribute(key, onnx.defs.OpSchema.AttrType.INT) for key in integers]
    return onnx.defs.OpSchema(
        op,
        DOMAIN,
        OP_VERSION,
        inputs=[parameter(x, "tensor(float)" if x in fp32 else data) for x in input_names(op, inputs)],
        outputs=[parameter(x, "tensor(float)" if x in fp32 else data) for x in OUTPUTS[op][:outputs]],
        type_constraints=[(data, real, "features and weights")],
        attributes=attributes,
    )


_OPSET = onnxscript.values.Opset(DOMAIN, OP_VERSION)


def _grid_sample_3d_node(volume, grid):  # type: ignore[no-untyped-def]  # onnxscript's symbolic values
    node = onnxscript.values.Op(_OPSET, GRID_SAMPLE_3D, _schema(GRID_SAMPLE_3D, 2, 1))
    return node(volume, grid, **PLUGIN_ATTRIBUTES)


def _triplane_render_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    return _render_node(2, [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2], octaves=octaves)


def _triplane_render_placed_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    inputs = [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2]
    return _render_node(3, inputs, octaves=octaves, **{PLACE: 1})


def _render_node(outputs: int, inputs: Sequence[Any], **integers: int) -> Any:
    schema = _schema(TRIPLANE_RENDER, len(inputs), outputs, list(integers))
    return onnxscript.values.Op(_OPSET, TRIPLANE_RENDER, schema)(*inputs, **integers, **PLUGIN_ATTRIBUTES)


# PyTorch op → function that makes its ONNX node, for `torch.onnx.export`.
TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.hidenerf.grid_sample_3d.default: _grid_sample_3d_node,
    torch.ops.hidenerf.triplane_render.default: _triplane_render_node,
    torch.ops.hidenerf.triplane_render_placed.default: _triplane_render_placed_node,
}
