import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.camera import (
    CANONICAL_FILL,
    HEAD_RADIUS,
    camera_from_head_pose,
    canonical_camera,
    euler_from_rotation,
    frontal_view,
    head_pose_from_camera,
    intrinsics_from_fov,
    invert_rigid,
    pack_camera,
    project,
    relative_camera,
    rotation_from_euler,
    turn_head,
    unpack_camera,
)

angles = st.floats(-179, 179, allow_nan=False)
pitches = st.floats(-85, 85, allow_nan=False)
eulers = st.tuples(angles, pitches, angles)
small_eulers = st.tuples(*[st.floats(-60, 60, allow_nan=False)] * 3)
shifts = st.floats(-1.5, 1.5, allow_nan=False)
centres = st.tuples(shifts, shifts, st.floats(4, 12, allow_nan=False)).map(np.array)

LEFT, UP, OUT = np.eye(3)


def shown_at(camera: np.ndarray, *points: list[float]) -> np.ndarray:
    return project(np.array(points, float), camera)


def test_the_frontal_view_is_the_projection_with_distances() -> None:
    """Right and up; the origin is in the middle, and what comes out of the face by 0.5 is nearer by 0.5."""
    camera = canonical_camera()
    places, depth, origin = frontal_view(np.array([[0, 0, 0], [0.3, 0.2, 0.5]]), camera)
    right, down = shown_at(camera, [0.3, 0.2, 0.5])[0]
    np.testing.assert_allclose(places, [[0, 0], [2 * right - 1, 1 - 2 * down]], atol=1e-6)
    assert places[1].min() > 0
    np.testing.assert_allclose(depth, [origin, origin - 0.5], atol=1e-6)


def test_world_axes_as_a_frontal_viewer_sees_them() -> None:
    """The subject's left is the picture's right, up is up, and what comes out of the face is nearer."""
    origin, left, up, out = shown_at(canonical_camera(), [0, 0, 0], LEFT, UP, OUT)
    np.testing.assert_allclose(origin, [0.5, 0.5], atol=1e-6)
    assert left[0] > 0.5
    assert left[1] == pytest.approx(0.5)
    assert up[1] < 0.5
    assert up[0] == pytest.approx(0.5)
    cam2world, _ = unpack_camera(canonical_camera())
    depth = [invert_rigid(cam2world)[2] @ np.append(point, 1) for point in (np.zeros(3), OUT)]
    assert depth[1] == pytest.approx(depth[0] - 1, abs=1e-5)
    np.testing.assert_allclose(out, [0.5, 0.5], atol=1e-6)


def test_canonical_camera_by_hand() -> None:
    """Half the picture is tan(8°) of the distance, and the head's radius is three quarters of that half."""
    distance = 0.77 / (0.75 * np.tan(np.radians(8)))
    cam2world, intrinsics = unpack_camera(canonical_camera())
    np.testing.assert_allclose(cam2world[:3, 3], [0, 0, distance], rtol=1e-6)
    np.testing.assert_allclose(cam2world[:3, :3], np.diag([1, -1, -1]), atol=1e-7)
    np.testing.assert_allclose(intrinsics, [[0.5 / np.tan(np.radians(8)), 0, 0.5], [0, 3.5576848, 0.5], [0, 0, 1]])
    edge = shown_at(canonical_camera(), [HEAD_RADIUS, 0, 0])[0]
    assert edge[0] == pytest.approx(0.5 + 0.5 * CANONICAL_FILL, abs=1e-6)


def test_projection_by_hand() -> None:
    """Camera two units in front, field of view 90°: a unit sideways at depth 2 is half of the half picture."""
    camera = camera_from_head_pose(np.eye(3), np.array([0, 0, 2.0]), intrinsics_from_fov(90))
    points = shown_at(camera, [1, 0, 0], [0, 1, 0], [0.5, 0.5, 1], [0, 0, -2])
    np.testing.assert_allclose(points, [[0.75, 0.5], [0.5, 0.25], [0.75, 0.25], [0.5, 0.5]], atol=1e-7)


