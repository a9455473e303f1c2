"""The graph as each generation's parser reads it."""

from pathlib import Path

import onnx
import pytest

from hidenerf.export.engines.onnx_file import for_parser, node_names, tensor_types, without_functions
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.generations import GENERATIONS, TENSORRT_8_6, Generation
from tests.support.networks import convolution

NEWER = [generation for generation in GENERATIONS if generation is not TENSORRT_8_6]


@pytest.mark.parametrize("generation", NEWER, ids=lambda generation: generation.name)
def test_newer_parsers_read_the_bundle_s_graph(bundle_fp16: Path, generation: Generation) -> None:
    content = open_bundle(bundle_fp16).graphs["source_encoder"].path.read_bytes()
    assert for_parser(content, "net", generation, plugin=False) == content
    assert for_parser(content, "net", generation, plugin=True) == without_functions(content)


@pytest.mark.parametrize("plugin", [False, True])
@pytest.mark.parametrize("name", ["source_encoder", "led", "renderer_refiner"])
def test_the_type_of_every_tensor_that_8_6_reads_is_known(bundle_fp16: Path, name: str, plugin: bool) -> None:
    """Also of what our own nodes give; FP32 islands are among them."""
    content = for_parser(open_bundle(bundle_fp16).graphs[name].path.read_bytes(), name, TENSORRT_8_6, plugin)
    model = onnx.load_model_from_string(content)
    types, nodes = tensor_types(model), model.graph.node
    given = {output for node in nodes for output in node.output if output}
    assert given <= types.keys()
    assert {"FP16", "FP32"} <= {types[output] for output in given}
    for node in nodes:
        if node.op_type == "Cast":
            kind = next(one.i for one in node.attribute if one.name == "to")
            expected = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.FLOAT16: "FP16"}.get(kind)
            assert expected in (None, types[node.output[0]])


@pytest.mark.parametrize("plugin", [False, True])
def test_8_6_reads_opset_17_and_no_functions(bundle_fp16: Path, plugin: bool) -> None:
    content = open_bundle(bundle_fp16).graphs["source_encoder"].path.read_bytes()
    model = onnx.load_model_from_string(for_parser(content, "net", TENSORRT_8_6, plugin))
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == TENSORRT_8_6.newest_opset
    assert not model.functions
    assert any(node.op_type == "GridSample3d" for node in model.graph.node) == plugin
    assert node_names(model.SerializeToString()) == [(node.name, node.op_type) for node in model.graph.node]


def test_the_same_graph_gives_the_same_bytes(bundle_fp16: Path) -> None:
    """On which a timing cache, and whoever compares engines, rely."""
    content = open_bundle(bundle_fp16).graphs["renderer_refiner"].path.read_bytes()
    first, second = (for_parser(content, "net", TENSORRT_8_6, plugin=False) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("content", [b"not a graph" * 9, None])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    whole = convolution(tmp_path).path.read_bytes()
    with pytest.raises(HideNerfError, match=r"^net: the file is damaged; export the bundle again\.$"):
        for_parser(whole[: len(whole) // 2] if content is None else content, "net", TENSORRT_8_6, plugin=False)


def test_what_opset_17_cannot_say_names_the_graph(tmp_path: Path) -> None:
    model = onnx.load(convolution(tmp_path).path)
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Gelu", ["x"], ["y"], name="gelu"))
    with pytest.raises(HideNerfError, match=r"^net: Node gelu \(Gelu\) cannot be written in opset 17"):
        for_parser(model.SerializeToString(), "net", TENSORRT_8_6, plugin=False)
