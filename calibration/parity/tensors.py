"""Comparison of one graph on two sides, tensor by tensor, with Polygraphy."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.comparator import Comparator, CompareResult, IterationResult, Threshold
from polygraphy.comparator.compare import BaseCompareFunc
from polygraphy.logger import G_LOGGER

from hidenerf.calibration.parity.metrics import TensorDifference, tensor_difference
from hidenerf.calibration.parity.runners import GraphRunner, Tensors
from hidenerf.calibration.parity.thresholds import Thresholds
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import EXPORT_AGAIN


@dataclass(frozen=True)
class TensorRow:
    """The worst differences of one tensor over all frames, and whether they are within the thresholds."""

    graph: str
    tensor: str
    difference: TensorDifference
    passed: bool


class TensorThreshold(Threshold):
    """Polygraphy's criterion on a `TensorDifference`; NaN fails."""

    def __init__(self, cosine: float, psnr: float) -> None:
        self.cosine = cosine
        self.psnr = psnr

    def passed(self, metric_values: Mapping[str, float]) -> bool:
        """Whether cosine and PSNR are both high enough."""
        return metric_values["cosine"] >= self.cosine and metric_values["psnr"] >= self.psnr


class TensorResult(CompareResult):
    """Polygraphy's result for one tensor; true if it is within its threshold."""

    def __init__(self, difference: TensorDifference, threshold: TensorThreshold) -> None:
        super().__init__(thresholds=threshold)
        self.difference = difference

    def metric_values(self) -> dict[str, float]:
        """The difference by name."""
        return vars(self.difference)


class TensorCompareFunc(BaseCompareFunc):
    """Compares two runners' outputs name by name.

    Polygraphy's own functions match names loosely, take the largest value as the peak of their PSNR, and sum in FP32.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds

    def threshold(self, dtype: np.dtype) -> TensorThreshold:
        """The criterion for a tensor of the reference's dtype; pictures are held to that of whole frames alone."""
        limits = self._thresholds
        if dtype == np.uint8:
            return TensorThreshold(-1.0, limits.frame_psnr)
        return TensorThreshold(limits.tensor_cosine, limits.tensor_psnr)

    def compare(self, reference: NDArray[Any], found: NDArray[Any]) -> TensorResult:
        """One tensor against its reference."""
        return TensorResult(tensor_difference(reference, found), self.threshold(reference.dtype))

    def __call__(self, reference: IterationResult, result: IterationResult) -> "OrderedDict[str, TensorResult]":
        """Results by name, for Polygraphy's comparator."""
        return OrderedDict((name, self.compare(reference[name], result[name])) for name in reference)


class GraphComparison:
    """One graph of the reference against the candidate's."""

    def __init__(self, reference: GraphRunner, candidate: GraphRunner, thresholds: Thresholds) -> None:
        _require_same_names(reference, candidate)
        self.rows: list[TensorRow] = []
        self._reference = reference
        self._runners = [reference.runner, candidate.runner]
        self._compare_func = TensorCompareFunc(thresholds)

    def compare(self, tensors: Tensors) -> Tensors:
        """Run both on the graph's inputs among `tensors`, add a row for each output, return the reference's outputs.

        Polygraphy casts the inputs to what each side takes.
        """
        feed = OrderedDict((name, tensors[name]) for name in sorted(self._reference.inputs))
        with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
            results = Comparator.run(self._runners, data_loader=[feed])
            (accuracy,) = Comparator.compare_accuracy(results, compare_func=self._compare_func)
        ((by_name,),) = accuracy.values()
        self.rows += [TensorRow(self._reference.name, name, r.difference, bool(r)) for name, r in by_name.items()]
        outputs = results[self._runners[0].name][0]
        return {name: outputs[name] for name in outputs}


def worst_rows(rows: Iterable[TensorRow]) -> list[TensorRow]:
    """One row for each tensor, in the order of first appearance, with the worst of each value over all its rows."""
    groups: dict[tuple[str, str], list[TensorRow]] = {}
    for row in rows:
        groups.setdefault((row.graph, row.tensor), []).append(row)
    return [
        TensorRow(graph, tensor, _worst([row.difference for row in group]), all(row.passed for row in group))
        for (graph, tensor), group in groups.items()
    ]


def _worst(differences: list[TensorDifference]) -> TensorDifference:
    if any(math.isnan(difference.max_abs) for difference in differences):
        return TensorDifference(math.nan, math.nan, math.nan, math.nan)
    return TensorDifference(
        max(d.max_abs for d in differences),
        max(d.relative for d in differences),
        min(d.cosine for d in differences),
        min(d.psnr for d in differences),
    )


def _require_same_names(reference: GraphRunner, candidate: GraphRunner) -> None:
    """Polygraphy would pair misnamed tensors by position."""
    for kind, expected, found in (
        ("inputs", reference.inputs, candidate.inputs),
        ("outputs", reference.outputs, candidate.outputs),
    ):
        if expected != found:
            odd = ", ".join(sorted(expected ^ found))
            raise HideNerfError(
                f"{candidate.origin}: its {kind} are not those of {reference.origin} ({odd}); {EXPORT_AGAIN}."
            )
