"""The audit of a TensorRT network: which layer computes in which precision.

Of a strongly typed network it is read before the build, since the engine keeps to it. Of a weakly typed one (TensorRT
8.6) it is read from the engine, by TensorRT's inspector.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from hidenerf.runtime.tensorrt.sidecar import Layer, PrecisionSummary

# TensorRT's names of types, and ours where these differ.
PRECISIONS = {"FLOAT": "FP32", "HALF": "FP16"}
CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
# Layers that multiply in 8 bits if both factors come out of a DequantizeLinear.
PRODUCTS = (*CONVOLUTIONS, "MATRIX_MULTIPLY")
INTEGER_PRECISIONS = ("INT8", "FP8")
# Layers without arithmetic of their own, those whose types are fixed, and plugins, which have an FP32 and an FP16 part.
UNLIMITED = {"ASSERTION", "CAST", "CONSTANT", "DEQUANTIZE", "IDENTITY", "PLUGIN", "PLUGIN_V2", "QUANTIZE", "SHAPE"}
UNLIMITED |= {"TRIP_LIMIT", "ITERATOR", "RECURRENCE", "LOOP_OUTPUT"}

# An inspector's words for a tensor's type, as in "Thirty-two wide channel vectorized row major Int8 format" (8.6) or
# "Half" (10).
_INSPECTED = {
    "FP32": r"FP32|Float",
    "FP16": r"FP16|Half",
    "BF16": r"BF16|BFloat16",
    "FP8": r"FP8",
    "INT8": r"Int8",
    "INT64": r"Int64",
    "INT32": r"Int32",
    "UINT8": r"UInt8",
    "BOOL": r"Bool",
}
# Layers of an engine by the names of a network's, as far as they are counted.
_INSPECTED_TYPES = {"Convolution": "CONVOLUTION", "Deconvolution": "DECONVOLUTION", "MatrixMultiply": "MATRIX_MULTIPLY"}
# What an engine has beside the network's layers.
_ADDED = ("NoOp", "Reformat")


def audit_layers(network: Any, types: Mapping[str, str] | None = None) -> list[Layer]:
    """Every layer of an `INetworkDefinition`, in its order.

    types: of the tensors by name, for a weakly typed network, which does not know them; a tensor that is not among
        them is "unknown".
    """

    def precision(tensor: Any) -> str:
        if types is not None:
            return types.get(tensor.name, "unknown")
        name = str(tensor.dtype.name)
        return PRECISIONS.get(name, name)

    layers = [network.get_layer(index) for index in range(network.num_layers)]
    quantised = {}
    for layer in layers:
        if layer.type.name == "DEQUANTIZE":
            quantised[layer.get_output(0).name] = precision(layer.get_input(0))
    return [_audit(layer, quantised, precision) for layer in layers]


def inspected_layers(information: str) -> list[Layer]:
    """Every layer of an engine, in its order, but for copies that change a format.

    information: JSON of `IEngineInspector.get_engine_information`, or a file of `trtexec --exportLayerInfo`. An engine
        that was built without `ProfilingVerbosity.DETAILED` has names alone, whose precision is "unknown".
    """
    layers = json.loads(information, strict=False)["Layers"]
    return [_inspected(layer) for layer in layers if isinstance(layer, str) or layer["LayerType"] not in _ADDED]


def lowered(network: Iterable[Layer], engine: Iterable[Layer]) -> list[str]:
    """Names of FP32 layers of a network that an engine computes with data of fewer bits.

    network: as parsed. engine: as inspected. A layer of an engine is named after those it was fused of. Of such that
    begin and end a part compiled as a whole, "{ForeignNode[a...b]}", only these two are known.
    """
    reduced: set[str] = set()
    for layer in engine:
        if layer.precision in ("FP16", "BF16", *INTEGER_PRECISIONS):
            reduced.update(_names(layer.name))
    limited = (layer for layer in network if layer.precision == "FP32" and layer.type not in UNLIMITED)
    return [layer.name for layer in limited if layer.name in reduced]


def summary(layers: Iterable[Layer], in_fp32: Container[str] | None) -> PrecisionSummary:
    """Count layers and convolutions by precision.

    in_fp32: names of nodes that are meant to be FP32, in a graph that is not; its other FP32 convolutions are named as
        stray. None for an FP32 graph.
    """
    layers = list(layers)
    convolutions = [layer for layer in layers if layer.type in CONVOLUTIONS]
    found = [layer.name for layer in convolutions if layer.precision == "FP32"]
    # A layer of an engine is named after all that it was fused of.
    stray = [name for name in found if in_fp32 is not None and not any(part in in_fp32 for part in _names(name))]
    return PrecisionSummary(_counts(layers), _counts(convolutions), stray)


def uses(layers: Iterable[Layer], precision: str) -> bool:
    """Whether any layer computes in or produces `precision`."""
    return any(precision == layer.precision or precision in layer.outputs for layer in layers)


def _audit(layer: Any, quantised: dict[str, str], precision_of: Callable[[Any], str]) -> Layer:
    outputs = [precision_of(layer.get_output(index)) for index in range(layer.num_outputs)]
    precision = outputs[0] if outputs else "none"
    if layer.type.name in PRODUCTS and layer.num_inputs > 1:
        factors = {quantised.get(layer.get_input(index).name) for index in (0, 1)}
        if len(factors) == 1 and None not in factors:
            precision = str(factors.pop())
    return Layer(layer.name, layer.type.name, precision, outputs)


def _inspected(layer: "dict[str, Any] | str") -> Layer:
    if isinstance(layer, str):
        return Layer(layer, "unknown", "unknown", [])
    inputs, outputs = ([_inspected_type(tensor) for tensor in layer[kind]] for kind in ("Inputs", "Outputs"))
    kind = str(layer.get("ParameterType", layer["LayerType"]))
    # Arithmetic is in the type of what it reads: an INT8 convolution may write FP16.
    data = [name for name in (*inputs[:1], *outputs) if name not in ("INT32", "INT64", "BOOL")]
    return Layer(layer["Name"], _INSPECTED_TYPES.get(kind, kind), data[0] if data else "none", outputs)


def _inspected_type(tensor: dict[str, Any]) -> str:
    described = str(tensor.get("Format/Datatype", tensor.get("Datatype", "")))
    for name, pattern in _INSPECTED.items():
        if re.search(rf"(?<![A-Za-z])(?:{pattern})(?![a-z0-9])", described, re.IGNORECASE):
            return name
    return "unknown"


def _names(fused: str) -> list[str]:
    """Names of the layers that a layer of an engine was fused of."""
    parts = re.split(r" \+ |\.\.\.|, ", fused)
    return [re.sub(r"^(?:PWN\(|\{ForeignNode\[)+|(?:\]\}|\))+$", "", part) for part in parts]


def _counts(layers: list[Layer]) -> dict[str, int]:
    return dict(sorted(Counter(layer.precision for layer in layers).items()))
