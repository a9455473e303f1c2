"""Precisions as they are in networks that TensorRT-RTX parsed, and in engines as inspectors describe them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from hidenerf.export.engines.audit import Layer, audit_layers, inspected_layers, lowered, summary, uses
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


def inspected(name: str, kind: str, inputs: list[str], outputs: list[str], parameters: str | None = None) -> Any:
    """A layer in the words of `trtexec --exportLayerInfo`."""
    tensors = [
        [{"Name": "t", "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": words} for words in side]
        for side in (inputs, outputs)
    ]
    described: dict[str, Any] = {"Name": name, "LayerType": kind, "Inputs": tensors[0], "Outputs": tensors[1]}
    return described | ({} if parameters is None else {"ParameterType": parameters})


# Formats as TensorRT 8.6 writes them (trt-engine-explorer lists them), and as 10 does.
FORMATS = {
    "Row major linear FP32": "FP32",
    "Row major linear FP16 format": "FP16",
    "Channel major FP16 format where channel % 8 == 0": "FP16",
    "Thirty-two wide channel vectorized row major Int8 format": "INT8",
    "Channel major INT8 format where column stride % 32 == 0": "INT8",
    "Row major linear Int32": "INT32",
    "Row major linear BOOL": "BOOL",
    "Row major linear UInt8 format": "UINT8",
    "Float": "FP32",
    "Half": "FP16",
    "BFloat16": "BF16",
    "Int8": "INT8",
    "Int64": "INT64",
    "FP8": "FP8",
    "Unknown format": "unknown",
}


@pytest.mark.parametrize("words", FORMATS)
def test_an_inspector_s_words_for_types(words: str) -> None:
    layers = inspected_layers(json.dumps({"Layers": [inspected("a", "Shuffle", [words], [words])], "Bindings": []}))
    assert layers[0].outputs == [FORMATS[words]]


FP32, FP16 = "Row major linear FP32", "Channel major FP16 format where channel % 8 == 0"
INT8 = "Thirty-two wide channel vectorized row major Int8 format"


def test_an_engine_is_read_as_its_inspector_describes_it() -> None:
    layers = [
        inspected("Reformatting CopyNode for Input Tensor 0 to conv1", "Reformat", [FP32], [FP16], "Reformat"),
        inspected("conv1 + relu1", "CaskConvolution", [FP16], [FP16], "Convolution"),
        inspected("w + w_quantize + conv2", "CaskConvolution", [INT8], [FP16], "Convolution"),
        inspected("conv3", "CaskDeconvolution", [FP32], [FP32], "Deconvolution"),
        inspected("pick", "Gather", ["Row major linear Int32", FP32], [FP32], "Gather"),
        inspected("kept", "NoOp", [FP16], [FP16]),
        "a name alone",
    ]
    found = inspected_layers(json.dumps({"Layers": layers, "Bindings": ["x", "y"]}))
    assert [(layer.name, layer.type, layer.precision) for layer in found] == [
        ("conv1 + relu1", "CONVOLUTION", "FP16"),
        ("w + w_quantize + conv2", "CONVOLUTION", "INT8"),
        ("conv3", "DECONVOLUTION", "FP32"),
        ("pick", "Gather", "FP32"),
        ("a name alone", "unknown", "unknown"),
    ]
    assert summary(found, ()).convolutions == {"FP16": 1, "FP32": 1, "INT8": 1}
    assert summary(found, ()).stray == ["conv3"]
    fused = [Layer("w + conv4 + relu4", "CONVOLUTION", "FP32", ["FP32"])]
    assert summary(fused, ()).stray == ["w + conv4 + relu4"]
    assert summary(fused, {"conv4"}).stray == []


def test_fp32_layers_that_an_engine_computes_with_fewer_bits_are_named() -> None:
    names = ("conv1", "relu1", "sine", "from", "to", "copy")
    types = ("CONVOLUTION", "ACTIVATION", "UNARY", "ELEMENTWISE", "UNARY", "CAST")
    network = [Layer(name, kind, "FP32", ["FP32"]) for name, kind in zip(names, types, strict=True)]
    network.append(Layer("meant", "CONVOLUTION", "FP16", ["FP16"]))
    half = {"a": "meant", "b": "PWN(PWN(relu1), other)", "c": "{ForeignNode[from...to]}", "d": "copy"}
    engine = [Layer(name, "any", "FP16", ["FP16"]) for name in half.values()]
    engine.append(Layer("conv1 + sine", "CONVOLUTION", "FP32", ["FP32"]))
    assert lowered(network, engine) == ["relu1", "from", "to"]
