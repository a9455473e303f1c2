from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hidenerf.runtime.camera import euler_from_rotation, rotation_from_euler
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.tracking.face_tracker import FaceTracker
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import HeadPose, picture_intrinsics, solve_head_pose
from hidenerf.runtime.tracking.smoothing import (
    EXPRESSION_RESPONSE,
    ROTATION_RESPONSE,
    HeadPoseFilter,
    OneEuroFilter,
    Response,
    RotationFilter,
    smoothing_factor,
)
from tests.support.faces import first_frames

Array = NDArray[np.float64]
FPS = 25.0


def test_the_share_of_a_new_sample_is_that_of_a_first_order_low_pass() -> None:
    # ω = 2π · 5 / 25 = 1.256637; ω / (1 + ω) = 0.556863
    assert smoothing_factor(5.0, 1 / 25) == pytest.approx(0.556863, abs=1e-6)


def test_without_speed_gain_it_is_a_plain_low_pass() -> None:
    smooth = OneEuroFilter(Response(cutoff=5.0, speed_gain=0.0), 1.0)
    share = 0.556863
    np.testing.assert_allclose(smooth(np.array([1.0]), 0.0), [1.0])
    np.testing.assert_allclose(smooth(np.array([3.0]), 0.04), [1 + 2 * share], rtol=1e-5)
    np.testing.assert_allclose(smooth(np.array([3.0]), 0.08), [3 - 2 * (1 - share) ** 2], rtol=1e-5)


def test_uneven_times_count_in_seconds() -> None:
    # A step of t seconds at cut-off 5 Hz takes the share 10πt / (1 + 10πt): 0.759 for 0.1 s, 0.611 for 0.05 s.
    smooth = OneEuroFilter(Response(cutoff=5.0, speed_gain=0.0), 1.0)
    smooth(np.array([0.0]), 7.0)
    np.testing.assert_allclose(smooth(np.array([1.0]), 7.1), [np.pi / (1 + np.pi)], rtol=1e-9)
    after = np.pi / (1 + np.pi)
    after += (2 - after) * 0.5 * np.pi / (1 + 0.5 * np.pi)
    np.testing.assert_allclose(smooth(np.array([2.0]), 7.15), [after], rtol=1e-9)


def test_speed_counts_in_seconds() -> None:
    # Changes of 1 in 0.1 s: speed 10 a second, smoothed at 1.5 Hz, adds 3 Hz for each unit a second to the cut-off.
    smooth = OneEuroFilter(Response(cutoff=1.0, speed_gain=3.0), 1.0)
    smooth(np.array([0.0]), 2.0)
    speed_share = 0.3 * np.pi / (1 + 0.3 * np.pi)
    turns = 2 * np.pi * 0.1 * (1.0 + 3.0 * 10.0 * speed_share)
    np.testing.assert_allclose(smooth(np.array([1.0]), 2.1), [turns / (1 + turns)], rtol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.1, 10))
def test_smoothed_values_stay_among_those_seen(samples: list[float], strength: float) -> None:
    smooth = OneEuroFilter(EXPRESSION_RESPONSE, strength)
    for index, sample in enumerate(samples):
        value = smooth(np.array([sample]), index / FPS)[0]
        assert min(samples[: index + 1]) - 1e-12 <= value <= max(samples[: index + 1]) + 1e-12


