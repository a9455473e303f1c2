"""Absolute and relative motion, and free view, against rotations composed by hand."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hidenerf.runtime.camera import (
    camera_from_head_pose,
    canonical_camera,
    euler_from_rotation,
    head_pose_from_camera,
    intrinsics_from_fov,
    project,
    rotation_from_euler,
)
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.retarget import ORBIT_SECONDS, Retargeter, View
from hidenerf.runtime.sources.source import Source

Float = NDArray[np.float32]
Angles = tuple[float, float, float]


def camera(angles: Angles = (0, 0, 0), centre: Angles = (0.0, 0.0, 7.0), fov: float = 16.0) -> Float:
    return camera_from_head_pose(rotation_from_euler(*angles), np.array(centre, np.float64), intrinsics_from_fov(fov))


def source(expression: list[float] | None = None, face_model: str = "anny", view: Float | None = None) -> Source:
    picture = np.zeros((4, 4, 3), np.uint8)
    return Source(
        picture=picture,
        mask=picture[..., 0],
        background=picture,
        camera=camera((10, 5, -3), (0.1, 0.05, 6.0)) if view is None else view,
        identity=np.zeros(2, np.float32),
        expression=np.array(expression or [0.2, 0.5, 0.0], np.float32),
        face_model=face_model,
    )


def frame(
    expression: list[float] | None = None, view: Float | None = None, time: Fraction = Fraction(0), tracked: bool = True
) -> MotionFrame:
    return MotionFrame(
        np.array(expression or [0.1, 0.3, 0.9], np.float32), camera() if view is None else view, tracked, time
    )


def angles_of(view: Float) -> Angles:
    return euler_from_rotation(head_pose_from_camera(view)[0])


def test_absolute_motion_is_the_drivers() -> None:
    driving = frame([0.1, 0.3, 0.9], camera((20, -10, 4)))
    expression, view = Retargeter(source(), "absolute", View()).apply(driving)
    assert expression.tolist() == driving.expression.tolist()
    assert view.tolist() == driving.camera.tolist()
    assert expression.dtype == view.dtype == np.float32


def test_relative_motion_starts_at_the_source() -> None:
    retargeter = Retargeter(source(), "relative", View())
    expression, view = retargeter.apply(frame(view=camera((30, 20, 10), (0.5, -0.4, 9.0), 25.0)))
    np.testing.assert_allclose(expression, source().expression, atol=1e-7)
    np.testing.assert_allclose(view, source().camera, atol=1e-5)


def test_relative_motion_adds_what_changed() -> None:
    retargeter = Retargeter(source([0.2, 0.5, 0.0]), "relative", View())
    retargeter.apply(frame([0.1, 0.3, 0.1], camera((5, 0, 0))))
    expression, view = retargeter.apply(frame([0.4, 0.2, 0.3], camera((17, 0, 0))))
    np.testing.assert_allclose(expression, [0.5, 0.4, 0.2], atol=1e-6)
    # The head turned by 12 degrees about the world's y axis, and the source's head turns by the same.
    expected = rotation_from_euler(12, 0, 0) @ rotation_from_euler(10, 5, -3)
    np.testing.assert_allclose(head_pose_from_camera(view)[0], expected, atol=1e-5)


def test_relative_shift_is_that_of_the_head_centre_in_the_picture() -> None:
    retargeter = Retargeter(source(), "relative", View())
    first, second = camera(centre=(0.0, 0.0, 7.0)), camera(centre=(0.3, -0.2, 7.7))
    retargeter.apply(frame(view=first))
    _, view = retargeter.apply(frame(view=second))
    origin = np.zeros(3)
    expected = project(origin, source().camera) + project(origin, second) - project(origin, first)
    np.testing.assert_allclose(project(origin, view), expected, atol=1e-5)
    assert head_pose_from_camera(view)[1][2] == pytest.approx(6.0 * 7.7 / 7.0, rel=1e-5)


def test_arkit_coefficients_stay_between_0_and_1_and_others_need_not() -> None:
    for face_model, expected in (("anny", [1.0, 0.0, 0.0]), ("bfm2009", [1.1, -0.3, 0.0])):
        retargeter = Retargeter(source([0.2, 0.5, 0.0], face_model), "relative", View())
        retargeter.apply(frame([0.0, 0.9, 0.5]))
        expression, _ = retargeter.apply(frame([0.9, 0.1, 0.5]))
        np.testing.assert_allclose(expression, expected, atol=1e-6)


def test_the_reference_is_the_first_tracked_frame() -> None:
    retargeter = Retargeter(source([0.2, 0.5, 0.0]), "relative", View())
    retargeter.apply(frame([0.0, 0.0, 0.0], camera((40, 0, 0)), tracked=False))
    expression, view = retargeter.apply(frame([0.5, 0.5, 0.5], camera((5, 0, 0))))
    np.testing.assert_allclose(expression, [0.2, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(view, source().camera, atol=1e-5)
    # A later loss of the face must not move the reference.
    retargeter.apply(frame([0.5, 0.5, 0.5], camera((5, 0, 0)), tracked=False))
    expression, _ = retargeter.apply(frame([0.6, 0.5, 0.5], camera((5, 0, 0))))
    np.testing.assert_allclose(expression, [0.3, 0.5, 0.0], atol=1e-6)


def test_a_source_is_not_changed_by_retargeting() -> None:
    original = source()
    copies = {field.name: np.copy(getattr(original, field.name)) for field in dataclasses.fields(original)}
    retargeter = Retargeter(original, "relative", View(yaw=5))
    for index in range(3):
        retargeter.apply(frame([0.1 * index] * 3, camera((index, 0, 0))))
    assert all(np.array_equal(getattr(original, name), value) for name, value in copies.items())


def test_no_free_view_leaves_the_camera_alone() -> None:
    view = camera((3, 2, 1))
    assert View().apply(view, 1.7) is view


@settings(max_examples=30)
@given(yaw=st.floats(-60, 60), pitch=st.floats(-40, 40), roll=st.floats(-40, 40))
def test_offsets_turn_a_frontal_head_by_themselves(yaw: float, pitch: float, roll: float) -> None:
    turned = View(yaw, pitch, roll).apply(canonical_camera(), 0.0)
    assert angles_of(turned) == pytest.approx((yaw, pitch, roll), abs=1e-3)
    np.testing.assert_allclose(project(np.zeros(3), turned), [0.5, 0.5], atol=1e-5)


def test_offsets_turn_in_the_worlds_axes_after_the_heads_own_pose() -> None:
    turned = View(yaw=15, pitch=-5).apply(camera((20, 10, 5)), 0.0)
    expected = rotation_from_euler(15, -5, 0) @ rotation_from_euler(20, 10, 5)
    np.testing.assert_allclose(head_pose_from_camera(turned)[0], expected, atol=1e-5)


def test_the_orbit_turns_fully_to_both_sides_once_a_period() -> None:
    view = View(orbit=20)
    quarters = [angles_of(view.apply(canonical_camera(), ORBIT_SECONDS * quarter / 4))[0] for quarter in range(5)]
    assert quarters == pytest.approx([0, 20, 0, -20, 0], abs=1e-3)
    path = np.array([angles_of(view.apply(canonical_camera(), ORBIT_SECONDS * step / 48)) for step in range(49)])
    assert np.abs(path[:, 0]).max() == pytest.approx(20, abs=1e-3)
    assert np.abs(path[:, 1]).max() == pytest.approx(8, abs=1e-3)
    np.testing.assert_allclose(path[:, 2], 0, atol=1e-3)
    np.testing.assert_allclose(path[0], path[-1], atol=1e-3)
    # It circles: at no time but the ends is it where it was before.
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).min() > 0.1


def test_the_orbit_follows_the_motions_exact_time() -> None:
    retargeter = Retargeter(source(), "absolute", View(orbit=20))
    _, view = retargeter.apply(frame(view=canonical_camera(), time=Fraction(1)))
    assert angles_of(view)[0] == pytest.approx(20, abs=1e-3)


def test_an_orbit_is_added_to_the_offsets() -> None:
    turned = View(yaw=10, orbit=20).apply(canonical_camera(), ORBIT_SECONDS / 4)
    assert angles_of(turned)[0] == pytest.approx(30, abs=1e-3)
