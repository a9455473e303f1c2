"""Questions of the builder about the bytes of an ONNX file, and the graph as a library's parser reads it."""

import onnx
import onnx_ir as ir

from hidenerf.export.engines.plugin import NAMESPACE
from hidenerf.export.passes.opset17 import OPSET, Opset17
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.generations import Generation

# Names of types in ONNX, and ours where these differ.
_TYPES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16"}


def has_plugin_nodes(content: bytes) -> bool:
    """Whether nodes of a graph name the namespace of our plugins (`custom_ops.PLUGIN_ATTRIBUTES`)."""
    return b"plugin_namespace" in content and NAMESPACE.encode() in content


def without_functions(content: bytes) -> bytes:
    """A model without its local functions, so that our custom ops have no body."""
    model = onnx.load_model_from_string(content)
    del model.functions[:]
    return bytes(model.SerializeToString())


def for_parser(content: bytes, graph: str, generation: Generation, plugin: bool) -> bytes:
    """The bytes that a generation's parser reads of a graph.

    content: of the bundle's file.
    graph: its name, for errors.
    plugin: whether our plugin takes its nodes, which then have no body: the parsers of TensorRT 10.0 and 10.1 prefer a
        body to a plugin.
    Errors: a graph that the generation's opset cannot express.
    """
    if generation.newest_opset is None:
        return without_functions(content) if plugin else content
    assert generation.newest_opset == OPSET
    try:
        model = ir.from_proto(onnx.load_model_from_string(content))
    except Exception:  # protobuf's own
        raise HideNerfError(f"{graph}: the file is damaged; export the bundle again.") from None
    try:
        return bytes(ir.to_proto(Opset17(plugin)(model)).SerializeToString())
    except HideNerfError as error:
        raise HideNerfError(f"{graph}: {error}") from None


def tensor_types(model: onnx.ModelProto) -> dict[str, str]:
    """Type of every tensor of a model by name: "FP32", "FP16" and others, as the audit names them."""
    # What our own nodes give is in the file; what stood in their bodies, and what passes added, is inferred.
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {one.name: one.data_type for one in graph.initializer}
    known |= {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.value_info, *graph.output)}
    names = {name: onnx.TensorProto.DataType.Name(kind) for name, kind in known.items()}
    return {name: _TYPES.get(kind, kind) for name, kind in names.items()}


def node_names(content: bytes) -> list[tuple[str, str]]:
    """Name and operator of every node of a graph, in order."""
    return [(node.name, node.op_type) for node in onnx.load_model_from_string(content).graph.node]
