"""`network_from_onnx`: from an ONNX graph to a TensorRT network whose precisions are the file's.

The network is strongly typed, or, in TensorRT 8.6, each of its layers is held to the type that it has in the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from hidenerf.export.engines.onnx_file import for_parser, node_names, tensor_types
from hidenerf.export.engines.precision_limits import limit_precisions
from hidenerf.export.engines.recipe import recipe_of
from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.messages import EXPORT_AGAIN, WITHOUT_PLUGIN, parser_refusal, plugin_refusal

# TensorRT's names of types, and NumPy's where these differ.
DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class ParsedNetwork:
    """A network, with the builder and the parser that own what it refers to.

    types: of the tensors by name, where the network is weakly typed and does not know them.
    """

    builder: Any
    network: Any
    parser: Any
    types: dict[str, str] | None = None


def network_from_onnx(library: Library, graph: GraphSpec, content: bytes, plugin: Path | None = None) -> ParsedNetwork:
    """Parse a graph.

    library: whose parser to use.
    graph: its tensors must be the network's.
    content: the bytes of the graph's file.
    plugin: the library of our plugins, which then take their nodes.
    Errors: what the parser or the plugin refuses, a plugin that does not load, tensors other than the manifest's.
    """
    trt = library.trt
    library.logger.errors.clear()
    builder = trt.Builder(library.logger)
    generation = library.generation
    content = for_parser(content, graph.name, generation, plugin is not None)
    if plugin is not None and builder.get_plugin_registry().load_library(str(plugin)) is None:
        raise HideNerfError(
            f"{plugin}: {library.title} does not load this plugin ({library.reason()}); build it for this TensorRT "
            f"as docs/plugin.md says and name it in HIDENERF_PLUGIN, or {WITHOUT_PLUGIN}."
        )
    network = builder.create_network(recipe_of(library).network_bits(trt))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(content):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if refused := plugin_refusal(graph.name, library.logger.errors):
            raise HideNerfError(refused)
        nodes = [] if generation.parser_names_nodes else node_names(content)
        refusal = parser_refusal(errors, lambda error: generation.failing_node(error, nodes))
        raise HideNerfError(f"{graph.name}: {library.title} cannot read the graph: {refusal}")
    _require_tensors(graph, network)
    types = None
    if not generation.strongly_typed:
        types = tensor_types(onnx.load_model_from_string(content))
        limit_precisions(network, trt, types)
    return ParsedNetwork(builder, network, parser, types)


def _require_tensors(graph: GraphSpec, network: Any) -> None:
    """A `HideNerfError` unless the network's inputs and outputs are the manifest's."""
    found_inputs = [network.get_input(index) for index in range(network.num_inputs)]
    found_outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for kind, found, specified in (("inputs", found_inputs, graph.inputs), ("outputs", found_outputs, graph.outputs)):
        expected = {spec.name: (list(spec.shape), spec.dtype.name) for spec in specified.values()}
        actual = {t.name: (list(t.shape), DTYPES.get(t.dtype.name, t.dtype.name.lower())) for t in found}
        if actual != expected:
            wrong = sorted(name for name in {*actual, *expected} if actual.get(name) != expected.get(name))
            there, specified_there = ([tensors.get(name) for name in wrong] for tensors in (actual, expected))
            raise HideNerfError(
                f"{graph.name}: its {kind} {', '.join(wrong)} are not as the manifest says ({there}, not "
                f"{specified_there}); {EXPORT_AGAIN}."
            )
