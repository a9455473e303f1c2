"""The rules of the lowering: each takes one kind of node, or says in a `LoweringError` why it does not.

A rule is a function of the lowering and a node, and returns what the node's output is (`layers.py`), or each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hidenerf.export.custom_ops import DOMAIN, RAY_SAMPLES, SAMPLES, STRIDE
from hidenerf.export.lowering.layers import (
    Concatenation,
    InputPlanes,
    JoinedMaps,
    Layer,
    Modulated,
    Result,
    Scaled,
    Value,
)
from hidenerf.export.lowering.onnx_view import LoweringError
from hidenerf.runtime.kernels.ray_sampler import MOST_NUMBERS, SampleSizes, numbers_of_pixel
from hidenerf.runtime.launch_plan import (
    MOST_INPUTS,
    MOST_PLANES,
    MOST_SUMS,
    BilinearDoubling,
    MapRead,
    Planes,
    PlanMap,
    RaySamples,
)

if TYPE_CHECKING:
    from hidenerf.export.lowering.lower import Lowering

Rule = Callable[["Lowering", onnx.NodeProto], Value | tuple[Value, ...]]


def convolution(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Conv of odd kernel with the padding that keeps a map's size, stride 1 or 2, begins a layer."""
    view = lowering.view
    weight, bias = view.constant(node.input[1]), np.zeros(0, np.float16)
    if weight is None or weight.dtype != np.float16 or weight.ndim != 4:
        raise LoweringError("its weights are no FP16 constant of four dimensions")
    if len(node.input) > 2:
        found = view.constant(node.input[2])
        if found is None:
            raise LoweringError("its bias is no constant")
        bias = found
    kernel = weight.shape[2]
    attributes = {"group": 1, "auto_pad": "NOTSET", "dilations": [1, 1]} | view.attributes(node)
    strides = attributes.get("strides", [1, 1])
    expected = {"group": 1, "auto_pad": "NOTSET", "dilations": [1, 1], "pads": [kernel // 2] * 4}
    for key, value in expected.items():
        if attributes.get(key, [0] * 4) != value:
            raise LoweringError(f"it has {key} {attributes.get(key)} in place of {value}")
    if weight.shape[3] != kernel or kernel % 2 == 0 or kernel > 5:
        raise LoweringError(f"its kernel is {weight.shape[2]} × {weight.shape[3]}; it may be 1 × 1, 3 × 3 or 5 × 5")
    if strides not in ([1, 1], [2, 2]):
        raise LoweringError(f"its strides are {strides}")
    height, width = view.shape(node.output[0])[2:]
    value = lowering.value(node.input[0])
    values = value.values if isinstance(value, Concatenation) else (value,)
    parts = _split(weight, [lowering.channels(one) for one in values])
    if isinstance(value, JoinedMaps):
        parts, reads = [_spread(weight, value.channels)], [MapRead(value.name)]
    else:
        reads = [lowering.read(one) for one in values]
    layer = Layer(
        node.output[0],
        reads,
        kernel,
        int(strides[0]),
        kernel if len(values) == MOST_INPUTS else 0,
        parts,
        np.zeros(weight.shape[0], np.float32) if bias.size == 0 else bias.astype(np.float32),
        int(height),
        int(width),
    )
    lowering.made.append(layer)
    return Result(layer)


def _split(weight: NDArray[np.float16], channels: Sequence[int]) -> list[NDArray[np.float16]]:
    """Weights per input. channels: of each."""
    if sum(channels) != weight.shape[1]:
        raise LoweringError(f"it reads {weight.shape[1]} channels of {sum(channels)}")
    return np.split(weight, np.cumsum(channels)[:-1], axis=1)


def _spread(weight: NDArray[np.float16], channels: Sequence[int]) -> NDArray[np.float16]:
    """Weights for joined maps: zeros where a map has channels that are not used."""
    parts = _split(weight, channels)
    padded = [PlanMap(count, 1, 1).padded - count for count in channels]
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, more), (0, 0), (0, 0))) for part, more in zip(parts, padded, strict=True)], 1
    )