@given(st.tuples(st.floats(-80, 80), st.floats(-60, 60), st.floats(-80, 80)))
def test_rotations_stay_rotations_and_a_still_head_stays_still(euler: tuple[float, float, float]) -> None:
    smooth = RotationFilter(ROTATION_RESPONSE, 1.0)
    rotation = rotation_from_euler(*euler)
    smooth(np.eye(3), 0.0)
    for index in range(1, 201):
        value = smooth(rotation, index / FPS)
        np.testing.assert_allclose(value @ value.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(value, rotation, atol=1e-3)


def test_the_first_pose_comes_back_as_it_is() -> None:
    pose = HeadPose(rotation_from_euler(20, -10, 5), np.array([0.4, -0.3, 6.0]))
    smoothed = HeadPoseFilter(1.0)(pose, 0.0)
    np.testing.assert_allclose(smoothed.rotation, pose.rotation, atol=1e-12)
    np.testing.assert_allclose(smoothed.translation, pose.translation, atol=1e-12)


@pytest.fixture(scope="module")
def tracked(shared_data: Path, face_landmarker: Path) -> tuple[list[HeadPose], Array]:
    """Poses and scores [T, E] of a real clip, tracked frame by frame without any smoothing."""
    face_model = load_face_model(default_face_model_path())
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        tracker = FaceTracker(landmarker, None, "clip")
        faces = [tracker.follow(frame) for frame in first_frames(shared_data, "drv_d0.mp4", 78)]
    identity = np.zeros(len(face_model.identity_names))
    intrinsics = picture_intrinsics(512, 512, 1200.0)
    poses, scores = [], []
    for face in faces:
        assert face is not None
        poses.append(solve_head_pose(face_model.landmarks(identity, face.scores), face.landmarks, intrinsics))
        scores.append(face.scores)
    return poses, np.array(scores, np.float64)


def parameters(poses: list[HeadPose]) -> dict[str, Array]:
    translation = np.array([pose.translation for pose in poses])
    return {
        "rotation": np.array([euler_from_rotation(pose.rotation) for pose in poses]),
        "shift": translation[:, :2] / translation[:, 2:],
        "distance": np.log(translation[:, 2:]),
    }


def jitter(signal: Array) -> float:
    return float(np.abs(np.diff(signal, 2, axis=0)).mean())


def lag(raw: Array, smoothed: Array) -> float:
    """The delay in frames, to a tenth, at which the raw signal is nearest to the smoothed one."""
    times = np.arange(5.0, len(raw))

    def distance(delay: float) -> float:
        delayed = np.stack([np.interp(times - delay, np.arange(len(raw)), column) for column in raw.T], axis=1)
        return float(((delayed - smoothed[5:]) ** 2).sum())

    return min(np.arange(0.0, 4.0, 0.1), key=distance)


def test_the_jitter_of_a_real_clip_falls_by_half_with_little_lag(tracked: tuple[list[HeadPose], Array]) -> None:
    poses, scores = tracked
    smooth_pose = HeadPoseFilter(1.0)
    before, after = parameters(poses), parameters([smooth_pose(pose, index / FPS) for index, pose in enumerate(poses)])
    for name, raw in before.items():
        assert jitter(after[name]) < 0.5 * jitter(raw), name
        assert lag(raw, after[name]) < 2.0, name
    smooth_scores = OneEuroFilter(EXPRESSION_RESPONSE, 1.0)
    smoothed = np.array([smooth_scores(row, index / FPS) for index, row in enumerate(scores)])
    assert jitter(smoothed) < 0.7 * jitter(scores)
    assert lag(scores, smoothed) < 1.0


def test_more_strength_smooths_more(tracked: tuple[list[HeadPose], Array]) -> None:
    poses, _ = tracked
    values = []
    for strength in (0.5, 1.0, 2.0):
        smooth = HeadPoseFilter(strength)
        smoothed = [smooth(pose, index / FPS) for index, pose in enumerate(poses)]
        values.append(jitter(parameters(smoothed)["rotation"]))
    assert values == sorted(values, reverse=True)


def test_a_fast_turn_is_followed_at_once_and_noise_is_not() -> None:
    generator = np.random.default_rng(0)
    smooth = RotationFilter(ROTATION_RESPONSE, 1.0)
    turn = np.concatenate([np.zeros(30), np.linspace(0, 40, 10), np.full(30, 40.0)])
    noisy = turn + generator.normal(0, 0.3, len(turn))
    seen = []
    for index, angle in enumerate(noisy):
        rotation = np.asarray(cv2.Rodrigues(np.radians([0.0, angle, 0.0]))[0])
        seen.append(np.degrees(cv2.Rodrigues(smooth(rotation, index / FPS))[0][1, 0]))
    values = np.array(seen)
    assert jitter(values[:30, None]) < 0.5 * jitter(noisy[:30, None])
    assert abs(values[44] - 40) < 2
