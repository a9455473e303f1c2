"""The names that the builder takes from TensorRT's Python module."""

import ast
from pathlib import Path

from hidenerf.export.engines.recipe import RECIPES

CHECKOUT = Path(__file__).resolve().parents[2]
# What is called on objects whose class no source line names.
MEMBERS = (
    *(f"Builder.{name}" for name in ("create_network", "create_builder_config", "build_serialized_network")),
    *(f"INetworkDefinition.{name}" for name in ("num_inputs", "get_input", "num_outputs", "get_output")),
    *("INetworkDefinition.num_layers", "INetworkDefinition.get_layer"),
    *(f"OnnxParser.{name}" for name in ("parse", "num_errors", "get_error")),
    *(f"ParserError.{name}" for name in ("desc", "node_name", "node_operator")),
    *(f"ILayer.{name}" for name in ("name", "type", "num_inputs", "num_outputs", "get_input", "get_output")),
    *(f"ITensor.{name}" for name in ("name", "shape", "dtype")),
    *("IBuilderConfig.clear_flag", "IBuilderConfig.set_flag", "IBuilderConfig.plugins_to_serialize"),
    *("IBuilderConfig.progress_monitor", "IBuilderConfig.profiling_verbosity"),
    *(f"IBuilderConfig.{name}_timing_cache" for name in ("create", "set", "get")),
    "ITimingCache.serialize",
    *("Builder.get_plugin_registry", "IPluginRegistry.load_library", "LayerType.PLUGIN_V3"),
    *("Runtime.engine_host_code_allowed", "Runtime.deserialize_cuda_engine"),
    *("IProgressMonitor.phase_start", "IProgressMonitor.step_complete", "IProgressMonitor.phase_finish"),
    *(f"LayerType.{name}" for name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "DEQUANTIZE")),
    *(f"DataType.{name}" for name in ("FLOAT", "HALF", "BF16", "INT8", "FP8", "UINT8", "INT32", "INT64", "BOOL")),
)


def names_in_the_sources() -> set[str]:
    """Every `trt.A.B` of the builder's modules as "A.B"."""
    found = set()
    for path in (CHECKOUT / "export" / "engines").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            chain = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            head, _, tail = chain.removeprefix("library.").partition(".")
            if head == "trt" and tail.replace(".", "").replace("_", "").isalnum():
                found.add(tail)
    return found


def names_in_the_recipe(generation: str) -> set[str]:
    """The members of enumerations that a generation's recipe sets or clears."""
    recipe = RECIPES[generation]
    names = {f"NetworkDefinitionCreationFlag.{name.upper()}" for name in recipe.network}
    flags = *recipe.builder, *recipe.by_precision.values(), *recipe.constraints.values()
    names |= {f"BuilderFlag.{name.upper()}" for name in flags}
    return names | {f"ProfilingVerbosity.{recipe.profiling_verbosity}"}