def activation(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A LeakyRelu of a value that nothing else reads ends its layer, or ends SPADE."""
    value = lowering.only(node.input[0])
    leak = float(np.float32(lowering.view.attributes(node).get("alpha", 0.01)))
    if isinstance(value, Modulated) and value.leak == 1.0:
        return Modulated(value.result, value.gamma, value.beta, leak)
    if isinstance(value, Result) and not value.enlarged and value.layer.is_open:
        value.layer.leak = leak
        return value
    raise LoweringError("it follows no open layer and no SPADE")


def modulation_scale(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Mul of a result by γ: a map of the graph's inputs, or a constant of each channel."""
    for value, other in (node.input, node.input[::-1]):
        result = lowering.find(value)
        if isinstance(result, Result):
            return Scaled(result, lowering.modulation_map(other, result))
    raise LoweringError("neither factor is a layer's result")


def modulation_offset(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """An Add of β to what γ has scaled."""
    for value, other in (node.input, node.input[::-1]):
        scaled = lowering.find(value)
        if isinstance(scaled, Scaled):
            lowering.only(value)
            beta = lowering.modulation_map(other, scaled.result)
            if bool(beta.constant) != bool(scaled.gamma.constant):
                raise LoweringError("one of γ and β is constant")
            return Modulated(scaled.result, scaled.gamma, beta)
    raise LoweringError("neither term is a result times γ")


def pointwise_sum(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """An Add of a convolution and a 1 × 1 convolution of another map is one layer of two inputs."""
    layers = [lowering.open_layer(name) for name in node.input]
    for layer, pointwise in (layers, layers[::-1]):
        one_input = len(layer.inputs) == len(pointwise.inputs) == 1
        if layer is not pointwise and one_input and layer.kernel > 1 and (pointwise.kernel, pointwise.stride) == (1, 1):
            if pointwise.sums or (layer.height, layer.width) != (pointwise.height, pointwise.width):
                continue
            layer.inputs += pointwise.inputs
            layer.weights += pointwise.weights
            layer.bias = layer.bias + pointwise.bias
            layer.second_kernel = 1
            lowering.made.remove(pointwise)
            lowering.move_to_end(layer)
            return Result(layer)
    raise LoweringError("the terms are not a convolution of one input and a 1 × 1 convolution of one input")


def map_sum(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """An Add of another map to an open layer's result."""
    reasons = []
    for name, other in (node.input[::-1], node.input):
        try:
            layer = lowering.open_layer(name)
        except LoweringError as reason:
            reasons.append(str(reason))
            continue
        if len(layer.sums) == MOST_SUMS:
            raise LoweringError(f"it would be the sum of more than {MOST_SUMS + 1} maps")
        if lowering.view.shape(name) != lowering.view.shape(other):
            raise LoweringError("its terms differ in shape")
        layer.sums.append(lowering.read(lowering.value(other)))
        lowering.move_to_end(layer)
        return Result(layer)
    raise LoweringError("; ".join(reasons))


def enlargement(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Resize to nearest pixels by 2 is how readers see a result."""
    _require_resize(lowering, node, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    value = lowering.value(node.input[0])
    if not isinstance(value, Result) or value.enlarged:
        raise LoweringError("it follows no layer's result of its own size")
    return Result(value.layer, enlarged=True)


def bilinear_doubling(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A bilinear Resize by 2 is a launch of its own."""
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    _require_resize(lowering, node, **how, antialias=0, exclude_outside=0)
    read = lowering.map_of(node.input[0])
    doubled = lowering.finished_map(node.output[0])
    lowering.made.append(BilinearDoubling(read, doubled.name))
    return doubled


def _require_resize(lowering: "Lowering", node: onnx.NodeProto, **how: Any) -> None:
    """Require a Resize by 2 with these attributes."""
    scales = lowering.view.constant(node.input[2]) if len(node.input) == 3 else None
    if scales is None or scales.tolist() != [1, 1, 2, 2]:
        raise LoweringError("it does not double height and width")
    found = {name: lowering.view.attributes(node).get(name) for name in how}
    if found != how:
        raise LoweringError(f"it enlarges by {', '.join(map(str, found.values()))}")


def ray_samples(lowering: "Lowering", node: onnx.NodeProto) -> tuple[Value, ...]:
    """RaySamples of an input and a map is a launch of its own, with two results."""
    view, (camera, features) = lowering.view, node.input
    if node.domain != DOMAIN or len(node.output) != 2:
        raise LoweringError(f"it is a node of {node.domain or 'ONNX'} with {len(node.output)} outputs")
    if camera not in view.inputs or view.dtype(camera) != np.float32 or view.shape(camera) != (1, 25):
        raise LoweringError(f"{camera} is no FP32 input of the shape [1, 25]")
    attributes = view.attributes(node)
    read = lowering.map_of(features)
    _, channels, size, _ = view.shape(features)
    samples, stride = (int(attributes[name]) for name in (SAMPLES, STRIDE))
    if (numbers := numbers_of_pixel(SampleSizes(size, samples, stride, channels))) > MOST_NUMBERS:
        raise LoweringError(f"a pixel has {numbers} numbers, and a block has room for {MOST_NUMBERS}")
    points, looked_up = (lowering.finished_map(name) for name in node.output)
    lowering.made.append(RaySamples(camera, read, points.name, looked_up.name, samples, stride))
    return points, looked_up


def plane_cast(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Cast of inputs: a change of layout reads either type."""
    return lowering.planes(node.input[0])


def plane_scale(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Mul of inputs by a number."""
    planes, factor = lowering.planes(node.input[0]), lowering.number(node.input[1])
    return _mapped(planes, factor, 0.0)


def plane_difference(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Sub of a number from inputs."""
    planes, offset = lowering.planes(node.input[0]), lowering.number(node.input[1])
    return _mapped(planes, 1.0, -offset)


def _mapped(of: InputPlanes, scale: float, offset: float) -> InputPlanes:
    planes = (Planes(p.input, p.first, p.count, p.scale * scale, p.offset * scale + offset) for p in of.planes)
    return InputPlanes(tuple(planes), of.height, of.width)


def plane_slice(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Slice of an input's channels."""
    of = lowering.planes(node.input[0])
    first, end, axis, step = (int(lowering.number(name)) for name in node.input[1:])
    (plane, *others) = of.planes
    if others or (axis, step) != (1, 1) or first < 0:
        raise LoweringError("it takes other than one input's channels")
    count = min(end, plane.count) - first
    return InputPlanes(
        (Planes(plane.input, plane.first + first, count, plane.scale, plane.offset),), of.height, of.width
    )


def plane_concatenation(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Concat of inputs' channels."""
    _require_channel_axis(lowering, node)
    parts = [lowering.planes(name) for name in node.input]
    planes = tuple(plane for part in parts for plane in part.planes)
    if len(planes) > MOST_PLANES:
        raise LoweringError(f"it joins more than {MOST_PLANES} inputs")
    return InputPlanes(planes, parts[0].height, parts[0].width)


def concatenation(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Concat of two maps is read by a convolution of two inputs."""
    _require_channel_axis(lowering, node)
    if len(node.input) != MOST_INPUTS:
        raise LoweringError(f"it joins {len(node.input)} maps, and a layer reads {MOST_INPUTS}")
    return Concatenation(tuple(lowering.value(name) for name in node.input))


def joined_maps(lowering: "Lowering", node: onnx.NodeProto) -> Value:
    """A Concat of more maps is one map, into which the makers of its parts write."""
    _require_channel_axis(lowering, node)
    if len(node.input) <= MOST_INPUTS:
        raise LoweringError("a layer can read its maps one by one")
    return lowering.join(node.output[0], [lowering.value(name) for name in node.input])


def _require_channel_axis(lowering: "Lowering", node: onnx.NodeProto) -> None:
    if (axis := lowering.view.attributes(node).get("axis")) != 1:
        raise LoweringError(f"it joins along axis {axis}")


# By kind of node, in the order in which they are asked.
RULES: Mapping[str, Sequence[Rule]] = {
    "Conv": (convolution,),
    "LeakyRelu": (activation,),
    "Mul": (modulation_scale, plane_scale),
    "Add": (modulation_offset, pointwise_sum, map_sum),
    "Sub": (plane_difference,),
    "Resize": (enlargement, bilinear_doubling),
    RAY_SAMPLES: (ray_samples,),
    "Cast": (plane_cast,),
    "Slice": (plane_slice,),
    "Concat": (plane_concatenation, concatenation, joined_maps),
}
