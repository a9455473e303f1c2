"""What the builder asks of an ONNX file's bytes, so that it needs no package to read them."""

from hidenerf.export.plugin import NAMESPACE

# Field number of `functions` in onnx.proto's `ModelProto`.
_FUNCTIONS = 25
# Protobuf's wire types.
_VARINT, _EIGHT_BYTES, _LENGTH_FIRST, _FOUR_BYTES = 0, 1, 2, 5


def has_plugin_nodes(content: bytes) -> bool:
    """Whether nodes of a graph name our plugins' namespace (`custom_ops.PLUGIN_ATTRIBUTES`)."""
    return b"plugin_namespace" in content and NAMESPACE.encode() in content


def without_functions(content: bytes) -> bytes:
    """A model without its local functions, so that nodes of ours have no body; what is no model stays as it is."""
    kept, at = bytearray(), 0
    try:
        while at < len(content):
            start = at
            key, at = _varint(content, at)
            wire = key & 7
            if wire == _VARINT:
                _, at = _varint(content, at)
            elif wire == _LENGTH_FIRST:
                length, at = _varint(content, at)
                at += length
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                at += 4 if wire == _FOUR_BYTES else 8
            else:
                return content
            if key >> 3 != _FUNCTIONS:
                kept += content[start:at]
    except IndexError:
        return content
    return bytes(kept)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Protobuf's number at `at`, seven bits a byte with the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
