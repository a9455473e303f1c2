"""An FP32 graph in the precision of a plan: FP16, with the plan's FP32 islands and INT8 convolutions."""

from collections.abc import Collection, Mapping

import onnx

from hidenerf.export.passes.convolutions import convolutions
from hidenerf.export.passes.custom_ops import attach_functions
from hidenerf.export.passes.half_precision import to_half
from hidenerf.export.passes.quantisation import insert_int8


def to_planned(model: onnx.ModelProto, scales: Mapping[str, float], islands: Collection[str]) -> dict[str, int]:
    """Turn an FP32 model into the planned one in place, with the custom ops' bodies attached.

    scales: INT8 layer → scale of its activation. islands: nodes that stay FP32 besides those of the island rules.
    Returns how many nodes each rule kept in FP32. Errors: layers or nodes that the model has not.
    """
    layers = convolutions(model.graph)
    counts = to_half(model, islands)
    attach_functions(model)
    insert_int8(model, layers, scales)
    return counts