def test_translation_is_the_head_centre_in_opencv_axes() -> None:
    """One unit right and half a unit down at depth 4, field of view 90°."""
    camera = camera_from_head_pose(rotation_from_euler(20, 10, 5), np.array([1, 0.5, 4.0]), intrinsics_from_fov(90))
    np.testing.assert_allclose(shown_at(camera, [0, 0, 0]), [[0.5 + 0.125, 0.5 + 0.0625]], atol=1e-7)


def test_signs_of_the_angles() -> None:
    """Where the nose (+z) and the crown (+y) go: yaw to the subject's left, pitch down, roll anticlockwise as seen."""
    np.testing.assert_allclose(rotation_from_euler(90, 0, 0) @ OUT, LEFT, atol=1e-12)
    np.testing.assert_allclose(rotation_from_euler(0, 90, 0) @ OUT, -UP, atol=1e-12)
    np.testing.assert_allclose(rotation_from_euler(0, 0, 90) @ UP, -LEFT, atol=1e-12)
    nose = [0, 0, 0.5]
    assert shown_at(canonical_camera(yaw=20), nose)[0, 0] > 0.5
    assert shown_at(canonical_camera(pitch=20), nose)[0, 1] > 0.5
    crown = shown_at(canonical_camera(roll=20), [0, 0.7, 0])[0]
    assert crown[0] < 0.5
    assert crown[1] < 0.5


def test_order_of_the_angles() -> None:
    """R = Ry(yaw) · Rx(pitch) · Rz(roll), multiplied out by hand for quarter turns."""
    expected = np.array(
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    )  # Ry(90) = [[0,0,1],[0,1,0],[-1,0,0]], Rz(90) = [[0,-1,0],..]
    np.testing.assert_allclose(rotation_from_euler(90, 0, 90), expected, atol=1e-12)
    expected = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    np.testing.assert_allclose(rotation_from_euler(0, 90, 90), expected, atol=1e-12)


@given(eulers)
def test_rotations_are_rotations_and_their_angles_come_back(euler: tuple[float, float, float]) -> None:
    rotation = rotation_from_euler(*euler)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert euler_from_rotation(rotation) == pytest.approx(euler, abs=1e-6)


@pytest.mark.parametrize("pitch", [90.0, -90.0])
def test_angles_at_gimbal_lock_give_the_same_rotation(pitch: float) -> None:
    rotation = rotation_from_euler(30, pitch, 20)
    np.testing.assert_allclose(rotation_from_euler(*euler_from_rotation(rotation)), rotation, atol=1e-6)


@given(eulers, centres, st.floats(5, 120))
def test_head_pose_comes_back(euler: tuple[float, float, float], centre: np.ndarray, fov: float) -> None:
    rotation, intrinsics = rotation_from_euler(*euler), intrinsics_from_fov(fov)
    camera = camera_from_head_pose(rotation, centre, intrinsics)
    assert camera.shape == (25,)
    assert camera.dtype == np.float32
    found = head_pose_from_camera(camera)
    for value, expected in zip(found, (rotation, centre, intrinsics), strict=True):
        np.testing.assert_allclose(value, expected, atol=2e-5, rtol=1e-6)


@given(eulers, centres)
def test_inverse_undoes(euler: tuple[float, float, float], centre: np.ndarray) -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_from_euler(*euler), centre
    np.testing.assert_allclose(invert_rigid(matrix) @ matrix, np.eye(4), atol=1e-12)
    stacked = np.stack([matrix, np.eye(4)])
    np.testing.assert_allclose(invert_rigid(stacked)[0], np.linalg.inv(matrix), atol=1e-12)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_packing_and_unpacking(lead: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(*lead, 25)).astype(np.float32)
    cam2world, intrinsics = unpack_camera(values)
    assert (cam2world.shape, intrinsics.shape) == ((*lead, 4, 4), (*lead, 3, 3))
    np.testing.assert_array_equal(cam2world[..., 1, 2], values[..., 6])
    np.testing.assert_array_equal(intrinsics[..., 2, 0], values[..., 22])
    np.testing.assert_array_equal(pack_camera(cam2world, intrinsics), values)


