"""trtexec's command lines: the recipes in its words, as the documents have them, and each node's precision."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hidenerf.export.engines.audit import UNLIMITED, audit_layers
from hidenerf.export.engines.onnx_file import for_parser, without_functions
from hidenerf.export.engines.plugin import VARIABLE
from hidenerf.export.engines.precision_limits import BY_OUTPUTS
from hidenerf.export.engines.recipe import RECIPES, Recipe
from hidenerf.export.engines.trtexec import (
    layer_output_types,
    layer_precisions,
    network_precisions,
    plugin_flags,
    trtexec_command,
    trtexec_flags,
    write_for_trtexec,
)
from hidenerf.runtime.bundle import GRAPH_NAMES, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.generations import TENSORRT_8_6, TENSORRT_10
from tests.support.networks import rtx

DOCS = Path(__file__).resolve().parents[3] / "docs"
TYPED = "--stronglyTyped --noTF32 --profilingVerbosity=detailed"
LIMITED = (
    "--noTF32 --precisionConstraints=obey --fp16 --tacticSources="
    "-CUBLAS,-CUBLAS_LT,-CUDNN,-EDGE_MASK_CONVOLUTIONS,-JIT_CONVOLUTIONS --profilingVerbosity=detailed"
)


@pytest.mark.parametrize(("generation", "flags"), [("8.6", LIMITED), ("10", TYPED), ("11", TYPED)])
def test_flags_are_the_recipe_s_and_the_documents(generation: str, flags: str) -> None:
    assert " ".join(trtexec_flags(RECIPES[generation], "led", {"FP16"})) == flags
    page = (DOCS / "engines.md").read_text(encoding="utf-8")
    assert f"`{flags}`" in page
    level = sorted(set(trtexec_flags(RECIPES[generation], "source_encoder", {"FP16"})) - set(flags.split()))
    assert level == (["--builderOptimizationLevel=1"] if generation == "8.6" else [])
    assert all(f"`{word}`" in page for word in level)
    assert f"`{' '.join(plugin_flags('libhidenerf_plugin.so'))}`" in page


def test_precisions_that_a_network_lacks_are_not_allowed() -> None:
    flags = trtexec_flags(RECIPES["8.6"], "led", {"INT8"})
    assert "--int8" in flags
    assert "--fp16" not in flags
    assert "--precisionConstraints=prefer" in flags


def test_a_flag_without_words_is_noticed() -> None:
    """So that a new one gets them."""
    with pytest.raises(KeyError, match="new_flag"):
        trtexec_flags(Recipe(builder={"new_flag": True}), "led", set())


def graph_for_8_6(bundle: Path, name: str, plugin: bool) -> bytes:
    return for_parser(open_bundle(bundle).graphs[name].path.read_bytes(), name, TENSORRT_8_6, plugin)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_layers_have_the_names_and_types_that_a_parser_gives(bundle_fp16: Path, name: str) -> None:
    """TensorRT-RTX's parser; that of 8.6 is an older one of the same project."""
    library = rtx()
    trt = library.trt
    content = graph_for_8_6(bundle_fp16, name, plugin=False)
    builder = trt.Builder(library.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, library.logger).parse(content), library.reason()
    parsed = {layer.name: layer for layer in audit_layers(network)}
    model = onnx.load_model_from_string(content)
    named, limited = layer_output_types(model), layer_precisions(model)
    assert {layer: parsed[layer].outputs for layer in named} == {
        layer: [kind.upper()] * len(parsed[layer].outputs) for layer, kind in named.items()
    }
    # Later parsers have layers of their own for what 8.6's makes a SHUFFLE of.
    shapes = BY_OUTPUTS | {"SQUEEZE", "UNSQUEEZE"}
    assert {layer for layer in named if parsed[layer].type not in shapes} == set(limited)
    assert {layer: named[layer] for layer in limited} == limited
    added = [layer for layer in parsed.values() if layer.name not in named and layer.type not in UNLIMITED]
    floating = [layer for layer in added if {"FP32", "FP16"}.intersection(layer.outputs)]
    # What the parser adds to a node's own layer.
    assert {layer.type for layer in floating if not layer.name.startswith("ONNXTRT_")} <= {"SLICE"}


