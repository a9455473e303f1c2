"""Layers of a weakly typed network are held to the types of the graph; the network is an emulation."""

from types import SimpleNamespace
from typing import Any

from hidenerf.export.engines.precision_limits import limit_precisions

FLOAT, HALF = SimpleNamespace(name="FLOAT"), SimpleNamespace(name="HALF")
TRT = SimpleNamespace(DataType=SimpleNamespace(FLOAT=FLOAT, HALF=HALF))


class EmulatedLayer:
    """As much of an `ILayer` as is asked; the names are those of the real one (test_tensorrt_8_6.py)."""

    def __init__(self, kind: str, inputs: list[Any], outputs: list[Any]) -> None:
        self.name, self.type = kind.lower(), SimpleNamespace(name=kind)
        self.inputs, self.outputs = inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.precision: Any = None
        self.output_types: dict[int, Any] = {}

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_types[index] = kind


# What the file says of tensors by the first letter of their names; the network says FLOAT of all between its ends.
KINDS = {"h": "FP16", "s": "FP32", "n": "INT32", "q": "INT8"}


def tensor(name: str) -> Any:
    return SimpleNamespace(name=name, dtype=FLOAT)


def limited(*layers: EmulatedLayer) -> list[tuple[Any, dict[int, Any]]]:
    network = SimpleNamespace(num_layers=len(layers), get_layer=lambda index: layers[index])
    tensors = [one for layer in layers for one in (*layer.inputs, *layer.outputs)]
    types = {one.name: KINDS[one.name[0]] for one in tensors if one.name[0] in KINDS}
    limit_precisions(network, TRT, types)
    return [(layer.precision, layer.output_types) for layer in layers]


def test_arithmetic_is_held_to_the_type_of_its_result_in_the_file() -> None:
    half, single, number = tensor("h"), tensor("s"), tensor("n")
    assert limited(
        EmulatedLayer("CONVOLUTION", [half], [half]),
        EmulatedLayer("GRID_SAMPLE", [single, single], [single]),
        EmulatedLayer("TOPK", [single], [single, number]),
    ) == [(HALF, {0: HALF}), (FLOAT, {0: FLOAT}), (FLOAT, {0: FLOAT})]


def test_of_parts_that_are_compiled_as_a_whole_only_the_outputs_are_held() -> None:
    half, single = tensor("h"), tensor("s")
    kinds = ["CONCATENATION", "ELEMENTWISE", "GATHER", "SHUFFLE", "SLICE"]
    assert limited(*(EmulatedLayer(kind, [single], [single]) for kind in kinds)) == [(None, {0: FLOAT})] * len(kinds)
    assert limited(EmulatedLayer("SHUFFLE", [half], [half])) == [(None, {0: HALF})]


def test_what_the_parser_has_added_is_left_to_the_builder() -> None:
    half, added = tensor("h"), tensor("(Unnamed Layer* 3) [Shuffle]_output")
    assert limited(EmulatedLayer("SHUFFLE", [half], [added])) == [(None, {})]


def test_layers_without_arithmetic_in_floating_point_are_left_alone() -> None:
    half, single, number = tensor("h"), tensor("s"), tensor("n")
    layers = [
        EmulatedLayer("CAST", [half], [single]),
        EmulatedLayer("CONSTANT", [], [half]),
        EmulatedLayer("PLUGIN_V2", [single, half], [single, half]),
        EmulatedLayer("SHUFFLE", [number], [number]),
        EmulatedLayer("ASSERTION", [number], []),
    ]
    assert limited(*layers) == [(None, {})] * len(layers)


def test_a_product_of_quantised_factors_is_left_to_the_builder() -> None:
    eight, single = tensor("q"), tensor("s")
    factors = [tensor("s_a"), tensor("s_b")]
    layers = [EmulatedLayer("DEQUANTIZE", [eight], [factor]) for factor in factors]
    assert limited(*layers, EmulatedLayer("CONVOLUTION", factors, [single])) == [(None, {})] * 3
    assert limited(layers[0], EmulatedLayer("CONVOLUTION", [factors[0], single], [single]))[1] == (FLOAT, {0: FLOAT})
