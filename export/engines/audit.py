"""What a TensorRT network will compute in which precision, read from the network before the build."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

# As TensorRT's `DataType` names them, as NumPy does, and as people say.
DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
PRECISIONS = {"FLOAT": "FP32", "HALF": "FP16"}
CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
# Layers whose product is taken in 8 bits when both factors come out of a DequantizeLinear.
PRODUCTS = (*CONVOLUTIONS, "MATRIX_MULTIPLY")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network. dtype: NumPy's name."""

    name: str
    shape: list[int]
    dtype: str


@dataclass(frozen=True)
class Layer:
    """precision: of the arithmetic, INT8 or FP8 for a product of quantised factors, else the type of its result."""

    name: str
    type: str
    precision: str
    outputs: list[str]


def tensors(count: int, get: Callable[[int], Any]) -> list[Tensor]:
    """The tensors that `get` gives for 0 … count - 1."""
    found = [get(index) for index in range(count)]
    return [Tensor(t.name, list(t.shape), DTYPES.get(t.dtype.name, t.dtype.name.lower())) for t in found]


def audit_layers(network: Any) -> list[Layer]:
    """Every layer of an `INetworkDefinition`, in its order."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    quantised = {}
    for layer in layers:
        if layer.type.name == "DEQUANTIZE":
            quantised[layer.get_output(0).name] = _precision(layer.get_input(0))
    return [_audit(layer, quantised) for layer in layers]


def summary(layers: Iterable[Layer], reduced: bool) -> dict[str, Any]:
    """Counts by precision. reduced: the graph is not meant to be FP32, so FP32 convolutions in it are named."""
    layers = list(layers)
    convolutions = [layer for layer in layers if layer.type in CONVOLUTIONS]
    return {
        "layers": _counts(layers),
        "convolutions": _counts(convolutions),
        "stray": [layer.name for layer in convolutions if reduced and layer.precision == "FP32"],
    }


def uses(layers: Iterable[Layer], precision: str) -> bool:
    """Whether any layer computes in or produces `precision`."""
    return any(precision == layer.precision or precision in layer.outputs for layer in layers)


def as_dicts(items: Iterable[Layer | Tensor]) -> list[dict[str, Any]]:
    """For the sidecar."""
    return [asdict(item) for item in items]


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
