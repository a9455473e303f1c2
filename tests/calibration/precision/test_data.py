from pathlib import Path

import numpy as np
import pytest

from hidenerf.calibration.precision.data import CalibrationData, FileEntry, collect
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.motion import Motion, load_motion, save_motion
from hidenerf.runtime.resting_face import with_rest_of
from hidenerf.runtime.sources.source import load_source


def gathered(animator: Animator, *motions: Path) -> CalibrationData:
    return collect(animator, [demo_source_path()], motions, 2)


@pytest.fixture
def short_motion(tmp_path: Path) -> Path:
    whole = load_motion(demo_motion_path())
    part = slice(40, 43)
    motion = Motion(
        whole.face_model,
        whole.expression_names,
        whole.expression[part],
        whole.camera[part],
        whole.tracked[part],
        whole.fps,
    )
    save_motion(motion, tmp_path / "short.npz")
    return tmp_path / "short.npz"


def test_the_tensors_are_those_of_the_animators_frames(animator: Animator, short_motion: Path) -> None:
    data = gathered(animator, demo_motion_path(), short_motion)
    assert [sample.held_out for sample in data.samples] == [False, True, False] * 2
    motion, rest = load_motion(demo_motion_path()), load_source(demo_source_path()).expression
    for sample, index in zip(data.samples, (0, 62, 124, 40, 41, 42), strict=True):
        assert sample.source == 0
        np.testing.assert_array_equal(sample.tensors["camera"][0], motion.camera[index])
        secc = animator.draw_secc(with_rest_of(rest, motion.expression[index], motion.expression_names))
        np.testing.assert_array_equal(sample.tensors["secc_driving"][0], secc)
    # They feed the backend as they are, and give the animator's own frame.
    animator.backend.encode_source(*data.sources[0].values())
    found, _ = animator.backend.render_secc(*data.samples[1].tensors.values())
    moved = with_rest_of(rest, motion.expression[62], motion.expression_names)
    expected, _ = animator.render(moved, motion.camera[62])
    np.testing.assert_array_equal(found, expected)


def test_the_description_is_in_hashes(animator: Animator, short_motion: Path) -> None:
    description = gathered(animator, demo_motion_path(), short_motion).description
    assert description.motions[1] == FileEntry("short.npz", sha256_of(short_motion))
    assert description.sources == [FileEntry("demo_source.npz", sha256_of(demo_source_path()))]
    assert [pair.frames for pair in description.pairs] == [[0, 124], [0, 2]]
    assert description.to_json()["pairs"][1] == vars(description.pairs[1])
    digests = [pair.frames_sha256 for pair in description.pairs]
    assert len({*digests}) == 2
    assert gathered(animator, short_motion).description.pairs[0].frames_sha256 == digests[1]


def test_a_folder_has_no_hash(tmp_path: Path) -> None:
    assert FileEntry.of(tmp_path).to_json() == {"name": tmp_path.name}
