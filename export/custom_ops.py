"""Custom ops: `hidenerf::GridSample3d`, `RaySamples`, `TriplaneRender` and `AlignSource` in PyTorch and as ONNX nodes.

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
from hidenerf.model import deformation, geometry, refinement, rendering
from hidenerf.model.alignment import GUIDES, SourceView
from hidenerf.model.refinement import CHANNEL_MULTIPLE, RefinerInputs
from hidenerf.runtime.bundle import IN_FRAME

# The nodes' domain is also where TensorRT looks for their plugins.
DOMAIN = NAMESPACE
OP_VERSION = 1
# TensorRT takes a plugin only for a node that names the plugin's namespace; otherwise it imports the function body.
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(OP_VERSION)}

GRID_SAMPLE_3D, RAY_SAMPLES = "GridSample3d", "RaySamples"
TRIPLANE_RENDER, ALIGN_SOURCE = "TriplaneRender", "AlignSource"
# Attributes of a RaySamples: N, and every how manieth sample is looked up.
SAMPLES, STRIDE = "samples", "stride"
# Attributes by which a node says how many outputs it has, since TensorRT's parser tells a plugin attributes only.
# Of a TriplaneRender with all three outputs, 1.
PLACE = "place"
# Of an AlignSource: how many maps it samples; with the source picture, 1; and for a model with an enlarger, 1.
MAPS, PICTURE, ENLARGED = "maps", "picture", "enlarged"
_PIXELS, ABSENT = ("source_pixels", "source_pixels_small"), "absent"
_VIEW = ("place", "alpha", "rendered", "source_projection", "source_surface", "face_sight")
# In order those that every AlignSource makes, with the source picture, and for an enlarger.
_STEM, _OWN, _ENLARGER = RefinerInputs._fields[:1], RefinerInputs._fields[1:4], RefinerInputs._fields[4:]
# Inputs that stay FP32 in an FP16 graph; every other floating-point input may be FP16.
FP32_INPUTS = {
    GRID_SAMPLE_3D: ("grid",),
    RAY_SAMPLES: ("camera",),
    TRIPLANE_RENDER: ("deformation", "camera"),
    ALIGN_SOURCE: (*_VIEW, *_PIXELS, ABSENT),
}
# Outputs that are FP32 in an FP16 graph; every other floating-point output has the data's type.
FP32_OUTPUTS: dict[str, tuple[str, ...]] = {
    GRID_SAMPLE_3D: (),
    RAY_SAMPLES: (),
    TRIPLANE_RENDER: ("rendered", "alpha", "place"),
    # The frame is made of these.
    ALIGN_SOURCE: ("own", "shown"),
}


@torch.library.custom_op("hidenerf::grid_sample_3d", mutates_args=())
def grid_sample_3d(volume: Tensor, grid: Tensor) -> Tensor:
    """`geometry.grid_sample_3d` as one op: volume [B, C, D, H, W], grid [B, d, h, w, 3] → [B, C, d, h, w]."""
    return geometry.grid_sample_3d(volume, grid)


@grid_sample_3d.register_fake
def _(volume: Tensor, grid: Tensor) -> Tensor:
    return volume.new_empty(*volume.shape[:2], *grid.shape[1:4])


@torch.library.custom_op("hidenerf::ray_samples", mutates_args=())
def ray_samples(camera: Tensor, features: Tensor, samples: int, stride: int) -> tuple[Tensor, Tensor]:
    """`deformation.ray_samples` as one op → points [B, 3N, R, R], looked-up features [B, K·n, R, R]."""
    return deformation.ray_samples(camera, features, samples, stride)


@ray_samples.register_fake
def _(camera: Tensor, features: Tensor, samples: int, stride: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    batch, channels, *size = features.shape
    points, looked_up = (
        features.new_empty(batch, count, *size) for count in (3 * samples, channels * (samples // stride))
    )
    return points, looked_up


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
    rendered: Tensor,
    projection: Tensor,
    surface: Tensor,
    face_sight: Tensor,
    pictures: Sequence[Tensor],
    absent: Tensor,
    maps: Sequence[Tensor],
    enlarged: bool,
) -> list[Tensor]:
    """`refinement.align_source` as one op → the fields of `RefinerInputs` that there are, and the maps in the frame.

    projection, surface: the fields of `SourceView`.
    """
    view = SourceView(projection, surface)
    inputs, in_frame = refinement.align_source(
        place, alpha, rendered, view, face_sight, pictures, absent, maps, enlarged
    )
    return [*(one for one in inputs if one is not None), *in_frame]


@align_source.register_fake
def _(
    place: Tensor,
    alpha: Tensor,
    rendered: Tensor,
    projection: Tensor,  # noqa: ARG001
    surface: Tensor,  # noqa: ARG001
    face_sight: Tensor,
    pictures: Sequence[Tensor],
    absent: Tensor,  # noqa: ARG001
    maps: Sequence[Tensor],
    enlarged: bool,
) -> list[Tensor]:
    shapes = align_source_shapes(tuple(rendered.shape), face_sight.shape[-1], picture=bool(pictures), enlarged=enlarged)
    kinds = {name: alpha.dtype if name in FP32_OUTPUTS[ALIGN_SOURCE] else maps[0].dtype for name in shapes}
    return [*(place.new_empty(shapes[name], dtype=kinds[name]) for name in shapes), *map(torch.empty_like, maps)]


def align_source_shapes(
    rendered: Sequence[int], image_size: int, *, picture: bool, enlarged: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of AlignSource's outputs but the maps, by name in order.

    rendered: shape of this input. image_size: S. picture, enlarged: whether the model has the source picture, and an
    enlarger.
    """
    batch, channels, size, _ = rendered
    seen = channels + 1 + GUIDES + (3 if picture else 0)
    shapes: dict[str, tuple[int, ...]] = {"stem_input": (batch, seen + -seen % CHANNEL_MULTIPLE, size, size)}
    if picture:
        side = image_size // 2 if enlarged else image_size
        shapes["detail_input"] = batch, 4, side, side
        shapes |= {name: (batch, n, image_size, image_size) for name, n in (("own", 3), ("shown", 1))}
    if enlarged:
        shapes["enlarger_input"] = batch, 16, image_size // 2, image_size // 2
    return shapes


