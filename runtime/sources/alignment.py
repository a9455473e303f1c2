"""The aligned crop of a head: a square of the picture in which the head is centred and upright.

Pixels are continuous coordinates, x right and y down; a picture spans [0, W] × [0, H], so pixel centres lie at halves.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import camera_from_head_pose
from hidenerf.runtime.tracking.pose import HeadPose, aligned_square

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

# Longest side, pixels, of the enlarged crop that is averaged down when a large picture shrinks.
LARGEST_WARP = 4096


@dataclass(frozen=True)
class Alignment:
    """An aligned crop.

    matrix: [2, 3] float64, from the picture's pixels to the crop's.
    camera: [25] float32, the camera of the crop.
    """

    matrix: Array
    camera: NDArray[np.float32]


def align(pose: HeadPose, intrinsics: Array, size: int) -> Alignment:
    """The crop in which the head is centred and upright and its radius fills `CANONICAL_FILL` of half the side.

    pose: the head's pose in the picture's camera.
    intrinsics: [3, 3] float64 of that camera, pixels.
    size: side of the crop, pixels.
    """
    matrix = square_matrix(*aligned_square(pose, intrinsics), head_tilt(pose), size)
    return Alignment(matrix, crop_camera(pose, intrinsics, matrix, size))


def head_tilt(pose: HeadPose) -> float:
    """How far the head's up direction leans in the picture, radians; an upright crop is turned by the same angle."""
    return float(np.arctan2(pose.rotation[0, 1], pose.rotation[1, 1]))


def square_matrix(centre: Array, side: float, tilt: float, size: int) -> Array:
    """The matrix [2, 3] that crops a turned square of the picture to size × size.

    centre: [2] float64, pixels of the picture.
    side: of the square, pixels of the picture.
    tilt: radians.
    """
    cosine, sine = np.cos(tilt), np.sin(tilt)
    turn = size / side * np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def crop_camera(pose: HeadPose, intrinsics: Array, matrix: Array, size: int) -> NDArray[np.float32]:
    """The camera [25] float32 of a crop; it sees the head there as the picture's camera saw it. Exact.

    Turning the picture turns the camera about its optical axis; cropping and scaling change its intrinsics.

    pose: the head's pose in the picture's camera.
    intrinsics: [3, 3] float64 of that camera, pixels.
    matrix: [2, 3], see `square_matrix`.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    turn = matrix[:, :2] / scale
    # The same rotation in the world's axes, y up.
    upright = np.eye(3)
    upright[:2, :2] = turn.T
    crop_intrinsics = intrinsics.copy()
    crop_intrinsics[:2, :2] *= scale
    crop_intrinsics[:2, 2] = matrix @ np.append(intrinsics[:2, 2], 1.0)
    crop_intrinsics[:2] /= size
    translation = np.append(turn @ pose.translation[:2], pose.translation[2])
    return camera_from_head_pose(upright @ pose.rotation, translation, crop_intrinsics)


def warp(picture: Picture, matrix: Array, size: int, border: int) -> Picture:
    """The crop that a matrix makes of a picture; where it shrinks, pixels are averaged.

    picture: [H, W] or [H, W, 3] uint8.
    matrix: [2, 3], see `square_matrix`.
    border: OpenCV's border mode outside the picture, such as `cv2.BORDER_REPLICATE`.
    Returns [size, size] or [size, size, 3] uint8.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    oversampling = max(1, min(int(np.ceil(1 / scale)), LARGEST_WARP // size))
    # OpenCV puts pixel centres at integers: add half a pixel before the matrix and subtract it after.
    fine = matrix * oversampling
    fine[:, 2] += fine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    side = size * oversampling
    warped = cv2.warpAffine(picture, fine, (side, side), flags=cv2.INTER_CUBIC, borderMode=border)
    if oversampling > 1:
        warped = cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)
