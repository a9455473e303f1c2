"""Which point of a face model each of MediaPipe's 478 landmarks lies on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LANDMARKS = 478
FIRST_IRIS = 468
# The outline of the face: an occluding contour in the picture, not a fixed place on the skin.
OUTLINE = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
    + [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)

_OUTLINE_WEIGHT = 0.35
_IRIS_WEIGHT = 0.5
_TRUSTED_SPREAD_METRES = 0.0015


@dataclass(frozen=True)
class LandmarkMap:
    """index [M] int32, vertices [M, 3] int32, barycentric [M, 3] float32, weight [M] float32: as in `FaceModel`."""

    index: NDArray[np.int32]
    vertices: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    weight: NDArray[np.float32]


def landmark_weights(spread: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weights [478] for a fit, from how far (metres) each landmark wandered over the renders it was found in."""
    weight = np.ones(LANDMARKS)
    weight[OUTLINE] = _OUTLINE_WEIGHT
    weight[FIRST_IRIS:] = _IRIS_WEIGHT
    return (weight / np.clip(spread / _TRUSTED_SPREAD_METRES, 1, 4)).astype(np.float32)
