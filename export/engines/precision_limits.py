"""`limit_precisions`: the layers of a weakly typed network (TensorRT 8.6) held to the precisions of the ONNX file.

With the flag FP16 the builder may compute any layer in FP16, coordinates too. A limit on a layer's arithmetic and its
outputs, together with OBEY_PRECISION_CONSTRAINTS, keeps it to the type that the file gives it. That is what a strongly
typed network does from TensorRT 10 on.
"""

from typing import Any

from hidenerf.export.engines.audit import INTEGER_PRECISIONS, UNLIMITED, audit_layers

LIMITS = {"FP32": "FLOAT", "FP16": "HALF"}


def limit_precisions(network: Any, trt: Any) -> None:
    """Hold every layer with arithmetic to the type of its outputs, in place.

    A product of two quantised factors is left to the builder, which may compute it in 8 bits only then.

    network: as it was parsed, an `INetworkDefinition`. trt: the library's module.
    """
    for index, audited in enumerate(audit_layers(network)):
        types = {name for name in audited.outputs if name in LIMITS}
        if audited.type in UNLIMITED or audited.precision in INTEGER_PRECISIONS or len(types) != 1:
            continue
        layer, limit = network.get_layer(index), getattr(trt.DataType, LIMITS[types.pop()])
        layer.precision = limit
        for output, name in enumerate(audited.outputs):
            if name in LIMITS:
                layer.set_output_type(output, limit)
