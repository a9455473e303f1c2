"""trtexec's command lines, which build a bundle's plans as `hidenerf-export --backend tensorrt` does, without Python.

The flags come from the generation's recipe (`recipe.py`), and the graphs are those that its parser reads, which for
TensorRT 8.6 are not the bundle's own. What trtexec takes was read in its source, of 8.6.0, 10.12 and 11.1
(samples/common/sampleOptions.cpp).
"""

import re
import shlex
from collections.abc import Container, Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from hidenerf.export.engines.onnx_file import for_parser, has_plugin_nodes, tensor_types
from hidenerf.export.engines.plugin import find_plugin
from hidenerf.export.engines.precision_limits import LIMITS
from hidenerf.export.engines.recipe import RECIPES, Recipe
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.generations import Generation, generation_of

# The recipe's flags, set or cleared, in trtexec's words; none where trtexec does so by itself.
WORDS: Mapping[tuple[str, bool], tuple[str, ...]] = {
    ("strongly_typed", True): ("--stronglyTyped",),
    ("explicit_batch", True): (),
    ("tf32", False): ("--noTF32",),
    ("version_compatible", False): (),
    ("obey_precision_constraints", True): ("--precisionConstraints=obey",),
    ("prefer_precision_constraints", True): ("--precisionConstraints=prefer",),
    ("fp16", True): ("--fp16",),
    ("int8", True): ("--int8",),
}
TACTIC_SOURCES = ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
# As `audit.UNLIMITED` has it of a network's layers.
UNLIMITED = {"Cast", "Constant", "DequantizeLinear", "Identity", "QuantizeLinear", "Shape"}
# Nodes that become layers of `precision_limits.BY_OUTPUTS`.
BY_OUTPUTS = {"Add", "Concat", "Div", "Expand", "Gather", "Max", "Min", "Mul", "Pad", "Pow", "Reshape", "Slice"}
BY_OUTPUTS |= {"DepthToSpace", "Flatten", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze"}


def trtexec_flags(recipe: Recipe, graph: str, precisions: Container[str]) -> list[str]:
    """The recipe in trtexec's words. graph: its name. precisions: those of the network, such as "FP16"."""
    flags = dict.fromkeys(recipe.network, True) | recipe.builder_flags(precisions)
    words = [word for flag in flags.items() for word in WORDS[flag]]
    if recipe.no_tactic_sources:
        words.append("--tacticSources=" + ",".join(f"-{name}" for name in TACTIC_SOURCES))
    if graph in recipe.levels:
        words.append(f"--builderOptimizationLevel={recipe.levels[graph]}")
    return [*words, f"--profilingVerbosity={recipe.profiling_verbosity.lower()}"]


def plugin_flags(plugin: Path | str) -> list[str]:
    """What lets trtexec use our plugin's library, and carry it in the plan."""
    return [f"--dynamicPlugins={plugin}", f"--setPluginsToSerialize={plugin}"]


def layer_output_types(model: onnx.ModelProto) -> dict[str, str]:
    """The type of each node's results, "fp32" or "fp16", by the node's name, where it has one type and arithmetic.

    Layers are named after nodes. As in `limit_precisions`, a product of two quantised factors is left to the builder.
    What the parser adds beside a node's own layer has no name here, so `hidenerf-export` limits more.
    """
    types = {name: kind.lower() for name, kind in tensor_types(model).items() if kind in LIMITS}
    graph = model.graph
    quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = {}
    for node in graph.node:
        if node.op_type in UNLIMITED or node.domain or len(quantised.intersection(node.input[:2])) == 2:
            continue
        of_node = {types.get(name) for name in node.output if name}
        if len(of_node) == 1 and (precision := of_node.pop()) is not None:
            found[node.name] = precision
    return found


def layer_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """The type of each node's arithmetic, "fp32" or "fp16", by the node's name, where it is limited, too."""
    operators = {node.name: node.op_type for node in model.graph.node}
    return {name: kind for name, kind in layer_output_types(model).items() if operators[name] not in BY_OUTPUTS}


def network_precisions(model: onnx.ModelProto) -> set[str]:
    """ "FP16" and "INT8", as far as a graph computes in them."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    half = any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in values)
    quantised = any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    return ({"FP16"} if half else set()) | ({"INT8"} if quantised else set())


def trtexec_command(graph: Path, content: bytes, generation: Generation, plugin: Path | None) -> list[str]:
    """The command that builds the plan of a graph beside its file.

    graph: the file. content: its bytes, as the generation's parser reads them. plugin: the library, if nodes are its.
    """
    model = onnx.load_model_from_string(content)
    command = ["trtexec", f"--onnx={graph}", f"--saveEngine={graph.with_suffix('.plan')}"]
    command += trtexec_flags(RECIPES[generation.name], graph.stem, network_precisions(model))
    if not generation.strongly_typed:
        limits = {"layerPrecisions": layer_precisions(model), "layerOutputTypes": layer_output_types(model)}
        for flag, kinds in limits.items():
            command.append(f"--{flag}=" + ",".join(f"{name}:{kind}" for name, kind in kinds.items()))
    return [*command, *([] if plugin is None else plugin_flags(plugin)), "--skipInference"]


def write_for_trtexec(bundle: Bundle, version: str, folder: Path) -> list[str]:
    """Write a bundle's graphs as TensorRT's parser reads them. Returns trtexec's command for each, as a shell takes it.

    bundle: its plans go into the same folder, smallest graph first.
    version: of the TensorRT that trtexec belongs to, such as "8.6" or "10.12.0".
    folder: for the graphs.
    Errors: a version that hidenerf does not run on, those of `find_plugin` and `for_parser`, a folder that cannot be
    written.
    """
    if not re.fullmatch(r"\d+\.\d+(\.\d+)*", version):
        raise HideNerfError(f"--trtexec {version}: give TensorRT's version, such as 8.6 or 10.12.0.")
    try:
        generation = generation_of("tensorrt", version)
    except HideNerfError as error:
        raise HideNerfError(f"{error}.") from None
    contents = {name: graph.path.read_bytes() for name, graph in bundle.graphs.items()}
    plugin = None
    if any(map(has_plugin_nodes, contents.values())):
        plugin = find_plugin([RendererSizes.of_model(bundle.manifest.model.config)], version)
    commands = []
    for name, content in sorted(contents.items(), key=lambda item: len(item[1])):
        own = plugin if has_plugin_nodes(content) else None
        parsed = for_parser(content, name, generation, own is not None)
        path = folder / f"{name}.onnx"
        with atomic_path(path) as partial:
            partial.write_bytes(parsed)
        commands.append(shlex.join(trtexec_command(path, parsed, generation, own)))
    return commands