def input_names(op: str, count: int, *, picture: bool = False) -> list[str]:
    """Names of an op's inputs in order, as its signature calls them.

    op: `GRID_SAMPLE_3D`, `RAY_SAMPLES`, `TRIPLANE_RENDER` or `ALIGN_SOURCE`. count: how many inputs the node has;
    TriplaneRender has one for each level of the tri-plane, AlignSource two for each SPADE layer with maps. picture: of
    an AlignSource, whether it has the source picture.
    """
    if op == GRID_SAMPLE_3D:
        return ["volume", "grid"]
    if op == RAY_SAMPLES:
        return ["camera", "features"]
    if op == ALIGN_SOURCE:
        before = [*_VIEW, *(_PIXELS if picture else ()), ABSENT]
        return [*before, *_map_names(count - len(before))]
    before, after = ["deformation", "camera"], ["weight_1", "bias_1", "weight_2", "bias_2"]
    levels = count - len(before) - len(after)
    return [*before, *(f"planes_{level}" for level in range(levels)), *after]


def output_names(op: str, count: int, *, picture: bool = False, enlarged: bool = False) -> list[str]:
    """Names of an op's outputs in order; arguments: see `input_names`. TriplaneRender's last may be left out.

    enlarged: of an AlignSource, whether its model has an enlarger.
    """
    if op == GRID_SAMPLE_3D:
        return ["sampled"]
    if op == RAY_SAMPLES:
        return ["points", "looked_up"]
    if op == ALIGN_SOURCE:
        before = [*_STEM, *(_OWN if picture else ()), *(_ENLARGER if enlarged else ())]
        return [*before, *(IN_FRAME + name for name in _map_names(count - len(before)))]
    return ["rendered", "alpha", "place"][:count]


