"""`limit_precisions`: the layers of a weakly typed network (TensorRT 8.6) held to the precisions of the ONNX file.

With the flag FP16 the builder may compute any layer in FP16, coordinates too. A limit on a layer's arithmetic and its
outputs, together with OBEY_PRECISION_CONSTRAINTS, keeps it to the type that the file gives it. That is what a strongly
typed network does from TensorRT 10 on. The types are the file's: a weakly typed network says FLOAT of all that lies
between its inputs and outputs.
"""

from collections.abc import Mapping
from typing import Any

from hidenerf.export.engines.audit import INTEGER_PRECISIONS, UNLIMITED, audit_layers

LIMITS = {"FP32": "FLOAT", "FP16": "HALF"}
# Of these only the outputs' types are limited; their arithmetic is of the type that they write. 8.6 compiles parts of
# them as a whole ("ForeignNode"), and fails if their arithmetic is limited, too ("Mismatched type for tensor").
BY_OUTPUTS = {"CONCATENATION", "ELEMENTWISE", "GATHER", "SHUFFLE", "SLICE"}


def limit_precisions(network: Any, trt: Any, types: Mapping[str, str]) -> None:
    """Hold every layer with arithmetic to the type of its outputs, in place.

    A product of two quantised factors is left to the builder, which may compute it in 8 bits only then. So are layers
    that the parser has added, whose outputs the file does not know.

    network: as it was parsed, an `INetworkDefinition`. trt: the library's module. types: of `onnx_file.tensor_types`.
    """
    for index, audited in enumerate(audit_layers(network, types)):
        held = {name for name in audited.outputs if name in LIMITS}
        if audited.type in UNLIMITED or audited.precision in INTEGER_PRECISIONS or len(held) != 1:
            continue
        layer, limit = network.get_layer(index), getattr(trt.DataType, LIMITS[held.pop()])
        if audited.type not in BY_OUTPUTS:
            layer.precision = limit
        for output, name in enumerate(audited.outputs):
            if name in LIMITS:
                layer.set_output_type(output, limit)
