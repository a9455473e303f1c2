"""What the builder asks of an ONNX file's bytes."""

import onnx

from hidenerf.export.engines.plugin import NAMESPACE


def has_plugin_nodes(content: bytes) -> bool:
    """Whether nodes of a graph name our plugins' namespace (`custom_ops.PLUGIN_ATTRIBUTES`)."""
    return b"plugin_namespace" in content and NAMESPACE.encode() in content


def without_functions(content: bytes) -> bytes:
    """A model without its local functions, so that nodes of ours have no body."""
    model = onnx.load_model_from_string(content)
    del model.functions[:]
    return bytes(model.SerializeToString())
