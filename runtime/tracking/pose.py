"""The head's pose from landmarks, by perspective-n-point with the face model's landmarks as the object."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import (
    CANONICAL_FILL,
    HEAD_RADIUS,
    WORLD_TO_FRONTAL,
    camera_from_head_pose,
)
from hidenerf.runtime.errors import HideNerfError

Array = NDArray[np.float64]

# Pictures rarely state their lens. The assumed focal length is that of a 45-degree lens on the longer side, unless that
# puts the head nearer than NEAREST_HEAD (0.8 m): then the picture is assumed to be cropped from a larger one, which
# fits landmarks up to a third better on portraits and clips that fill the frame.
FOCAL_PER_LONG_SIDE = 1.2
NEAREST_HEAD = 5.0
FOCAL_TURNS = 3
# Mean distance of a head's landmarks from their middle, over their distance from the camera, below which they are
# enlarged before the pose is solved; that of a face that is a tenth of the picture.
NARROWEST_HEAD = 0.03


@dataclass(frozen=True)
class HeadPose:
    """A head's pose, as `camera_from_head_pose` takes it.

    rotation: [3, 3], turns the head in the world's axes.
    translation: [3], the head's centre in OpenCV camera axes, world units.
    """

    rotation: Array
    translation: Array


def picture_intrinsics(height: int, width: int, focal: float) -> Array:
    """Intrinsics [3, 3] of a whole picture, pixels; the picture spans [0, W]×[0, H]."""
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def assumed_intrinsics(points: NDArray[np.floating], pixels: NDArray[np.floating], height: int, width: int) -> Array:
    """The intrinsics [3, 3] assumed of a picture in which points [M, 3] of a head fall on pixels [M, 2]."""
    focal = FOCAL_PER_LONG_SIDE * max(height, width)
    for _ in range(FOCAL_TURNS):
        pose = solve_head_pose(points, pixels, picture_intrinsics(height, width, focal))
        # The head's size in the picture nearly determines the ratio of focal length to distance.
        focal *= max(1.0, NEAREST_HEAD / pose.translation[2])
    return picture_intrinsics(height, width, focal)


def solve_head_pose(points: NDArray[np.floating], pixels: NDArray[np.floating], intrinsics: Array) -> HeadPose:
    """The pose that projects points [M, 3] (world frame and units) onto pixels [M, 2], in least squares.

    Errors: the pixels determine no pose, as where all are the same.
    """
    objects: Array = np.asarray(points, np.float64)
    images: Array = np.asarray(pixels, np.float64)
    try:
        start = _start_in_a_crop(objects, images, intrinsics)
        rotation, translation = cv2.solvePnPRefineLM(objects, images, intrinsics, None, *start)
    except cv2.error:
        raise HideNerfError(
            f"The face at ({pixels[:, 0].mean():.0f}, {pixels[:, 1].mean():.0f}) has landmarks that no head pose "
            "explains; use a picture that shows it larger and more from the front."
        ) from None
    world2cam = np.asarray(cv2.Rodrigues(rotation)[0], np.float64)
    return HeadPose(WORLD_TO_FRONTAL @ world2cam, np.asarray(translation, np.float64)[:, 0])


def _start_in_a_crop(points: Array, pixels: Array, intrinsics: Array) -> tuple[Array, Array]:
    """A pose to refine, rotation vector [3, 1] and translation [3, 1]: that in a camera which looks at the head.

    SQPnP fails where a head fills little of its camera's picture. Where it fills less than NARROWEST_HEAD, the camera
    zooms in on it and the head is moved away by as much, which is exact for a head that is small beside its distance.
    """
    rays = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(intrinsics).T
    middle = rays.mean(axis=0)
    # The shortest turn of this direction onto the optical axis.
    axis = np.cross(middle, [0.0, 0.0, 1.0])
    angle = np.arctan2(np.linalg.norm(axis), middle[2])
    look = np.asarray(cv2.Rodrigues(axis / max(float(np.linalg.norm(axis)), 1e-12) * angle)[0], np.float64)
    seen = rays @ look.T
    seen = seen[:, :2] / seen[:, 2:]
    spread = float(np.linalg.norm(seen - seen.mean(axis=0), axis=1).mean())
    zoom = max(1.0, NARROWEST_HEAD / max(spread, 1e-12))
    _, rotation, translation = cv2.solvePnP(points, seen * zoom, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    turn = look.T @ np.asarray(cv2.Rodrigues(rotation)[0], np.float64)
    moved = look.T @ (np.asarray(translation, np.float64)[:, 0] * [1.0, 1.0, zoom])
    return np.asarray(cv2.Rodrigues(turn)[0], np.float64), moved[:, None]


def to_camera_axes(points: NDArray[np.floating], pose: HeadPose) -> Array:
    """World points [..., 3] of a head in this pose → OpenCV camera axes [..., 3]."""
    return points @ (WORLD_TO_FRONTAL @ pose.rotation).T + pose.translation


def project_head(points: NDArray[np.floating], pose: HeadPose, intrinsics: Array) -> Array:
    """World points [..., 3] of a head in this pose → pixels [..., 2]."""
    homogeneous = to_camera_axes(points, pose) @ intrinsics.T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def aligned_square(pose: HeadPose, intrinsics: Array) -> tuple[Array, float]:
    """The square about the head that makes an aligned crop: its centre [2] and side, pixels.

    The head centre falls in the middle, and the head's radius fills `CANONICAL_FILL` of half the side.
    """
    centre = project_head(np.zeros(3), pose, intrinsics)
    radius = intrinsics[0, 0] * HEAD_RADIUS / pose.translation[2]
    return centre, float(2 * radius / CANONICAL_FILL)


def square_intrinsics(intrinsics: Array, centre: Array, side: float) -> Array:
    """Intrinsics [3, 3], normalised, of a square crop about `centre` [2] of a picture with `intrinsics` in pixels."""
    corner = centre - side / 2
    to_square = np.array([[1 / side, 0.0, -corner[0] / side], [0.0, 1 / side, -corner[1] / side], [0.0, 0.0, 1.0]])
    return to_square @ intrinsics


def square_camera(pose: HeadPose, intrinsics: Array, centre: Array, side: float) -> NDArray[np.float32]:
    """The camera [25] that sees a head with this pose in a square crop of the picture."""
    return camera_from_head_pose(pose.rotation, pose.translation, square_intrinsics(intrinsics, centre, side))
