"""Precisions as they are in networks that TensorRT-RTX parsed."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from hidenerf.export.engines.audit import Layer, audit_layers, summary, uses
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.runtime.bundle import GraphSpec
from tests.support.networks import graph_of, kernel, quantised_convolution, rtx


def audit(graph: GraphSpec) -> dict[str, Layer]:
    parsed = network_from_onnx(rtx(), graph, graph.path.read_bytes())
    return {layer.name: layer for layer in audit_layers(parsed.network)}


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.INT8, "INT8"), (TensorProto.FLOAT8E4M3FN, "FP8")])
def test_a_convolution_of_quantised_factors_counts_as_quantised(tmp_path: Path, kind: int, name: str) -> None:
    layers = audit(quantised_convolution(tmp_path, kind))
    assert layers["quantised"] == Layer("quantised", "CONVOLUTION", name, ["FP32"])
    assert layers["plain"] == Layer("plain", "CONVOLUTION", "FP32", ["FP32"])
    assert layers["x_quantize"].outputs == [name]
    assert summary(layers.values(), ()).convolutions == {"FP32": 1, name: 1}
    assert uses(layers.values(), name)
    assert not uses(layers.values(), "FP16")


def test_one_quantised_factor_alone_makes_no_quantised_convolution(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"], name="conv", pads=[1] * 4),
    ]
    graph = graph_of(tmp_path, nodes, {"w": kernel(), "s": np.float32(0.1), "z": np.int8(0)})
    assert audit(graph)["conv"].precision == "FP32"


def test_stray_convolutions_are_named_unless_the_graph_is_fp32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="astray", pads=[1] * 4),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["b", "wh"], ["y"], name="planned", pads=[1] * 4),
    ]
    weights = {"w": kernel(), "wh": kernel().astype(np.float16)}
    layers = audit(graph_of(tmp_path, nodes, weights, output=TensorProto.FLOAT16)).values()
    assert summary(layers, ()).stray == ["astray"]
    assert summary(layers, ()).convolutions == {"FP16": 1, "FP32": 1}
    assert summary(layers, {"astray"}).stray == []
    assert summary(layers, None).stray == []
