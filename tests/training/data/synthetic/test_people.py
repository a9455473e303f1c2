import numpy as np
import pytest

from hidenerf.runtime.camera import head_pose_from_camera, project
from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.people import (
    LOOK_SIZES,
    Pair,
    Pose,
    make_held_out_pair,
    make_pair,
    pack_look,
    random_expression,
    random_pose,
)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_head_mesh().face_model


@pytest.fixture(scope="module")
def pairs(model: FaceModel) -> list[Pair]:
    return [make_pair(model, number) for number in range(400)]


def _same(one: Pair, other: Pair) -> bool:
    return one.person.style == other.person.style and all(
        np.array_equal(a, b)
        for a, b in (
            (one.person.identity, other.person.identity),
            (pack_look(one.person.look), pack_look(other.person.look)),
            (one.source_expression, other.source_expression),
            (one.expression, other.expression),
            (one.source_camera, other.source_camera),
            (one.camera, other.camera),
        )
    )


def test_a_pair_is_made_from_its_number_alone(model: FaceModel) -> None:
    assert _same(make_pair(model, 7), make_pair(model, 7))
    others = [make_pair(model, 8), make_pair(model, 7, seed=1), make_held_out_pair(model, 7)]
    identities = [pair.person.identity for pair in (make_pair(model, 7), *others)]
    assert all(not np.array_equal(a, b) for i, a in enumerate(identities) for b in identities[:i])


def test_some_pairs_differ_in_expression_only_and_some_in_pose_only(pairs: list[Pair]) -> None:
    same_camera = np.array([np.array_equal(pair.source_camera, pair.camera) for pair in pairs])
    same_expression = np.array([np.array_equal(pair.source_expression, pair.expression) for pair in pairs])
    assert 0.09 < same_camera.mean() < 0.21
    assert 0.09 < same_expression.mean() < 0.25
    assert not (same_camera & same_expression).all()


def test_cameras_frame_the_head_as_aligned_crops_do(pairs: list[Pair]) -> None:
    cameras = [pair.camera for pair in pairs]
    centres = np.array([project(np.zeros(3), camera) for camera in cameras])
    assert np.abs(centres - 0.5).max() < 0.101
    assert np.abs(centres.mean(axis=0) - 0.5).max() < 0.01
    fovs = np.array([2 * np.degrees(np.arctan(0.5 / camera[16])) for camera in cameras])
    assert 9.9 < fovs.min() < 12
    assert 35 < fovs.max() < 40.1
    assert np.median(fovs) < 24
    # Some pictures are cut out of larger ones, which puts the camera's axis off the middle.
    assert 0.2 < np.mean([abs(camera[18] - 0.5) > 0.15 for camera in cameras]) < 0.4
    # A head as far from the axis is turned by so much that it looks into the camera where the pose is frontal.
    for camera in cameras:
        rotation, translation, _ = head_pose_from_camera(camera)
        to_camera = -translation / np.linalg.norm(translation) * [1, -1, -1]
        assert np.degrees(np.arccos(rotation[:, 2] @ to_camera)) < 52


def test_poses_are_centre_heavy_and_reach_their_bounds() -> None:
    random = np.random.default_rng(0)
    angles = np.abs([(pose.yaw, pose.pitch, pose.roll) for pose in (random_pose(random) for _ in range(2000))])
    assert (angles < [45, 25, 20]).all()
    assert (angles.max(axis=0) > [42, 23, 18.5]).all()
    assert (np.median(angles, axis=0) < np.array([45, 25, 20]) * 0.42).all()


def test_every_action_appears_alone_at_nearly_full_strength(model: FaceModel) -> None:
    random = np.random.default_rng(1)
    drawn = np.array([random_expression(model, random, Pose(0, 0, 0, 16), mild=False) for _ in range(6000)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    closing, opening = (model.expression_names.index(name) for name in ("mouthClose", "jawOpen"))
    assert (drawn[:, closing] <= drawn[:, opening]).all()
    sides = [name.removesuffix("Left").removesuffix("Right") for name in model.expression_names]
    for action, name in enumerate(model.expression_names):
        others = [other for other in range(len(sides)) if sides[other] != sides[action]]
        alone = (drawn[:, others] == 0).all(axis=1)
        # Nothing can be closed that is not open.
        assert name == "mouthClose" or drawn[alone, action].max() > 0.85, name
    assert 0.02 < (drawn == 0).all(axis=1).mean() < 0.2


def test_looks_are_plausible(pairs: list[Pair]) -> None:
    looks = np.array([pack_look(pair.person.look) for pair in pairs])
    assert looks.shape[1] == sum(LOOK_SIZES.values())
    assert np.isfinite(looks).all()
    for pair in pairs:
        assert set(pair.person.look) == set(LOOK_SIZES)
        for name in ("skin", "lip", "hair", "brow", "iris", "teeth", "cloth"):
            assert (pair.person.look[name] > 0).all()
            assert (pair.person.look[name] < 1).all()
        assert np.linalg.norm(pair.person.look["key_direction"]) == pytest.approx(1, abs=1e-6)
        assert np.abs(pair.person.identity).max() <= 1
