"""The audit of a TensorRT network: which layer computes in which precision, read before the build."""

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any

from hidenerf.runtime.tensorrt.sidecar import Layer, PrecisionSummary

# TensorRT's names of types, and ours where these differ.
PRECISIONS = {"FLOAT": "FP32", "HALF": "FP16"}
CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
# Layers that multiply in 8 bits if both factors come out of a DequantizeLinear.
PRODUCTS = (*CONVOLUTIONS, "MATRIX_MULTIPLY")


def audit_layers(network: Any) -> list[Layer]:
    """Every layer of an `INetworkDefinition`, in its order."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    quantised = {}
    for layer in layers:
        if layer.type.name == "DEQUANTIZE":
            quantised[layer.get_output(0).name] = _precision(layer.get_input(0))
    return [_audit(layer, quantised) for layer in layers]


def summary(layers: Iterable[Layer], in_fp32: Container[str] | None) -> PrecisionSummary:
    """Count layers and convolutions by precision.

    in_fp32: names of nodes that are meant to be FP32, in a graph that is not; its other FP32 convolutions are named as
        stray. None for an FP32 graph.
    """
    layers = list(layers)
    convolutions = [layer for layer in layers if layer.type in CONVOLUTIONS]
    found = [layer.name for layer in convolutions if layer.precision == "FP32"]
    stray = [] if in_fp32 is None else [name for name in found if name not in in_fp32]
    return PrecisionSummary(_counts(layers), _counts(convolutions), stray)


def uses(layers: Iterable[Layer], precision: str) -> bool:
    """Whether any layer computes in or produces `precision`."""
    return any(precision == layer.precision or precision in layer.outputs for layer in layers)


def _audit(layer: Any, quantised: dict[str, str]) -> Layer:
    outputs = [_precision(layer.get_output(index)) for index in range(layer.num_outputs)]
    precision = outputs[0] if outputs else "none"
    if layer.type.name in PRODUCTS and layer.num_inputs > 1:
        factors = {quantised.get(layer.get_input(index).name) for index in (0, 1)}
        if len(factors) == 1 and None not in factors:
            precision = str(factors.pop())
    return Layer(layer.name, layer.type.name, precision, outputs)


def _precision(tensor: Any) -> str:
    name = tensor.dtype.name
    return PRECISIONS.get(name, name)


def _counts(layers: list[Layer]) -> dict[str, int]:
    return dict(sorted(Counter(layer.precision for layer in layers).items()))
