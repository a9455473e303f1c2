"""Activation ranges for INT8, from histograms of absolute values: maximum, percentile, or least relative entropy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, with_values

Counts = NDArray[np.int64]

BINS = 2048
LEVELS = 128
PERCENTILE = 0.9999
# Of 2048 bins; finer steps change the range by less than a percent.
ENTROPY_STEP = 16


class Histogram:
    """Counts of |x| in `BINS` equal bins from 0 to `largest`; zeros, which every scale holds exactly, do not count."""

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self.counts: Counts = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count one tensor of any shape; values beyond `largest` go into the last bin."""
        if self.largest > 0.0:
            scaled = np.abs(values[values != 0.0]) * np.float32(BINS / self.largest)
            bins = np.minimum(scaled.astype(np.int64), BINS - 1)
            self.counts += np.bincount(bins, minlength=BINS)


def activation_histograms(
    model: ir.Model, largest: Mapping[str, float], feeds: Sequence[Tensors]
) -> dict[str, Histogram]:
    """Histograms of an FP32 model's tensors over all feeds. largest: tensor → its largest absolute value."""
    histograms = {name: Histogram(value) for name, value in largest.items()}
    session = Session(with_values(model, list(largest)))
    for feed in feeds:
        values = session.run(feed)
        for name, histogram in histograms.items():
            histogram.add(values[f"{name}:value"])
    return histograms


def largest_range(histogram: Histogram) -> float:
    """The largest absolute value."""
    return histogram.largest


def percentile_range(histogram: Histogram) -> float:
    """The end of the bin up to which 99.99 % of the values lie."""
    total = int(histogram.counts.sum())
    if total == 0:
        return histogram.largest
    last = int(np.searchsorted(np.cumsum(histogram.counts), PERCENTILE * total))
    return histogram.largest * (last + 1) / BINS


def entropy_range(histogram: Histogram) -> float:
    """The range of least relative entropy between the distribution and itself in 128 levels (TensorRT's criterion).

    What lies beyond the range counts in its last bin; within a level, the count is shared by the bins that are not
    empty (Migacz, 8-bit inference with TensorRT, GTC 2017).
    """
    counts = histogram.counts.astype(np.float64)
    if counts.sum() == 0.0:
        return histogram.largest
    best, chosen = np.inf, BINS
    for stop in range(LEVELS, BINS + 1, ENTROPY_STEP):
        inside = counts[:stop]
        reference = inside.copy()
        reference[-1] += counts[stop:].sum()
        levels = np.arange(stop) * LEVELS // stop
        filled = inside > 0.0
        sums = np.bincount(levels, inside, LEVELS)
        sizes = np.maximum(np.bincount(levels, filled, LEVELS), 1)
        candidate = np.where(filled, (sums / sizes)[levels], 0.0)
        divergence = _relative_entropy(reference, candidate)
        if divergence < best:
            best, chosen = divergence, stop
    return histogram.largest * chosen / BINS


def _relative_entropy(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    total = candidate.sum()
    if total == 0.0:
        return float("inf")
    p, q = reference / reference.sum(), candidate / total
    some = p > 0.0
    # A bin that only the clipped values fill; smoothed as in TensorRT's description.
    return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-9))).sum())


RANGE_METHODS: dict[str, Callable[[Histogram], float]] = {
    "max": largest_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
}
