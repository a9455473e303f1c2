"""Custom ops: `hidenerf::GridSample3d`, `TriplaneRender` and `AlignSource` as PyTorch ops and as ONNX nodes.

Each is one ONNX node in domain `hidenerf`, version 1. The pass `FunctionBodies` gives the file a model-local function
of standard ops for each (DESIGN §4), so one file serves ONNX Runtime (which inlines the function), TensorRT with our
plugin, and TensorRT-RTX. Coordinates (grid, deformation, camera, place), depths and pictures are FP32 by the ops' own
signatures.
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
from hidenerf.model import geometry, refinement, rendering
from hidenerf.model.alignment import GUIDES, SourceView
from hidenerf.runtime.bundle import IN_FRAME

# The nodes' domain is also where TensorRT looks for their plugins.
DOMAIN = NAMESPACE
OP_VERSION = 1
# TensorRT takes a plugin only for a node that names the plugin's namespace; otherwise it imports the function body.
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(OP_VERSION)}

GRID_SAMPLE_3D, TRIPLANE_RENDER, ALIGN_SOURCE = "GridSample3d", "TriplaneRender", "AlignSource"
# Attributes by which a node says how many outputs it has, since TensorRT's parser tells a plugin attributes only.
# Of a TriplaneRender with all three outputs, 1.
PLACE = "place"
# Of an AlignSource: how many maps it samples; and, with the source picture, 1.
MAPS, PICTURE = "maps", "picture"
_PIXELS, _OWN = ("source_pixels", "source_pixels_small"), ("own_small", "own", "shown")
_VIEW = ("place", "alpha", "source_projection", "source_surface", "face_sight")
# Inputs that stay FP32 in an FP16 graph; every other floating-point input may be FP16.
FP32_INPUTS = {
    GRID_SAMPLE_3D: ("grid",),
    TRIPLANE_RENDER: ("deformation", "camera"),
    ALIGN_SOURCE: (*_VIEW, *_PIXELS),
}
# Outputs that are FP32 in an FP16 graph; every other floating-point output has the data's type.
FP32_OUTPUTS: dict[str, tuple[str, ...]] = {
    GRID_SAMPLE_3D: (),
    TRIPLANE_RENDER: ("rendered", "alpha", "place"),
    ALIGN_SOURCE: ("guides", *_OWN),
}


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


@torch.library.custom_op("hidenerf::align_source", mutates_args=())
def align_source(
    place: Tensor,
    alpha: Tensor,
    projection: Tensor,
    surface: Tensor,
    face_sight: Tensor,
    pictures: Sequence[Tensor],
    maps: Sequence[Tensor],
) -> list[Tensor]:
    """`refinement.align_source` as one op → guides, with pictures own_small, own and shown, and the maps in the frame.

    projection, surface: the fields of `SourceView`.
    """
    view = SourceView(projection, surface)
    samples, in_frame = refinement.align_source(place, alpha, view, face_sight, pictures, maps)
    return [*(one for one in samples if one is not None), *in_frame]


@align_source.register_fake
def _(
    place: Tensor,
    alpha: Tensor,  # noqa: ARG001
    projection: Tensor,  # noqa: ARG001
    surface: Tensor,  # noqa: ARG001
    face_sight: Tensor,
    pictures: Sequence[Tensor],
    maps: Sequence[Tensor],
) -> list[Tensor]:
    batch, _, *size = place.shape
    guides = place.new_empty(batch, GUIDES, *size)
    own = [*map(torch.empty_like, pictures[::-1]), torch.empty_like(face_sight[:, :1])] if pictures else []
    return [guides, *own, *map(torch.empty_like, maps)]


def input_names(op: str, count: int, picture: bool = False) -> list[str]:
    """Names of an op's inputs in order, as its signature calls them.

    op: `GRID_SAMPLE_3D`, `TRIPLANE_RENDER` or `ALIGN_SOURCE`. count: how many inputs the node has; TriplaneRender has
    one for each level of the tri-plane, AlignSource two for each SPADE layer with maps. picture: of an AlignSource,
    whether it has the source picture.
    """
    if op == GRID_SAMPLE_3D:
        return ["volume", "grid"]
    if op == ALIGN_SOURCE:
        before = [*_VIEW, *(_PIXELS if picture else ())]
        return [*before, *_map_names(count - len(before))]
    before, after = ["deformation", "camera"], ["weight_1", "bias_1", "weight_2", "bias_2"]
    levels = count - len(before) - len(after)
    return [*before, *(f"planes_{level}" for level in range(levels)), *after]


def output_names(op: str, count: int, picture: bool = False) -> list[str]:
    """Names of an op's outputs in order; arguments: see `input_names`. TriplaneRender's last may be left out."""
    if op == GRID_SAMPLE_3D:
        return ["sampled"]
    if op == ALIGN_SOURCE:
        before = ["guides", *(_OWN if picture else ())]
        return [*before, *(IN_FRAME + name for name in _map_names(count - len(before)))]
    return ["rendered", "alpha", "place"][:count]


def has_picture(node: ir.Node) -> bool:
    """Whether a custom node is an AlignSource with the source picture."""
    return PICTURE in node.attributes and node.attributes[PICTURE].as_int() == 1


def fp32_inputs(node: ir.Node) -> list[bool]:
    """For each input of a custom node: whether it stays FP32 in an FP16 graph."""
    names = input_names(node.op_type, len(node.inputs), has_picture(node))
    return [name in FP32_INPUTS[node.op_type] for name in names]


def fp32_outputs(node: ir.Node) -> list[bool]:
    """For each output of a custom node: whether it stays FP32 in an FP16 graph."""
    names = output_names(node.op_type, len(node.outputs), has_picture(node))
    return [name in FP32_OUTPUTS[node.op_type] for name in names]


def _map_names(count: int) -> list[str]:
    return [f"{kind}_{layer}" for layer in range(count // 2) for kind in ("gamma", "beta")]


def _node(op: str, outputs: int, inputs: Sequence[Any], **integers: int) -> Any:
    """An op's node with this many outputs, as onnxscript makes it; integers: its attributes besides the plugin's."""
    picture = integers.get(PICTURE) == 1
    data, real = "T", ["tensor(float)", "tensor(float16)"]
    fp32 = {*FP32_INPUTS[op], *FP32_OUTPUTS[op]}
    parameter = onnx.defs.OpSchema.FormalParameter
    attributes = [
        onnx.defs.OpSchema.Attribute(key, helper.make_attribute(key, value)) for key, value in PLUGIN_ATTRIBUTES.items()
    ]
    attributes += [onnx.defs.OpSchema.Attribute(key, onnx.defs.OpSchema.AttrType.INT) for key in integers]
    taken, made = input_names(op, len(inputs), picture), output_names(op, outputs, picture)
    schema = onnx.defs.OpSchema(
        op,
        DOMAIN,
        OP_VERSION,
        inputs=[parameter(x, "tensor(float)" if x in fp32 else data) for x in taken],
        outputs=[parameter(x, "tensor(float)" if x in fp32 else data) for x in made],
        type_constraints=[(data, real, "features and weights")],
        attributes=attributes,
    )
    return onnxscript.values.Op(_OPSET, op, schema)(*inputs, **integers, **PLUGIN_ATTRIBUTES)


_OPSET = onnxscript.values.Opset(DOMAIN, OP_VERSION)


def _grid_sample_3d_node(volume, grid):  # type: ignore[no-untyped-def]  # onnxscript's symbolic values
    return _node(GRID_SAMPLE_3D, 1, [volume, grid])


def _triplane_render_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    inputs = [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2]
    return _node(TRIPLANE_RENDER, 2, inputs, octaves=octaves)


def _triplane_render_placed_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    inputs = [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2]
    return _node(TRIPLANE_RENDER, 3, inputs, octaves=octaves, **{PLACE: 1})


def _align_source_node(place, alpha, projection, surface, face_sight, pictures, maps):  # type: ignore[no-untyped-def]
    inputs = [place, alpha, projection, surface, face_sight, *pictures, *maps]
    outputs = 1 + len(maps) + (len(_OWN) if pictures else 0)
    return _node(ALIGN_SOURCE, outputs, inputs, **{MAPS: len(maps)}, **({PICTURE: 1} if pictures else {}))


# PyTorch op → function that makes its ONNX node, for `torch.onnx.export`.
TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.hidenerf.grid_sample_3d.default: _grid_sample_3d_node,
    torch.ops.hidenerf.triplane_render.default: _triplane_render_node,
    torch.ops.hidenerf.triplane_render_placed.default: _triplane_render_placed_node,
    torch.ops.hidenerf.align_source.default: _align_source_node,
}
