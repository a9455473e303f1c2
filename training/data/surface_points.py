"""Surface points: positions, in several expressions, of the head's surface that a picture shows.

`loop.losses.surface_loss` uses them. Nothing here imports torch, so that worker processes start fast.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_Kind = TypeVar("_Kind", bound=np.generic)


def surface_points(
    triangles: NDArray[np.int32], vertices: Floats, triangle: NDArray[np.int16], barycentric: NDArray[np.uint8]
) -> NDArray[np.float16]:
    """Surface points [E · 3, R, R] that a picture's pixels see, in E expressions; world units, 0 where there is none.

    triangles: [F, 3].
    vertices: [E, V, 3], world units.
    triangle: [R, R], barycentric: [2, R, R], as `Rasteriser.draw` makes them for one of the expressions.
    """
    seen = triangle > 0
    corners = triangles[triangle[seen] - 1]
    two = barycentric[:, seen].T.astype(np.float32) / 255
    weights = np.concatenate([two, 1 - two.sum(1, keepdims=True)], axis=1)
    points = np.zeros((len(vertices), 3, *triangle.shape), np.float16)
    points[:, :, seen] = np.einsum("pk,epkc->ecp", weights, vertices[:, corners])
    return points.reshape(-1, *triangle.shape)


def pixels_of_rays(supersampled: NDArray[_Kind], size: int) -> NDArray[_Kind]:
    """Subsample a picture [..., H, H] to [..., size, size]: the pixel nearest to the centre of each larger one."""
    step = supersampled.shape[-1] // size
    return supersampled[..., step // 2 :: step, step // 2 :: step]
