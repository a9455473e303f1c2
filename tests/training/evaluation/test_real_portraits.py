"""Views of real portraits: what is drawn of them."""

import numpy as np

from hidenerf.runtime.camera import canonical_camera, euler_from_rotation, head_pose_from_camera
from hidenerf.runtime.defaults import demo_motion_path
from hidenerf.runtime.motion import load_motion
from hidenerf.training.evaluation.real_portraits import MOMENTS, views_of
from hidenerf.training.evaluation.scores import Subject


def test_a_portrait_is_turned_to_both_sides_and_driven() -> None:
    motion = load_motion(demo_motion_path())
    source = Subject(np.zeros(3, np.float32), np.full(52, 0.1, np.float32), canonical_camera(5.0))
    views = views_of(source, motion)
    assert list(views) == ["own pose", "yaw ±15°", "yaw ±30°", "shipped motion"]
    assert views["own pose"] == [source]
    yaws = [euler_from_rotation(head_pose_from_camera(one.camera)[0])[0] for one in views["yaw ±30°"]]
    np.testing.assert_allclose(yaws, [-25, 35], atol=1e-3)
    assert all(one.expression is source.expression for one in views["yaw ±15°"])
    driven = views["shipped motion"]
    assert len(driven) == len(MOMENTS)
    row = int(len(motion.expression) * MOMENTS[2])
    np.testing.assert_array_equal(driven[2].expression, motion.expression[row])
    np.testing.assert_array_equal(driven[2].camera, motion.camera[row])
    assert driven[2].identity is source.identity
