"""Precision of a bundle: FP32, FP16 or a precision plan, and the graph passes that give a graph that precision.

This is the one place where passes are put in order.
"""

from collections.abc import Collection, Mapping
from enum import Enum

from hidenerf.export.passes.base import Pass
from hidenerf.export.passes.fp16 import Fp16
from hidenerf.export.passes.function_bodies import FunctionBodies
from hidenerf.export.passes.quantisation import Int8Convolutions
from hidenerf.export.precision_plan import PrecisionPlan

# The graph `refiner` has the convolutions of `renderer_refiner` under the same layer names.
PLANNED_GRAPH = {"refiner": "renderer_refiner"}


class FloatPrecision(Enum):
    """One floating-point precision for the whole bundle; FP16 keeps the FP32 islands of `passes/fp16.py`."""

    FP32 = "fp32"
    FP16 = "fp16"


Precision = FloatPrecision | PrecisionPlan


def passes_for(precision: Precision, graph: str) -> list[Pass]:
    """The passes from an FP32 graph as PyTorch exports it to the bundle's graph, in order.

    graph: its name, as in the manifest.
    """
    if precision is FloatPrecision.FP32:
        return [FunctionBodies()]
    if isinstance(precision, PrecisionPlan):
        scales = precision.scales.get(PLANNED_GRAPH.get(graph, graph), {})
        return planned_passes(scales, precision.islands.get(graph, frozenset()))
    return planned_passes({}, ())


def planned_passes(scales: Mapping[str, float], islands: Collection[str]) -> list[Pass]:
    """The passes from an FP32 graph to FP16 with INT8 convolutions and additional FP32 islands, in order.

    scales: INT8 layer → scale of the activation that it reads. islands: names of nodes that stay FP32 besides those of
    the island rules.
    """
    return [Int8Convolutions(scales), Fp16(frozenset(islands)), FunctionBodies()]
