"""Differences between tensors, and between the changes from one frame to the next."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.metrics import Double, Picture, psnr


@dataclass(frozen=True)
class TensorDifference:
    """How far a tensor is from its reference; all four are NaN if a value of either is not finite.

    max_abs: largest absolute difference. relative: the same, divided by the reference's range with zero included.
    cosine: of the angle between the two as vectors. psnr: in dB, with that range as peak; infinite where nothing
    differs.
    """

    max_abs: float
    relative: float
    cosine: float
    psnr: float


def tensor_difference(reference: NDArray[Any], result: NDArray[Any]) -> TensorDifference:
    """Two tensors of one shape and any real dtypes, compared in double precision.

    The range is from the reference's smallest value or 0 to its largest or 0, since rounding grows with magnitude; 255
    for uint8, and 1 where the reference is all zero.
    """
    expected, found = reference.astype(np.float64).ravel(), result.astype(np.float64).ravel()
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return TensorDifference(math.nan, math.nan, math.nan, math.nan)
    span = 255.0 if reference.dtype == np.uint8 else max(expected.max(), 0.0) - min(expected.min(), 0.0) or 1.0
    max_abs = float(np.abs(expected - found).max())
    return TensorDifference(max_abs, max_abs / span, _cosine(expected, found), psnr(expected, found, span))


def _cosine(expected: Double, found: Double) -> float:
    lengths = math.sqrt(float(expected @ expected)), math.sqrt(float(found @ found))
    if 0.0 in lengths:
        return float(lengths[0] == lengths[1])
    return min(1.0, float(expected @ found) / lengths[0] / lengths[1])


def flicker(reference: tuple[Picture, Picture], result: tuple[Picture, Picture]) -> NDArray[np.int16]:
    """How the change from one frame to the next differs: (result[1] - result[0]) - (reference[1] - reference[0]).

    Pictures [H, W, 3] uint8 of two consecutive frames → levels [H, W, 3], within ±510. An error that stands still
    gives zero.
    """
    changes = [second.astype(np.int16) - first.astype(np.int16) for first, second in (reference, result)]
    return np.asarray(changes[1] - changes[0], np.int16)
