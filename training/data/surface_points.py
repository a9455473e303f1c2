"""Surface points: where the points of a head that a picture shows lie in several expressions, data of the surface loss.

The loss itself is `loop.losses.surface_loss`. Nothing here imports torch, so that worker processes start fast.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_Kind = TypeVar("_Kind", bound=np.generic)


def surface_points(
    triangles: NDArray[np.int32], vertices: Floats, triangle: NDArray[np.int16], barycentric: NDArray[np.uint8]
) -> NDArray[np.float16]:
    """Where the points of the surface that a picture's pixels see are in several expressions, [E·3, R, R].

    triangles [F, 3]; vertices [E, V, 3], one set an expression; triangle [R, R] and barycentric [2, R, R] as
    `Rasteriser.draw` makes them for one of these sets. World units; 0 where a pixel sees nothing.
    """
    seen = triangle > 0
    corners = triangles[triangle[seen] - 1]
    two = barycentric[:, seen].T.astype(np.float32) / 255
    weights = np.concatenate([two, 1 - two.sum(1, keepdims=True)], axis=1)
    points = np.zeros((len(vertices), 3, *triangle.shape), np.float16)
    points[:, :, seen] = np.einsum("pk,epkc->ecp", weights, vertices[:, corners])
    return points.reshape(-1, *triangle.shape)


def pixels_of_rays(supersampled: NDArray[_Kind], size: int) -> NDArray[_Kind]:
    """Of a picture [..., H, H], the pixels nearest to the centres of size × size larger ones: [..., size, size]."""
    step = supersampled.shape[-1] // size
    return supersampled[..., step // 2 :: step, step // 2 :: step]
