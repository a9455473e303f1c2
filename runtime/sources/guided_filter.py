"""The guided filter: smooths an opacity so that its edges lie where those of a picture are.

He, Sun and Tang, Guided Image Filtering (TPAMI 2013), with three colours as guide; fitted at a lower resolution for
speed, as in He and Sun, Fast Guided Filter (2015).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def guided_filter(guide: Float, opacity: Float, radius: int, smoothness: float, step: int = 1) -> Float:
    """Filter an opacity: in each window it becomes an affine function of the guide's colours.

    guide: [H, W, 3] float32 in [0, 1].
    opacity: [H, W] float32.
    radius: of the windows, pixels.
    smoothness: variance of colours below which the guide has no edge.
    step: the functions are fitted to every step-th pixel.
    Returns [H, W] float32, which may leave [0, 1] a little.
    """
    height, width = opacity.shape
    small_size = max(1, width // step), max(1, height // step)
    small, target = (
        np.asarray(cv2.resize(one, small_size, interpolation=cv2.INTER_AREA), np.float32) for one in (guide, opacity)
    )
    slope, offset = _affine_functions(small, target, max(1, round(radius / step)), smoothness)
    functions = cv2.resize(np.dstack([slope, offset]), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray((functions[..., :3] * guide).sum(axis=2) + functions[..., 3], np.float32)


def _affine_functions(guide: Float, opacity: Float, radius: int, smoothness: float) -> tuple[Float, Float]:
    """Slopes [H, W, 3] and offsets [H, W] of the functions, each the mean over the windows that a pixel is in."""

    def mean(values: Float) -> Float:
        side = 2 * radius + 1
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)

    colour, level = mean(guide), mean(opacity)
    shared = mean(guide * opacity[..., None]) - colour * level[..., None]
    rr, rg, rb, gg, gb, bb = (
        mean(guide[..., i] * guide[..., j]) - colour[..., i] * colour[..., j] + smoothness * (i == j)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    # The inverse of the symmetric 3 × 3 covariance by its cofactors.
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    cofactors = np.stack([c00, c01, c02, c01, c11, c12, c02, c12, c22], axis=-1).reshape(*level.shape, 3, 3)
    determinant = rr * c00 + rg * c01 + rb * c02
    slope = np.einsum("hwij,hwj->hwi", cofactors, shared) / determinant[..., None]
    return mean(slope.astype(np.float32)), mean((level - (slope * colour).sum(axis=2)).astype(np.float32))