def is_set(node: ir.Node, attribute: str) -> bool:
    """Whether a custom node has `PLACE`, `PICTURE` or `ENLARGED` = 1."""
    return attribute in node.attributes and node.attributes[attribute].as_int() == 1


def fp32_inputs(node: ir.Node) -> list[bool]:
    """For each input of a custom node: whether it stays FP32 in an FP16 graph."""
    names = input_names(node.op_type, len(node.inputs), picture=is_set(node, PICTURE))
    return [name in FP32_INPUTS[node.op_type] for name in names]


def fp32_outputs(node: ir.Node) -> list[bool]:
    """For each output of a custom node: whether it stays FP32 in an FP16 graph."""
    chosen = {"picture": is_set(node, PICTURE), "enlarged": is_set(node, ENLARGED)}
    names = output_names(node.op_type, len(node.outputs), **chosen)
    return [name in FP32_OUTPUTS[node.op_type] for name in names]


def _map_names(count: int) -> list[str]:
    return [f"{kind}_{layer}" for layer in range(count // 2) for kind in ("gamma", "beta")]


def _node(op: str, outputs: int, inputs: Sequence[Any], **integers: int) -> Any:
    """An op's node with this many outputs, as onnxscript makes it; integers: its attributes besides the plugin's."""
    picture, enlarged = (integers.get(name) == 1 for name in (PICTURE, ENLARGED))
    data, real = "T", ["tensor(float)", "tensor(float16)"]
    fp32 = {*FP32_INPUTS[op], *FP32_OUTPUTS[op]}
    parameter = onnx.defs.OpSchema.FormalParameter
    attributes = [
        onnx.defs.OpSchema.Attribute(key, helper.make_attribute(key, value)) for key, value in PLUGIN_ATTRIBUTES.items()
    ]
    attributes += [onnx.defs.OpSchema.Attribute(key, onnx.defs.OpSchema.AttrType.INT) for key in integers]
    taken = input_names(op, len(inputs), picture=picture)
    made = output_names(op, outputs, picture=picture, enlarged=enlarged)
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


def _ray_samples_node(camera, features, samples, stride):  # type: ignore[no-untyped-def]
    return _node(RAY_SAMPLES, 2, [camera, features], **{SAMPLES: samples, STRIDE: stride})


def _triplane_render_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    inputs = [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2]
    return _node(TRIPLANE_RENDER, 2, inputs, octaves=octaves)


def _triplane_render_placed_node(deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves):  # type: ignore[no-untyped-def]
    inputs = [deformation, camera, *planes, weight_1, bias_1, weight_2, bias_2]
    return _node(TRIPLANE_RENDER, 3, inputs, octaves=octaves, **{PLACE: 1})


def _align_source_node(place, alpha, rendered, projection, surface, face_sight, pictures, absent, maps, enlarged):  # type: ignore[no-untyped-def]
    inputs = [place, alpha, rendered, projection, surface, face_sight, *pictures, absent, *maps]
    outputs = len(_STEM) + (len(_OWN) if pictures else 0) + (len(_ENLARGER) if enlarged else 0) + len(maps)
    flags = ({PICTURE: 1} if pictures else {}) | ({ENLARGED: 1} if enlarged else {})
    return _node(ALIGN_SOURCE, outputs, inputs, **{MAPS: len(maps)}, **flags)


# PyTorch op → function that makes its ONNX node, for `torch.onnx.export`.
TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.hidenerf.grid_sample_3d.default: _grid_sample_3d_node,
    torch.ops.hidenerf.ray_samples.default: _ray_samples_node,
    torch.ops.hidenerf.triplane_render.default: _triplane_render_node,
    torch.ops.hidenerf.triplane_render_placed.default: _triplane_render_placed_node,
    torch.ops.hidenerf.align_source.default: _align_source_node,
}
