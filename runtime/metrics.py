"""Picture metrics in NumPy: PSNR, SSIM and ꟻLIP of pictures (uint8 RGB) against a reference.

`hidenerf.training.evaluation.metrics` has PSNR and SSIM once more, for batches of tensors on the GPU and within masks.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Double = NDArray[np.float64]

# The largest level of a picture.
PEAK = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_CONSTANTS = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(reference: NDArray[Any], result: NDArray[Any], peak: float) -> float:
    """Peak signal-to-noise ratio in dB, infinite where nothing differs.

    reference, result: any shape and real dtype. peak: 255 for pictures.
    """
    return psnr_of(float(np.square(reference.astype(np.float64) - result.astype(np.float64)).mean()), peak)


def psnr_of(mean_square: float, peak: float) -> float:
    """PSNR in dB of a mean squared difference, infinite for 0."""
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


def _windowed(values: Double) -> Double:
    kernel = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)
    border = SSIM_WINDOW // 2
    filtered = cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel)
    return np.asarray(filtered[border:-border, border:-border], np.float64)


def flip(reference: Picture, result: Picture) -> tuple[float, Picture]:
    """ꟻLIP of two pictures [H, W, 3], see `flip_of_floats`.

    Returns the mean error in [0, 1] and the map of errors as a picture (colour map magma).
    """
    mean, error_map = flip_of_floats(
        *(picture.astype(np.float32) / np.float32(255.0) for picture in (reference, result))
    )
    return mean, np.rint(np.clip(error_map, 0.0, 1.0) * 255.0).astype(np.uint8)


def flip_of_floats(reference: NDArray[np.float32], result: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """ꟻLIP (Andersson et al. 2020) at its default 67 pixels per degree; needs the package flip-evaluator.

    reference, result: float32 RGB in [0, 1], [H, W, 3]. Returns the mean error in [0, 1], 0 where no difference is
    visible, and the map of errors in colours [H, W, 3] in [0, 1].
    """
    import flip_evaluator

    error_map, mean, _ = flip_evaluator.evaluate(np.ascontiguousarray(reference), np.ascontiguousarray(result), "LDR")
    return float(mean), error_map
