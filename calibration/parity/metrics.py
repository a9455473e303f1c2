"""How far two tensors or two pictures are apart."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import flip_evaluator
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Double = NDArray[np.float64]

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_CONSTANTS = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class TensorDifference:
    """max_abs: largest absolute difference. relative: the same over the reference's range, zero included. cosine: of
    the angle between the two as vectors. psnr: in dB, that range as peak; infinite where nothing differs.

    A value that is not finite makes all four NaN.
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
    wanted, found = reference.astype(np.float64).ravel(), result.astype(np.float64).ravel()
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        return TensorDifference(math.nan, math.nan, math.nan, math.nan)
    span = 255.0 if reference.dtype == np.uint8 else max(wanted.max(), 0.0) - min(wanted.min(), 0.0) or 1.0
    max_abs = float(np.abs(wanted - found).max())
    return TensorDifference(max_abs, max_abs / span, _cosine(wanted, found), psnr(wanted, found, span))


def _cosine(wanted: Double, found: Double) -> float:
    lengths = math.sqrt(float(wanted @ wanted)), math.sqrt(float(found @ found))
    if 0.0 in lengths:
        return float(lengths[0] == lengths[1])
    return min(1.0, float(wanted @ found) / lengths[0] / lengths[1])


def psnr(reference: NDArray[Any], result: NDArray[Any], peak: float) -> float:
    """Peak signal-to-noise ratio in dB, infinite where nothing differs."""
    mean_square = float(np.square(reference.astype(np.float64) - result.astype(np.float64)).mean())
    return math.inf if mean_square == 0.0 else 10.0 * math.log10(peak * peak / mean_square)


def ssim(reference: Picture, result: Picture) -> float:
    """Structural similarity of two uint8 RGB pictures [H, W, 3] of at least 11×11, 1 where nothing differs.

    Wang et al. 2004: Gaussian window 11×11 of σ 1.5, K1 = 0.01, K2 = 0.03, mean over the pixels whose whole window
    lies inside, and over the three channels, so that a change of colour counts too.
    """
    x, y = reference.astype(np.float64), result.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x * mean_x
    variance_y = _windowed(y * y) - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = SSIM_CONSTANTS
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2.0 * covariance + c2) / (variance_x + variance_y + c2)
    return float((luminance * structure).mean())


def flicker(reference: tuple[Picture, Picture], result: tuple[Picture, Picture]) -> NDArray[np.int16]:
    """How the change from one frame to the next differs: (result[1] - result[0]) - (reference[1] - reference[0]).

    Pictures [H, W, 3] uint8 of two consecutive frames → levels [H, W, 3], within ±510. An error that stands still
    gives zero.
    """
    changes = [second.astype(np.int16) - first.astype(np.int16) for first, second in (reference, result)]
    return np.asarray(changes[1] - changes[0], np.int16)


def _windowed(values: Double) -> Double:
    kernel = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)
    border = SSIM_WINDOW // 2
    filtered = cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel)
    return np.asarray(filtered[border:-border, border:-border], np.float64)


def flip(reference: Picture, result: Picture) -> tuple[float, Picture]:
    """ꟻLIP of two uint8 RGB pictures [H, W, 3], at its default 67 pixels per degree.

    Returns the mean error in [0, 1], 0 where nothing can be seen to differ, and the error map as a picture (magma).
    """
    wanted, found = (np.ascontiguousarray(p, np.float32) / np.float32(255.0) for p in (reference, result))
    error_map, mean, _ = flip_evaluator.evaluate(wanted, found, "LDR")
    return float(mean), np.rint(np.clip(error_map, 0.0, 1.0) * 255.0).astype(np.uint8)