def test_precisions_of_a_small_graph() -> None:
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    scale = onnx.numpy_helper.from_array(np.float32(1), "scale")
    weights = onnx.numpy_helper.from_array(np.ones((2, 2), np.int8), "weights")
    nodes = [
        node("QuantizeLinear", ["x", "scale"], ["q"], name="quantise"),
        node("DequantizeLinear", ["q", "scale"], ["d"], name="dequantise"),
        node("DequantizeLinear", ["weights", "scale"], ["w"], name="dequantise weights"),
        node("MatMul", ["d", "w"], ["product"], name="product"),
        node("Relu", ["product"], ["r"], name="relu"),
        node("Cast", ["r"], ["h"], name="cast", to=half),
        node("Neg", ["h"], ["n"], name="negative"),
        node("Transpose", ["n"], ["t"], name="transpose"),
        node("Ours", ["t"], ["y"], name="ours", domain="hidenerf"),
    ]
    graph = onnx.helper.make_graph(
        nodes, "net", [value("x", single, [2, 2])], [value("y", half, [2, 2])], [scale, weights]
    )
    opsets = [onnx.helper.make_opsetid(*one) for one in (("", 17), ("hidenerf", 1))]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    assert layer_output_types(model) == {"relu": "fp32", "negative": "fp16", "transpose": "fp16"}
    assert layer_precisions(model) == {"relu": "fp32", "negative": "fp16"}
    assert network_precisions(model) == {"FP16", "INT8"}


def test_the_command_of_each_generation(bundle_fp16: Path) -> None:
    path, plugin = Path("plans/led.onnx"), Path("libhidenerf_plugin.so")
    content = graph_for_8_6(bundle_fp16, "led", plugin=True)
    begin = ["trtexec", "--onnx=plans/led.onnx", "--saveEngine=plans/led.plan"]
    end = [*plugin_flags(plugin), "--skipInference"]
    *start, precisions, types, load, carry, last = trtexec_command(path, content, TENSORRT_8_6, plugin)
    assert start == [*begin, *LIMITED.split()]
    assert [load, carry, last] == end
    assert types.startswith("--layerOutputTypes=")
    assert types.endswith(",node_tanh:fp32,node_mul_5:fp32")
    assert ":fp16," in types
    # The product's arithmetic is not limited.
    assert precisions.startswith("--layerPrecisions=")
    assert precisions.endswith(",node_tanh:fp32")
    assert trtexec_command(path, content, TENSORRT_10, plugin) == [*begin, *TYPED.split(), *end]
    assert trtexec_command(path, content, TENSORRT_10, None) == [*begin, *TYPED.split(), "--skipInference"]


@pytest.mark.parametrize("version", ["8.6", "10.12.0.36"])
def test_graphs_are_written_beside_their_commands(
    bundle_fp16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv(VARIABLE, "none")
    folder = tmp_path / "with space"
    commands = write_for_trtexec(open_bundle(bundle_fp16), version, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.onnx" for name in GRAPH_NAMES)
    given = [shlex.split(command) for command in commands]
    assert [words[0] for words in given] == ["trtexec"] * 3
    assert {words[1] for words in given} == {f"--onnx={folder / name}.onnx" for name in GRAPH_NAMES}
    opsets = {entry.domain: entry.version for entry in onnx.load(folder / "led.onnx").opset_import}
    assert opsets[""] == (17 if version == "8.6" else 20)


def test_with_the_plugin_graphs_have_no_bodies(
    bundle_fp16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*_: Any) -> Path:
        return Path("plugin.so")

    monkeypatch.setattr("hidenerf.export.engines.trtexec.find_plugin", found)
    bundle = open_bundle(bundle_fp16)
    commands = write_for_trtexec(bundle, "10.12.0", tmp_path)
    carrying = [command for command in commands if "--setPluginsToSerialize=plugin.so" in command]
    assert len(carrying) == len(GRAPH_NAMES)
    content = bundle.graphs["renderer_refiner"].path.read_bytes()
    assert (tmp_path / "renderer_refiner.onnx").read_bytes() == without_functions(content)


@pytest.mark.parametrize(("version", "said"), [("9.1", "is not supported"), ("ten", "give TensorRT's version")])
def test_a_version_that_is_not_run_on_is_refused(bundle_fp16: Path, tmp_path: Path, version: str, said: str) -> None:
    with pytest.raises(HideNerfError, match=said):
        write_for_trtexec(open_bundle(bundle_fp16), version, tmp_path / "plans")
    assert not (tmp_path / "plans").exists()
