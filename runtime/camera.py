"""Cameras as 25 floats (EG3D's convention), and operations on them.

World frame: fixed to the head, x to the subject's left (image right when seen from the front), y up, z out of the
face, origin at the head's centre, one unit = `METRES_PER_UNIT`. The head and its tri-planes fill the box [-1, 1]³.
A `camera` is the flattened 4×4 cam2world (OpenCV axes: x right, y down, z forward) followed by the flattened 3×3
intrinsics normalised by the picture's size, so that a projected point in [0, 1]² lies inside the picture whatever
its resolution. Pixel centres are at i + 0.5.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

METRES_PER_UNIT = 0.16
# The canonical view: that of an aligned crop; training samples cameras around it.
CANONICAL_FOV_DEGREES = 16.0
HEAD_RADIUS = 0.77
CANONICAL_FILL = 0.75

# From the world's axes (y up, z towards a frontal viewer) to a frontal OpenCV camera's (y down, z away from it).
WORLD_TO_FRONTAL = np.diag([1.0, -1.0, -1.0])


def pack_camera(cam2world: Array, intrinsics: Array) -> NDArray[np.float32]:
    """cam2world [..., 4, 4] and normalised intrinsics [..., 3, 3] → camera [..., 25] float32."""
    lead = cam2world.shape[:-2]
    flat = [np.reshape(cam2world, (*lead, 16)), np.reshape(intrinsics, (*lead, 9))]
    return np.concatenate(flat, axis=-1).astype(np.float32)


def unpack_camera(camera: NDArray[np.floating]) -> tuple[Array, Array]:
    """camera [..., 25] → cam2world [..., 4, 4] and normalised intrinsics [..., 3, 3], both float64."""
    flat: Array = np.asarray(camera, np.float64)
    lead = flat.shape[:-1]
    return flat[..., :16].reshape(*lead, 4, 4), flat[..., 16:].reshape(*lead, 3, 3)


def intrinsics_from_fov(fov_degrees: float) -> Array:
    """Normalised intrinsics [3, 3] of a square picture, principal point in the middle, for a full field of view."""
    focal = 0.5 / np.tan(np.radians(fov_degrees) / 2)
    return np.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])


def rotation_from_euler(yaw: float, pitch: float, roll: float) -> Array:
    """Rotation [3, 3] of the head in the world's axes, degrees: R = Ry(yaw) · Rx(pitch) · Rz(roll).

    Positive yaw turns the face to the subject's left, positive pitch turns it down, positive roll tilts the
    head towards the subject's right shoulder (anticlockwise as the viewer sees it).
    """
    y, p, r = np.radians([yaw, pitch, roll])
    cy, sy, cp, sp, cr, sr = np.cos(y), np.sin(y), np.cos(p), np.sin(p), np.cos(r), np.sin(r)
    rotate_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rotate_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rotate_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rotate_y @ rotate_x @ rotate_z


def euler_from_rotation(rotation: Array) -> tuple[float, float, float]:
    """Inverse of `rotation_from_euler`: (yaw, pitch, roll) in degrees, pitch in [-90, 90]."""
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = -np.arcsin(np.clip(rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def camera_from_head_pose(rotation: Array, translation: Array, intrinsics: Array) -> NDArray[np.float32]:
    """The camera [25] that sees a head with this pose.

    rotation [3, 3] turns the head in the world's axes as `rotation_from_euler` does; translation [3] is the head
    centre in OpenCV camera axes, world units. A head with the identity pose looks into the camera.
    """
    world2cam = np.eye(4)
    world2cam[:3, :3] = WORLD_TO_FRONTAL @ rotation
    world2cam[:3, 3] = translation
    return pack_camera(invert_rigid(world2cam), intrinsics)


def head_pose_from_camera(camera: NDArray[np.floating]) -> tuple[Array, Array, Array]:
    """Inverse of `camera_from_head_pose`: rotation [3, 3], translation [3], intrinsics [3, 3]."""
    cam2world, intrinsics = unpack_camera(camera)
    world2cam = invert_rigid(cam2world)
    return WORLD_TO_FRONTAL @ world2cam[:3, :3], world2cam[:3, 3], intrinsics


def canonical_camera(
    yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, fov_degrees: float = CANONICAL_FOV_DEGREES
) -> NDArray[np.float32]:
    """Camera [25] of an aligned crop: the head centred, its radius filling `CANONICAL_FILL` of the half picture."""
    distance = HEAD_RADIUS / (CANONICAL_FILL * np.tan(np.radians(fov_degrees) / 2))
    rotation = rotation_from_euler(yaw, pitch, roll)
    return camera_from_head_pose(rotation, np.array([0.0, 0.0, distance]), intrinsics_from_fov(fov_degrees))


def invert_rigid(matrix: Array) -> Array:
    """Inverse of rigid transforms [..., 4, 4]."""
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse = np.zeros_like(matrix)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ matrix[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def project(points: Array, camera: NDArray[np.floating]) -> Array:
    """World points [..., 3] → normalised picture coordinates [..., 2] (x right, y down, [0, 1]² is the picture)."""
    cam2world, intrinsics = unpack_camera(camera)
    world2cam = invert_rigid(cam2world)
    in_camera = points @ world2cam[:3, :3].T + world2cam[:3, 3]
    homogeneous = in_camera @ intrinsics.T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def frontal_view(points: Array, camera: NDArray[np.floating]) -> tuple[Array, Array, float]:
    """World points [V, 3] as a camera [25] sees them, in the axes of the SECC's view.

    Returns their places [V, 2], right and up, in [-1, 1] within the picture; their distances [V] along the camera's
    axis; and the distance of the world's origin.
    """
    world2cam = invert_rigid(unpack_camera(camera)[0])
    right, down = project(points, camera).T
    depth = points @ world2cam[2, :3] + world2cam[2, 3]
    return np.stack([2 * right - 1, 1 - 2 * down], axis=-1), depth, float(world2cam[2, 3])


def turn_head(camera: NDArray[np.floating], yaw: float, pitch: float, roll: float) -> NDArray[np.float32]:
    """Free view (paper §4.3): the camera that sees the same head turned further by these degrees, on the spot."""
    rotation, translation, intrinsics = head_pose_from_camera(camera)
    return camera_from_head_pose(rotation_from_euler(yaw, pitch, roll) @ rotation, translation, intrinsics)


def relative_camera(
    source: NDArray[np.floating], reference: NDArray[np.floating], current: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Apply the head motion reference → current to the source's camera; all [25].

    The rotation is applied to the source's head, the shift of the head's centre in the picture is added to the
    source's, and the distance changes by the same factor. Focal lengths may differ.
    """
    source_rotation, source_translation, intrinsics = head_pose_from_camera(source)
    reference_rotation, reference_translation, reference_intrinsics = head_pose_from_camera(reference)
    current_rotation, current_translation, current_intrinsics = head_pose_from_camera(current)
    rotation = current_rotation @ reference_rotation.T @ source_rotation
    depth = source_translation[2] * current_translation[2] / reference_translation[2]

    def centre(translation: Array, matrix: Array) -> Array:
        return (matrix @ translation)[:2] / translation[2]

    shift = centre(current_translation, current_intrinsics) - centre(reference_translation, reference_intrinsics)
    target = centre(source_translation, intrinsics) + shift
    ray = np.linalg.solve(intrinsics, np.array([target[0], target[1], 1.0]))
    return camera_from_head_pose(rotation, ray * depth, intrinsics)
