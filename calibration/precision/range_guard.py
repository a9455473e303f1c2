"""Range guard: finds tensors that would overflow in FP16.

It measures their ranges in FP32, since ONNX Runtime's CPU provider computes FP16 in FP32 and does not overflow.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, inlined, with_extremes
from hidenerf.export.custom_ops import DOMAIN
from hidenerf.export.passes.base import FP16, apply_passes
from hidenerf.export.passes.fp16 import BEFORE_CAST, LARGEST_FP16, boundary_type
from hidenerf.export.precision import planned_passes
from hidenerf.runtime.errors import HideNerfError

# Other sources and motions than those of the calibration may reach twice the range.
MARGIN = 2.0
LIMIT = LARGEST_FP16 / MARGIN
SMALLEST_NORMAL = 2.0**-14


@dataclass(frozen=True)
class TensorRange:
    """The largest absolute value of a tensor over all calibration frames, and the name of the node that makes it."""

    tensor: str
    node: str
    max_abs: float


@dataclass(frozen=True)
class Overflow:
    """A node that must compute in FP32 because `tensor`, which it makes or reads, exceeds `LIMIT`."""

    node: str
    tensor: str
    max_abs: float


@dataclass(frozen=True)
class GuardResult:
    """What the guard found in one graph.

    tensors: how many are FP16. largest: the one of the largest range within the limit. subnormal: those whose values
    are all subnormal in FP16 and lose precision. overflows: nodes that must stay FP32.
    """

    tensors: int
    largest: TensorRange
    subnormal: list[TensorRange]
    overflows: list[Overflow]


def fp16_tensors(model: ir.Model) -> list[str]:
    """Names of the FP32 model's tensors, those of custom ops' bodies included, that are FP16 in the FP16 model.

    The types of the bodies' tensors come from ONNX's shape inference, which takes protobuf.
    """
    fp16 = ir.to_proto(inlined(apply_passes(model.clone(), planned_passes({}, ()))))
    del fp16.graph.value_info[:]
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(fp16, data_prop=True))
    types = {
        name.removesuffix(BEFORE_CAST): value.dtype
        for name, value in ir.convenience.create_value_mapping(typed.graph).items()
    }
    names = [value.name or "" for node in inlined(model).graph for value in node.outputs]
    return [name for name in names if types.get(name) == FP16]


def tensor_ranges(model: ir.Model, names: list[str], feeds: Iterable[Tensors]) -> list[TensorRange]:
    """Ranges of these tensors of an FP32 model over all feeds; infinite where a value is not finite."""
    whole = inlined(model)
    makers = {value.name: "an input" for value in whole.graph.inputs}
    makers |= {value.name: node.name or "" for node in whole.graph for value in node.outputs}
    session = Session(with_extremes(whole, names))
    largest = dict.fromkeys(names, 0.0)
    for feed in feeds:
        values = session.run(feed)
        for name in names:
            found = max(abs(float(values[f"{name}:max"])), abs(float(values[f"{name}:min"])))
            finite = np.isfinite(values[f"{name}:sum"])
            largest[name] = max(largest[name], found if finite else np.inf)
    return [TensorRange(name, makers[name], largest[name]) for name in names]


def guard(model: ir.Model, name: str, feeds: Iterable[Tensors]) -> GuardResult:
    """Check one FP32 graph on its inputs of every calibration frame.

    Errors: a tensor that is not finite in FP32, or one beyond the limit where no node of the graph can be kept in
    FP32: in a custom op, its reader's FP16 input, or passed from graph to graph.
    """
    ranges = tensor_ranges(model, fp16_tensors(model), feeds)
    overflows: dict[str, Overflow] = {}
    for found in ranges:
        if not np.isfinite(found.max_abs):
            raise HideNerfError(
                f"Tensor {found.tensor} of the graph {name} is not finite in FP32 already; check the checkpoint with "
                "hidenerf-parity."
            )
        if found.max_abs > LIMIT:
            for node in _nodes_around(model.graph, found, name):
                overflows.setdefault(node, Overflow(node, found.tensor, found.max_abs))
    inside = [found for found in ranges if found.max_abs <= LIMIT]
    subnormal = [found for found in inside if 0.0 < found.max_abs < SMALLEST_NORMAL]
    largest = max(inside, key=lambda found: found.max_abs, default=TensorRange("none", "none", 0.0))
    return GuardResult(len(ranges), largest, subnormal, list(overflows.values()))


def _nodes_around(graph: ir.Graph, found: TensorRange, name: str) -> list[str]:
    value = ir.convenience.create_value_mapping(graph).get(found.tensor)
    around = [node for node in graph if value is not None and value in (*node.outputs, *node.inputs)]
    passed = value in graph.outputs and boundary_type(found.tensor) == FP16
    if passed or not around or any(node.domain == DOMAIN for node in around):
        raise HideNerfError(
            f"Tensor {found.tensor} of the graph {name} reaches {found.max_abs:g}, and FP16 holds {LARGEST_FP16:g} "
            f"(margin {MARGIN:g}), where no node can stay in FP32; export FP32, without a plan."
        )
    return [node.name or "" for node in around]
