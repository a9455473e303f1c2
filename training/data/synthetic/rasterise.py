"""Rasteriser: the triangle that each pixel sees, by OpenCV's z-buffer."""

import math

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import invert_rigid, unpack_camera
from hidenerf.runtime.secc import draw_frontal, draw_triangles

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

# The field of view of the rasteriser's own camera, radians; vertices are transformed so that any camera fits it.
_FOV = math.radians(30)


class Rasteriser:
    """Rasterises one set of triangles into square pictures of one size; reuses its buffers.

    triangles: [F, 3].
    size: side of the pictures, pixels.
    """

    def __init__(self, triangles: Integers, size: int) -> None:
        self.triangles = triangles
        self.size = size
        count = len(triangles)
        self._corners = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
        # Corner colours that encode triangle number and barycentric weights; with 0.5 added, rounding down is exact.
        code = np.full((count, 3, 3), 0.5, np.float32)
        code[..., 0] += np.arange(1, count + 1)[:, None]
        code[:, 0, 1] += 255
        code[:, 1, 2] += 255
        self._code = code
        self._pixels = np.empty((size, size, 3), np.float32)
        self._depth = np.empty((size, size), np.float32)

    def draw(
        self,
        vertices: Floats,
        camera: NDArray[np.floating],
        drawn: NDArray[np.intp],
        two_sided_from: int,
        triangle: NDArray[np.int16],
        barycentric: NDArray[np.uint8],
    ) -> None:
        """Rasterise a mesh into `triangle` and `barycentric`.

        vertices: [V, 3], world units.
        camera: [25].
        drawn: [n], numbers of the triangles to draw.
        two_sided_from: triangles below this number are drawn only if they face the camera.
        triangle: [size, size] int16, receives 1 + the number of the nearest triangle, 0 without one.
        barycentric: [2, size, size] uint8, receives the weights of its first two corners times 255.
        """
        seen = to_rasteriser(vertices, camera)
        corners = seen[self.triangles[drawn]]
        facing = (_signed_area(corners[..., :2] / -corners[..., 2:]) > 0) | (drawn >= two_sided_from)
        if not facing.any():
            triangle.fill(0)
            barycentric.fill(0)
            return
        corners = np.ascontiguousarray(corners[facing]).reshape(-1, 3)
        self._pixels.fill(0)
        self._depth.fill(1)
        near, far = -corners[:, 2].max(), -corners[:, 2].min()
        draw_triangles(
            corners,
            self._corners[: len(corners) // 3],
            self._code[drawn[facing]].reshape(-1, 3),
            self._pixels,
            self._depth,
            fov=_FOV,
            near=0.95 * float(near),
            far=1.05 * float(far),
        )
        np.copyto(triangle, self._pixels[..., 0], casting="unsafe")
        np.copyto(barycentric[0], self._pixels[..., 1], casting="unsafe")
        np.copyto(barycentric[1], self._pixels[..., 2], casting="unsafe")


def to_rasteriser(vertices: Floats, camera: NDArray[np.floating]) -> Floats:
    """World vertices [V, 3] → OpenGL camera axes [V, 3] in which the rasteriser's centred view equals the camera's.

    The camera's focal length and principal point become a scaling and a shear, which keep straight lines straight.
    """
    cam2world, intrinsics = unpack_camera(camera)
    to_view = intrinsics.copy()
    to_view[:2] -= 0.5 * intrinsics[2]
    to_view[:2] *= 2 * math.tan(_FOV / 2)
    matrix = np.diag([1.0, -1.0, -1.0]) @ to_view
    world2cam = invert_rigid(cam2world)
    projection = np.concatenate([matrix @ world2cam[:3, :3], matrix @ world2cam[:3, 3:]], axis=1).astype(np.float32)
    return vertices @ projection[:, :3].T + projection[:, 3]


def _signed_area(corners: Floats) -> Floats:
    """Twice the area of triangles [T, 3, 2], positive where their corners run anticlockwise."""
    (ux, uy), (vx, vy) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return ux * vy - uy * vx


def orthographic_depth(vertices: Floats, triangles: Integers, size: int) -> Floats:
    """The largest z of vertices [V, 3] that each pixel of a frontal view [size, size] of [-1, 1]² sees; -2 if none."""
    canvas = np.full((size, size, 3), -2, np.float32)
    colours = draw_frontal(vertices, triangles, np.repeat(vertices[:, 2:], 3, axis=1).astype(np.float32), canvas)
    return np.ascontiguousarray(colours[..., 0])
