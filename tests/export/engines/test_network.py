"""ONNX → TensorRT-RTX networks: what is read, and one sentence for what is refused. The real parser, no GPU."""

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from hidenerf.export.engines.network import network_from_onnx
from hidenerf.runtime.bundle import GraphSpec, TensorSpec
from hidenerf.runtime.errors import HideNerfError
from tests.support.networks import SHAPE, graph_of, kernel, rtx


def refuse(graph: GraphSpec) -> str:
    with pytest.raises(HideNerfError) as caught:
        network_from_onnx(rtx(), graph, graph.path.read_bytes())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("net: ")
    return message


def node(operator: str, *names: str, **attributes: object) -> NodeProto:
    *inputs, output = names
    return helper.make_node(operator, inputs, [output], name=f"my_{operator.lower()}", **attributes)


def test_tensors_are_read_by_name(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [node("Cast", "x", "y", to=TensorProto.UINT8)], output=TensorProto.UINT8)
    parsed = network_from_onnx(rtx(), graph, graph.path.read_bytes())
    found = parsed.network.get_input(0), parsed.network.get_output(0)
    assert [(t.name, tuple(t.shape), t.dtype.name) for t in found] == [("x", SHAPE, "FLOAT"), ("y", SHAPE, "UINT8")]


def test_networks_are_strongly_typed(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Relu", "h", "y")]
    graph = graph_of(tmp_path, nodes, output=TensorProto.FLOAT16)
    network = network_from_onnx(rtx(), graph, graph.path.read_bytes()).network
    assert network.get_flag(rtx().trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert network.get_layer(network.num_layers - 1).get_output(0).dtype == rtx().trt.DataType.HALF


def test_an_operation_that_the_parser_lacks_is_named(tmp_path: Path) -> None:
    deform = node("DeformConv", "x", "w", "x_offset", "y")
    graph = graph_of(
        tmp_path, [deform], {"w": kernel(), "x_offset": np.zeros((1, 18, 6, 6), np.float32)}, shape=(1, 3, 6, 6)
    )
    assert "node my_deformconv (DeformConv): Plugin not found" in refuse(graph)


def test_mixed_types_are_named(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Add", "x", "h", "y")])
    message = refuse(graph)
    assert "my_add" in message
    assert "Float and Half" in message
    assert "driver" not in message


def test_a_cast_to_uint8_that_is_not_the_last_node(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "u", to=TensorProto.UINT8), node("Transpose", "u", "y", perm=[0, 2, 3, 1])]
    message = refuse(graph_of(tmp_path, nodes, shape=(1, 8, 8, 3), output=TensorProto.UINT8))
    assert "my_cast" in message
    assert "last node" in message


@pytest.mark.parametrize("content", [b"not a graph" * 9, None])
def test_a_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    graph = graph_of(tmp_path, [node("Conv", "x", "w", "y", pads=[1] * 4)], {"w": kernel()})
    whole = graph.path.read_bytes()
    graph.path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert "damaged; export the bundle again" in refuse(graph)


def test_an_empty_file_has_no_tensors(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [node("Relu", "x", "y")])
    graph.path.write_bytes(b"")
    assert "inputs x" in refuse(graph)


def test_tensors_other_than_the_manifests_are_refused(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, [node("Relu", "x", "y")])
    fp16 = {"y": TensorSpec("y", SHAPE, np.dtype(np.float16))}
    message = refuse(GraphSpec("net", graph.path, graph.inputs, fp16))
    assert "outputs y" in message
    assert "float32" in message
    assert "float16" in message