@given(eulers, centres)
def test_projection_agrees_with_opencv(euler: tuple[float, float, float], centre: np.ndarray) -> None:
    import cv2

    points = np.random.default_rng(0).uniform(-0.8, 0.8, (10, 3))
    camera = camera_from_head_pose(rotation_from_euler(*euler), centre, intrinsics_from_fov(30))
    cam2world, intrinsics = unpack_camera(camera)
    world2cam = np.linalg.inv(cam2world)
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(world2cam[:3, :3])[0], world2cam[:3, 3], intrinsics, None)
    np.testing.assert_allclose(project(points, camera), expected[:, 0], atol=1e-5)


@given(eulers, centres, small_eulers)
def test_turning_the_head_is_on_the_spot(
    euler: tuple[float, float, float], centre: np.ndarray, turn: tuple[float, float, float]
) -> None:
    camera = camera_from_head_pose(rotation_from_euler(*euler), centre, intrinsics_from_fov(16))
    turned = turn_head(camera, *turn)
    rotation, translation, intrinsics = head_pose_from_camera(turned)
    np.testing.assert_allclose(translation, centre, atol=1e-4)
    np.testing.assert_allclose(intrinsics, intrinsics_from_fov(16), rtol=1e-6)
    np.testing.assert_allclose(rotation, rotation_from_euler(*turn) @ rotation_from_euler(*euler), atol=1e-5)


@given(eulers, centres)
def test_no_turn_changes_nothing(euler: tuple[float, float, float], centre: np.ndarray) -> None:
    camera = camera_from_head_pose(rotation_from_euler(*euler), centre, intrinsics_from_fov(16))
    np.testing.assert_allclose(turn_head(camera, 0, 0, 0), camera, atol=1e-5)


@given(small_eulers, centres, small_eulers, centres, st.floats(10, 60), st.floats(10, 60))
def test_no_motion_leaves_the_source_camera(
    source_euler: tuple[float, float, float],
    source_centre: np.ndarray,
    euler: tuple[float, float, float],
    centre: np.ndarray,
    source_fov: float,
    fov: float,
) -> None:
    source = camera_from_head_pose(rotation_from_euler(*source_euler), source_centre, intrinsics_from_fov(source_fov))
    driving = camera_from_head_pose(rotation_from_euler(*euler), centre, intrinsics_from_fov(fov))
    np.testing.assert_allclose(relative_camera(source, driving, driving), source, atol=2e-4)


@given(small_eulers, centres, small_eulers, centres, st.floats(10, 60))
def test_motion_of_the_source_itself_is_followed(
    reference_euler: tuple[float, float, float],
    reference_centre: np.ndarray,
    euler: tuple[float, float, float],
    centre: np.ndarray,
    fov: float,
) -> None:
    """Where the reference is the source's own pose, relative motion is absolute motion."""
    intrinsics = intrinsics_from_fov(fov)
    source = camera_from_head_pose(rotation_from_euler(*reference_euler), reference_centre, intrinsics)
    current = camera_from_head_pose(rotation_from_euler(*euler), centre, intrinsics)
    np.testing.assert_allclose(relative_camera(source, source, current), current, atol=3e-4)


def test_relative_motion_by_hand() -> None:
    """Driver, field of view 90°: turns 30°, moves a quarter picture right and comes half as near.

    The source, field of view 16°, tilted by 10°, a tenth of the picture left of the middle at depth 8.
    """
    narrow, wide = intrinsics_from_fov(16), intrinsics_from_fov(90)
    focal = narrow[0, 0]
    source = camera_from_head_pose(rotation_from_euler(0, 0, 10), np.array([-0.1 / focal * 8, 0, 8.0]), narrow)
    reference = camera_from_head_pose(np.eye(3), np.array([0, 0, 4.0]), wide)
    current = camera_from_head_pose(rotation_from_euler(30, 0, 0), np.array([1.0, 0, 2.0]), wide)
    rotation, translation, intrinsics = head_pose_from_camera(relative_camera(source, reference, current))
    expected = rotation_from_euler(30, 0, 0) @ rotation_from_euler(0, 0, 10)
    np.testing.assert_allclose(rotation, expected, atol=1e-6)
    # The driver's shift is 0.5 · 1 / 2 of the picture.
    np.testing.assert_allclose(translation, [(-0.1 + 0.25) / focal * 4, 0, 4], atol=1e-5)
    np.testing.assert_allclose(intrinsics, narrow, rtol=1e-6)
