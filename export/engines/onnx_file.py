"""Questions of the builder about the bytes of an ONNX file."""

import onnx

from hidenerf.export.engines.plugin import NAMESPACE


def has_plugin_nodes(content: bytes) -> bool:
    """Whether nodes of a graph name the namespace of our plugins (`custom_ops.PLUGIN_ATTRIBUTES`)."""
    return b"plugin_namespace" in content and NAMESPACE.encode() in content


def without_functions(content: bytes) -> bytes:
    """A model without its local functions, so that our custom ops have no body."""
    model = onnx.load_model_from_string(content)
    del model.functions[:]
    return bytes(model.SerializeToString())
