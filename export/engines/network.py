"""ONNX graph → TensorRT network, strongly typed: precisions are those of the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.export.engines.audit import Tensor, tensors
from hidenerf.export.engines.onnx_file import without_functions
from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.messages import EXPORT_AGAIN, WITHOUT_PLUGIN, parser_refusal, plugin_refusal


@dataclass(frozen=True)
class ParsedNetwork:
    """parser and builder own what the network refers to, and live as long as it."""

    builder: Any
    network: Any
    parser: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


def network_from_onnx(library: Library, graph: GraphSpec, content: bytes, plugin: Path | None = None) -> ParsedNetwork:
    """Parse a graph's file. plugin: the library of our plugins, which then take their nodes.

    Errors: what the parser or the plugin refuses, a plugin that does not load, tensors other than the manifest's.
    """
    trt = library.trt
    library.logger.errors.clear()
    builder = trt.Builder(library.logger)
    if plugin is not None:
        # The parsers of TensorRT 10.0 and 10.1 take a node's function body before any plugin.
        content = without_functions(content)
        if builder.get_plugin_registry().load_library(str(plugin)) is None:
            raise HideNerfError(
                f"{plugin}: {library.title} does not load this plugin ({library.reason()}); build it for this TensorRT "
                f"as docs/plugin.md says and name it in HIDENERF_PLUGIN, or {WITHOUT_PLUGIN}."
            )
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(content):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if refused := plugin_refusal(graph.name, library.logger.errors):
            raise HideNerfError(refused)
        raise HideNerfError(f"{graph.name}: {library.title} cannot read the graph: {parser_refusal(errors)}")
    inputs = tensors(network.num_inputs, network.get_input)
    outputs = tensors(network.num_outputs, network.get_output)
    _require_same(graph, inputs, outputs)
    return ParsedNetwork(builder, network, parser, inputs, outputs)


def _require_same(graph: GraphSpec, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    for kind, found, specified in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        expected = {spec.name: (list(spec.shape), spec.dtype.name) for spec in specified.values()}
        actual = {tensor.name: (tensor.shape, tensor.dtype) for tensor in found}
        if actual != expected:
            wrong = sorted(name for name in {*actual, *expected} if actual.get(name) != expected.get(name))
            there, wanted = ([tensors.get(name) for name in wrong] for tensors in (actual, expected))
            raise HideNerfError(
                f"{graph.name}: its {kind} {', '.join(wrong)} are not as the manifest says ({there}, not {wanted}); "
                f"{EXPORT_AGAIN}."
            )
