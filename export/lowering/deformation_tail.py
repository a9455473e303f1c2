"""The end of LED's graph, maximum·tanh(head) in FP32: the output `deformation` (`launch_plan.TanhPlanes`)."""

from dataclasses import dataclass

import numpy as np
import onnx

from hidenerf.export.lowering.chain import Chain
from hidenerf.export.lowering.onnx_view import LoweringError, OnnxView

DEFORMATION = "deformation"


@dataclass(frozen=True)
class DeformationTail:
    """What the tail reads, by the name of an ONNX value; its factor; and the names of its nodes' outputs."""

    head: str
    maximum: float
    nodes: frozenset[str]


def find_deformation_tail(view: OnnxView) -> DeformationTail:
    """The tail of a graph `led`. Errors: `LoweringError`, it ends in another way."""
    if view.outputs != [DEFORMATION]:
        raise LoweringError(f"the outputs are {', '.join(view.outputs)} and not {DEFORMATION}")
    if view.dtype(DEFORMATION) != np.float32:
        raise LoweringError("the deformation is not FP32")
    chain = Chain(view)
    bounded, factor = chain.node(DEFORMATION, "Mul").input
    head = chain.through(chain.through(bounded, "Tanh"), "Cast", to=onnx.TensorProto.FLOAT)
    return DeformationTail(head, chain.number(factor), frozenset(chain.passed))
