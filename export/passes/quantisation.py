"""INT8 convolutions as explicit Q/DQ: symmetric, one scale for the activation, one for each output channel of a weight.

Only what a convolution reads is quantised. Its output and bias keep the graph's own type: TensorRT's parser takes no
INT32 bias, outputs in INT8 cost decibels, and ONNX Runtime's CPU computes FP16 scales with quantised outputs wrongly.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.passes.convolutions import Convolution
from hidenerf.runtime.errors import HideNerfError

Float = NDArray[np.float32]

LARGEST_INT8 = 127
# A subnormal FP16 number that still has four bits; what is finer is all but zero.
SMALLEST_SCALE = 2.0**-20
LARGEST_SCALE = 65504.0


def symmetric_scale(largest: Float | float) -> Float:
    """Scales that map [-largest, largest] to [-127, 127], rounded up to numbers that FP16 holds.

    So one plan serves FP32 and FP16 graphs, and nothing within the range is clipped. Errors: a range beyond FP16's.
    """
    wanted = np.maximum(np.asarray(largest, np.float32) / np.float32(LARGEST_INT8), np.float32(SMALLEST_SCALE))
    if not (wanted <= LARGEST_SCALE).all():
        raise HideNerfError(f"A range of {np.max(largest):g} is beyond INT8 with an FP16 scale; check the weights.")
    half = wanted.astype(np.float16)
    half = np.where(half.astype(np.float32) < wanted, np.nextafter(half, np.float16(np.inf)), half)
    return half.astype(np.float32)


def weight_scales(weight: Float) -> Float:
    """Scale of each output channel [O] of a weight [O, I, h, w]."""
    return symmetric_scale(np.abs(weight).reshape(len(weight), -1).max(axis=1))


def quantise(values: Float, scale: Float) -> NDArray[np.int8]:
    """QuantizeLinear of ONNX with zero point 0: round to nearest, ties to even, saturate to [-128, 127]."""
    return np.clip(np.rint(values / scale), -128, LARGEST_INT8).astype(np.int8)


def insert_int8(model: onnx.ModelProto, layers: list[Convolution], scales: Mapping[str, float]) -> None:
    """Put Q/DQ before the convolutions whose layers `scales` names, in place.

    layers: the convolutions of the FP32 graph; their weights are quantised from FP32, whatever the model has by now.
    scales: layer → scale of the activation. Errors: a layer that the graph has not.
    """
    by_node = {layer.node: layer for layer in layers if layer.layer in scales}
    missing = scales.keys() - {layer.layer for layer in by_node.values()}
    if missing:
        raise HideNerfError(
            f"The graph has no convolution {min(missing)} that the precision plan quantises; make the plan anew with "
            "hidenerf-calibrate."
        )
    graph = model.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    added: dict[str, TensorProto] = {}
    dequantised: dict[tuple[str, float, int], str] = {}
    for original in graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        layer = by_node.get(node.name)
        if layer is not None:
            kind = types[node.input[1]]
            scale = scales[layer.layer]
            key = node.input[0], scale, kind
            if key not in dequantised:
                pair, constants = _activation_pair(node.input[0], scale, kind, len(dequantised))
                nodes += pair
                added |= constants
                dequantised[key] = pair[-1].output[0]
            dequantise, constants = _weight_pair(layer, kind)
            nodes.append(dequantise)
            added |= constants
            node.input[0], node.input[1] = dequantised[key], dequantise.output[0]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    fresh = onnx.GraphProto(
        name=graph.name,
        node=nodes,
        initializer=[*kept, *added.values()],
        input=graph.input,
        output=graph.output,
        value_info=graph.value_info,
    )
    graph.CopyFrom(fresh)


def _activation_pair(name: str, scale: float, kind: int, number: int) -> tuple[list[NodeProto], dict[str, TensorProto]]:
    prefix = f"{name}_int8_{number}"
    constants = _constants(prefix, np.array(scale), np.array(0, np.int8), kind)
    quantised, single = f"{prefix}_quantised", f"{prefix}_dequantised"
    inputs = list(constants)
    pair = [
        helper.make_node("QuantizeLinear", [name, *inputs], [quantised], name=f"{prefix}_quantise"),
        helper.make_node("DequantizeLinear", [quantised, *inputs], [single], name=f"{prefix}_dequantise"),
    ]
    return pair, constants


def _weight_pair(layer: Convolution, kind: int) -> tuple[NodeProto, dict[str, TensorProto]]:
    prefix = f"{layer.node}_weight_int8"
    scales = weight_scales(layer.weight)
    values = quantise(layer.weight, scales[:, None, None, None])
    constants = {prefix: numpy_helper.from_array(values, prefix)}
    constants |= _constants(prefix, scales, np.zeros(len(scales), np.int8), kind)
    node = helper.make_node(
        "DequantizeLinear", list(constants), [f"{prefix}_dequantised"], name=f"{prefix}_dequantise", axis=0
    )
    return node, constants


def _constants(prefix: str, scale: NDArray, zero: NDArray[np.int8], kind: int) -> dict[str, TensorProto]:
    typed = scale.astype(helper.tensor_dtype_to_np_dtype(kind))
    arrays = {f"{prefix}_scale": typed, f"{prefix}_zero": zero}
    return {name: numpy_helper.from_array(array, name) for name, array in arrays.items()}
