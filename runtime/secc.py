"""SECC: the projected NCC code of a 3D face without its pose (Eq. 3 as read in DESIGN §8), by OpenCV's z-buffer."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel

# OpenCV's rasteriser has only a perspective camera. Vertices are scaled by their distance beforehand, so that they
# project exactly as in an orthographic camera. A farther camera reduces the precision of depth; a nearer one increases
# the error of colours within a triangle, its depth over this distance. At 256 units: 3e-5 units and 2e-5 in colour.
_CAMERA_DISTANCE = 256.0
_DEPTH_RANGE = 2.0


def secc(vertices: NDArray[np.floating], face_model: FaceModel, size: int) -> NDArray[np.float32]:
    """SECC [3, size, size] float32 of a face with these vertices [V, 3] (world frame and units).

    An orthographic frontal view of the world box [-1, 1]²: row 0 is y = +1, column 0 is x = -1, the nearest surface
    is the one with the largest z, pixel centres at i + 0.5. Values are the face model's NCC in [0, 1]; 0 is background.
    """
    if vertices.shape != face_model.mean.shape:
        raise HideNerfError(
            f"The face has shape {list(vertices.shape)}, but the face model {face_model.name} has "
            f"{list(face_model.mean.shape)}; use the face model that the face was made with."
        )
    canvas = np.zeros((size, size, 3), np.float32)
    colours = draw_frontal(vertices, face_model.triangles, face_model.ncc, canvas)
    # Interpolated colours may leave [0, 1] by a rounding error.
    return np.ascontiguousarray(np.clip(colours, 0, 1).transpose(2, 0, 1))


def draw_frontal(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.int32],
    colours: NDArray[np.float32],
    canvas: NDArray[np.float32],
) -> NDArray[np.float32]:
    """`canvas` [size, size, 3] with triangles [F, 3] drawn on it in their vertices' colours [V, 3], nearest in front.

    The view is the SECC's: orthographic and frontal, of the world box [-1, 1]² of vertices [V, 3].
    """
    scaled = np.array(vertices, np.float32)
    scaled[:, :2] *= 1 - scaled[:, 2:] / _CAMERA_DISTANCE
    scaled[:, 2] -= _CAMERA_DISTANCE
    return draw_triangles(
        scaled,
        triangles,
        colours,
        canvas,
        np.ones(canvas.shape[:2], np.float32),
        fov=2 * math.atan(1 / _CAMERA_DISTANCE),
        near=_CAMERA_DISTANCE - _DEPTH_RANGE,
        far=_CAMERA_DISTANCE + _DEPTH_RANGE,
    )


def draw_triangles(
    vertices: NDArray[np.float32],
    triangles: NDArray[np.int32],
    colours: NDArray[np.float32],
    canvas: NDArray[np.float32],
    depth: NDArray[np.float32],
    *,
    fov: float,
    near: float,
    far: float,
) -> NDArray[np.float32]:
    """`canvas` [H, W, 3] with triangles [F, 3] drawn on it by OpenCV's z-buffer, both sides, colours interpolated.

    vertices [V, 3]: in OpenGL camera axes (x right, y up, looking along -z). colours [V, 3]. depth [H, W]: the
    z-buffer, 1 where nothing is drawn yet. fov: full angle, radians. near, far: distances of the clipping planes.
    canvas and depth are written to.
    """
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setGlCompatibleMode(cv2.RASTERIZE_COMPAT_INVDEPTH)
    drawn, _ = cv2.triangleRasterize(vertices, triangles, colours, canvas, depth, np.eye(4), fov, near, far, settings)
    return np.asarray(drawn, np.float32)
