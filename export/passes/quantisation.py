"""The INT8 pass: puts explicit Q/DQ in front of convolutions.

Quantisation is symmetric, with one scale for an activation and one for each output channel of a weight.

Only what a convolution reads is quantised. Its output and bias keep the graph's own type: TensorRT's parser takes no
INT32 bias, outputs in INT8 cost decibels, and ONNX Runtime's CPU computes FP16 scales with quantised outputs wrongly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hidenerf.export.convolutions import Convolution, convolutions
from hidenerf.export.passes.base import FP16, FP32, constant, remove_unused_weights
from hidenerf.runtime.errors import HideNerfError

Float = NDArray[np.float32]

LARGEST_INT8 = 127
# A subnormal FP16 number with four significant bits left; finer activations are practically zero.
SMALLEST_SCALE = 2.0**-20
LARGEST_SCALE = 65504.0


def symmetric_scale(largest: Float | float) -> Float:
    """Scales that map [-largest, largest] to [-127, 127], rounded up to numbers that FP16 holds.

    Because of the rounding one precision plan serves FP32 and FP16 graphs, and no value within the range is clipped.

    largest: greatest absolute values, any shape. Returns FP32 of that shape. Errors: a range beyond FP16's.
    """
    exact = np.maximum(np.asarray(largest, np.float32) / np.float32(LARGEST_INT8), np.float32(SMALLEST_SCALE))
    if not (exact <= LARGEST_SCALE).all():
        raise HideNerfError(f"A range of {np.max(largest):g} is beyond INT8 with an FP16 scale; check the weights.")
    rounded = exact.astype(np.float16)
    rounded = np.where(rounded.astype(np.float32) < exact, np.nextafter(rounded, np.float16(np.inf)), rounded)
    return rounded.astype(np.float32)


def weight_scales(weight: Float) -> Float:
    """Scale of each output channel [O] of a weight [O, I, h, w]."""
    return symmetric_scale(np.abs(weight).reshape(len(weight), -1).max(axis=1))


def quantise(values: Float, scale: Float) -> NDArray[np.int8]:
    """QuantizeLinear of ONNX with zero point 0: round to nearest, ties to even, saturate to [-128, 127]."""
    return np.clip(np.rint(values / scale), -128, LARGEST_INT8).astype(np.int8)


@dataclass(frozen=True)
class Int8Convolutions:
    """The pass that puts Q/DQ in front of convolutions.

    It runs on the FP32 graph, before `Fp16`: weights are quantised from FP32, and `Fp16` gives scales and results the
    type of their convolution.

    scales: layer → scale of the activation that it reads.
    """

    scales: Mapping[str, float]
    name: str = "INT8 convolutions"

    def __call__(self, model: ir.Model) -> ir.Model:
        """Quantise what the convolutions of `scales` read, in place.

        Errors: a layer that the graph does not have, weights that are not FP32.
        """
        graph = model.graph
        layers = {layer.node: layer for layer in convolutions(graph) if layer.layer in self.scales}
        self._require_layers(graph, layers)
        dequantised: dict[tuple[ir.Value, float], ir.Value] = {}
        for node in [node for node in graph if node.name in layers]:
            layer = layers[node.name or ""]
            scale = self.scales[layer.layer]
            data = node.inputs[0]
            assert data is not None
            if (data, scale) not in dequantised:
                dequantised[data, scale] = _activation_pair(graph, node, data, scale, len(dequantised))
            node.replace_input_with(0, dequantised[data, scale])
            node.replace_input_with(1, _dequantised_weight(graph, node, layer))
        remove_unused_weights(graph)
        return model

    def _require_layers(self, graph: ir.Graph, layers: Mapping[str, Convolution]) -> None:
        for node in graph if self.scales else ():
            if node.op_type == "Conv" and any(value is not None and value.dtype == FP16 for value in node.inputs):
                raise HideNerfError(
                    f"Convolution {node.name} is FP16 already; the INT8 pass comes before the FP16 pass."
                )
        if missing := self.scales.keys() - {layer.layer for layer in layers.values()}:
            raise HideNerfError(
                f"The graph has no convolution {min(missing)} that the precision plan quantises; make the plan anew "
                "with hidenerf-calibrate."
            )


def _activation_pair(graph: ir.Graph, before: ir.Node, data: ir.Value, scale: float, number: int) -> ir.Value:
    """`data` quantised and dequantised in front of the node `before`. number: makes the names unique."""
    prefix = f"{data.name}_int8_{number}"
    parameters = _parameters(graph, prefix, np.array(scale, np.float32), np.array(0, np.int8))
    quantised = ir.val(f"{prefix}_quantised", ir.DataType.INT8, data.shape)
    dequantised = ir.val(f"{prefix}_dequantised", FP32, data.shape)
    pair = [
        ir.node("QuantizeLinear", [data, *parameters], outputs=[quantised], name=f"{prefix}_quantise"),
        ir.node("DequantizeLinear", [quantised, *parameters], outputs=[dequantised], name=f"{prefix}_dequantise"),
    ]
    graph.insert_before(before, pair)
    return dequantised


def _dequantised_weight(graph: ir.Graph, convolution: ir.Node, layer: Convolution) -> ir.Value:
    """The weight in INT8 and its DequantizeLinear in front of the node `convolution`."""
    prefix = f"{layer.node}_weight_int8"
    scales = weight_scales(layer.weight)
    values = constant(prefix, quantise(layer.weight, scales[:, None, None, None]))
    graph.register_initializer(values)
    parameters = _parameters(graph, prefix, scales, np.zeros(len(scales), np.int8))
    output = ir.val(f"{prefix}_dequantised", FP32, layer.weight.shape)
    node = ir.node(
        "DequantizeLinear", [values, *parameters], {"axis": 0}, outputs=[output], name=f"{prefix}_dequantise"
    )
    graph.insert_before(convolution, node)
    return output


def _parameters(graph: ir.Graph, prefix: str, scale: Float, zero: NDArray[np.int8]) -> list[ir.Value]:
    values = [constant(f"{prefix}_scale", scale), constant(f"{prefix}_zero", zero)]
    for value in values:
        graph.register_initializer(value)
    return values
