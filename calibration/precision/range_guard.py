"""Would any tensor overflow in FP16? Found from FP32 ranges: ONNX Runtime's CPU computes FP16 in FP32."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto

from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, with_extremes
from hidenerf.export.passes.custom_ops import DOMAIN, attach_functions
from hidenerf.export.passes.half_precision import LARGEST_HALF, boundary_type, to_half
from hidenerf.runtime.errors import HideNerfError

# Motions and sources other than the calibration's may reach twice as far.
MARGIN = 2.0
LIMIT = LARGEST_HALF / MARGIN
SMALLEST_NORMAL = 2.0**-14


@dataclass(frozen=True)
class TensorRange:
    """The largest absolute value of a tensor over all calibration frames, and the name of the node that makes it."""

    tensor: str
    node: str
    max_abs: float


@dataclass(frozen=True)
class Overflow:
    """A node that must compute in FP32, since `tensor`, which it makes or reads, is beyond `LIMIT`."""

    node: str
    tensor: str
    max_abs: float


@dataclass(frozen=True)
class GuardResult:
    """Of one graph. largest: of the tensors that FP16 holds. subnormal: those whose every value loses precision."""

    tensors: int
    largest: TensorRange
    subnormal: list[TensorRange]
    overflows: list[Overflow]


def half_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of the FP32 model's tensors, those of custom ops' bodies included, that are FP16 in the FP16 model."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    to_half(half)
    attach_functions(half)
    inlined = onnx.inliner.inline_local_functions(half)
    del inlined.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(inlined, data_prop=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output, *graph.value_info]}
    types = {name.removesuffix("_before_cast"): kind for name, kind in types.items()}
    made = [name for node in onnx.inliner.inline_local_functions(model).graph.node for name in node.output]
    return [name for name in made if types.get(name) == TensorProto.FLOAT16]


def tensor_ranges(model: onnx.ModelProto, names: list[str], feeds: Iterable[Tensors]) -> list[TensorRange]:
    """Ranges of these tensors of an FP32 model over all feeds; infinite where a value is not finite."""
    inlined = onnx.inliner.inline_local_functions(model)
    makers = {value.name: "an input" for value in inlined.graph.input}
    makers |= {name: node.name for node in inlined.graph.node for name in node.output}
    session = Session(with_extremes(inlined, names))
    largest = dict.fromkeys(names, 0.0)
    for feed in feeds:
        values = session.run(feed)
        for name in names:
            found = max(abs(float(values[f"{name}:max"])), abs(float(values[f"{name}:min"])))
            finite = np.isfinite(values[f"{name}:sum"])
            largest[name] = max(largest[name], found if finite else np.inf)
    return [TensorRange(name, makers[name], largest[name]) for name in names]


def guard(model: onnx.ModelProto, name: str, feeds: Iterable[Tensors]) -> GuardResult:
    """Check one FP32 graph on its inputs of every calibration frame.

    Errors: a tensor that is not finite in FP32, or one beyond the limit where no node of the graph can be kept in
    FP32: in a custom op, its reader's FP16 input, or passed from graph to graph.
    """
    ranges = tensor_ranges(model, half_tensors(model), feeds)
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


def _nodes_around(graph: onnx.GraphProto, found: TensorRange, name: str) -> list[str]:
    around = [node for node in graph.node if found.tensor in node.output or found.tensor in node.input]
    passed = any(value.name == found.tensor for value in graph.output)
    passed = passed and boundary_type(found.tensor) == TensorProto.FLOAT16
    if passed or not around or any(node.domain == DOMAIN for node in around):
        raise HideNerfError(
            f"Tensor {found.tensor} of the graph {name} reaches {found.max_abs:g}, and FP16 holds {LARGEST_HALF:g} "
            f"(margin {MARGIN:g}), where no node can stay in FP32; export FP32, without a plan."
        )
    return [node.name for node in around]
