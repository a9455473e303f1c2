"""The crop's camera sees what the picture's saw, and warping moves pixels where the matrix says."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.camera import project, rotation_from_euler
from hidenerf.runtime.sources.alignment import align, warp
from hidenerf.runtime.tracking.pose import HeadPose, picture_intrinsics, project_head

SIZE = 256


@given(
    st.tuples(st.floats(-50, 50), st.floats(-30, 30), st.floats(-60, 60)),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(3, 12)),
)
def test_the_crop_s_camera_sees_what_the_picture_s_saw(
    euler: tuple[float, float, float], place: tuple[float, float, float]
) -> None:
    intrinsics = picture_intrinsics(480, 640, 800.0)
    pose = HeadPose(rotation_from_euler(*euler), np.array(place))
    alignment = align(pose, intrinsics, SIZE)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (20, 3))
    pixels = project_head(points, pose, intrinsics)
    in_crop = pixels @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]
    np.testing.assert_allclose(project(points, alignment.camera) * SIZE, in_crop, atol=0.02)
    up = project(np.array([[0.0, 0.01, 0.0]]), alignment.camera)[0] - project(np.zeros(3), alignment.camera)
    assert up[1] < 0


@pytest.mark.parametrize("scale", [0.125, 0.4, 1.0, 2.5])
def test_warping_moves_pixels_where_the_matrix_says(scale: float) -> None:
    picture = np.zeros((400, 400), np.uint8)
    picture[100:140, 200:240] = 255
    # The block's middle (220, 120) goes to (70, 60).
    matrix = np.array([[scale, 0, 70 - 220 * scale], [0, scale, 60 - 120 * scale]])
    moments = cv2.moments(warp(picture, matrix, 160, cv2.BORDER_CONSTANT))
    # Moments count from pixel centres.
    middle = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
    np.testing.assert_allclose(middle, [70, 60], atol=0.05)
    assert moments["m00"] / 255 == pytest.approx((40 * scale) ** 2, rel=0.03)
