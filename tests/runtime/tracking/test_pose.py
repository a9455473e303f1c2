import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidenerf.runtime.camera import (
    CANONICAL_FILL,
    HEAD_RADIUS,
    project,
    rotation_from_euler,
)
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.tracking.pose import (
    NEAREST_HEAD,
    HeadPose,
    aligned_square,
    assumed_intrinsics,
    picture_intrinsics,
    project_head,
    solve_head_pose,
    square_camera,
)


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


angles = st.tuples(st.floats(-60, 60), st.floats(-30, 30), st.floats(-40, 40))
places = st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(3, 12))


def test_a_frontal_head_projects_upright_with_its_left_on_the_right() -> None:
    intrinsics = picture_intrinsics(100, 200, 300.0)
    pose = HeadPose(np.eye(3), np.array([0.0, 0.0, 3.0]))
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    # f / z = 100 pixels a unit in the head's plane, 150 one unit nearer; x to the right, y up, from (100, 50).
    np.testing.assert_allclose(project_head(corners, pose, intrinsics), [[100, 50], [200, 50], [100, -50], [100, 50]])


@settings(max_examples=30)
@given(angles, places)
def test_the_pose_is_recovered_from_projected_landmarks(
    euler: tuple[float, float, float], place: tuple[float, float, float]
) -> None:
    points = load_face_model(default_face_model_path()).landmark_mean.astype(np.float64)
    intrinsics = picture_intrinsics(480, 640, 700.0)
    pose = HeadPose(rotation_from_euler(*euler), np.array(place))
    found = solve_head_pose(points, project_head(points, pose, intrinsics), intrinsics)
    np.testing.assert_allclose(found.rotation, pose.rotation, atol=1e-4)
    np.testing.assert_allclose(found.translation, pose.translation, atol=1e-3)


@settings(max_examples=30)
@given(angles, st.floats(-0.4, 0.4), st.floats(12, 1500))
def test_the_pose_of_a_head_that_is_small_in_a_wide_picture_is_recovered(
    euler: tuple[float, float, float], aside: float, distance: float
) -> None:
    points = load_face_model(default_face_model_path()).landmark_mean.astype(np.float64)
    intrinsics = picture_intrinsics(1440, 5120, 1.2 * 5120)
    pose = HeadPose(rotation_from_euler(*euler), np.array([aside * distance, 0.1 * aside * distance, distance]))
    pixels = project_head(points, pose, intrinsics)
    found = solve_head_pose(points, pixels, intrinsics)
    np.testing.assert_allclose(found.rotation, pose.rotation, atol=1e-3)
    np.testing.assert_allclose(project_head(points, found, intrinsics), pixels, atol=1e-3)


def test_landmarks_that_determine_no_pose_are_an_error_in_one_sentence(face_model: FaceModel) -> None:
    points = face_model.landmark_mean.astype(np.float64)
    with pytest.raises(HideNerfError, match=r"^The face at \(7, 9\) has landmarks that no head pose explains; .*\.$"):
        solve_head_pose(points, np.full((len(points), 2), [7.0, 9.0]), picture_intrinsics(480, 640, 700.0))


@given(angles, places, st.floats(200, 3000))
def test_the_square_s_camera_sees_what_the_picture_s_saw(
    euler: tuple[float, float, float], place: tuple[float, float, float], focal: float
) -> None:
    intrinsics = picture_intrinsics(480, 640, focal)
    pose = HeadPose(rotation_from_euler(*euler), np.array(place))
    centre, side = aligned_square(pose, intrinsics)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (20, 3))
    in_square = project(points, square_camera(pose, intrinsics, centre, side))
    in_picture = project_head(points, pose, intrinsics)
    np.testing.assert_allclose(in_square * side + centre - side / 2, in_picture, atol=1e-3 * focal / 200)


def test_the_aligned_square_holds_the_head_with_the_canonical_margin() -> None:
    intrinsics = picture_intrinsics(480, 640, 600.0)
    centre, side = aligned_square(HeadPose(np.eye(3), np.array([1.0, 0.5, 6.0])), intrinsics)
    # 600 / 6 = 100 pixels a unit.
    np.testing.assert_allclose(centre, [320 + 100, 240 + 50])
    assert side == pytest.approx(2 * 100 * HEAD_RADIUS / CANONICAL_FILL)


@pytest.mark.parametrize(("distance", "focal"), [(8.0, 1.2 * 640), (2.0, None)])
def test_a_head_that_fills_the_picture_is_taken_for_one_seen_from_farther_away(
    face_model: FaceModel, distance: float, focal: float | None
) -> None:
    points = face_model.landmark_mean.astype(np.float64)
    pose = HeadPose(rotation_from_euler(5, 3, 2), np.array([0.0, 0.0, distance]))
    pixels = project_head(points, pose, picture_intrinsics(480, 640, 1.2 * 640))
    intrinsics = assumed_intrinsics(points, pixels, 480, 640)
    np.testing.assert_allclose(intrinsics[:2, 2], [320, 240])
    if focal is None:
        assert solve_head_pose(points, pixels, intrinsics).translation[2] == pytest.approx(NEAREST_HEAD, rel=0.03)
    else:
        assert intrinsics[0, 0] == pytest.approx(focal)
