"""The demonstration's portrait and motion: those that ship with the package, and what the command makes now.

The shipped portrait was painted by an earlier painter. The command makes the same person in the same pose and
expression, but its pixels are others, so they are not compared; both must keep the contract of a source.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hidenerf.assets.demo import make_demo_motion, make_demo_source
from hidenerf.runtime.camera import euler_from_rotation, head_pose_from_camera, project
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion, load_motion
from hidenerf.runtime.sources.source import Source, load_source

DATA = Path(str(files("hidenerf.runtime.data")))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def shipped() -> Source:
    return load_source(DATA / "demo_source.npz")


@pytest.fixture(scope="module")
def made(model: FaceModel) -> Source:
    return make_demo_source(model)


@pytest.fixture(params=["shipped", "made"])
def source(request: pytest.FixtureRequest) -> Source:
    found: Source = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def motion() -> Motion:
    return load_motion(DATA / "demo_motion.npz")


@pytest.mark.slow
def test_the_shipped_files_hold_what_the_command_makes_but_for_pixels(
    model: FaceModel, shipped: Source, made: Source, motion: Motion
) -> None:
    np.testing.assert_array_equal(made.identity, shipped.identity)
    np.testing.assert_array_equal(made.expression, shipped.expression)
    np.testing.assert_array_equal(made.camera, shipped.camera)
    np.testing.assert_array_equal(made.background, shipped.background)
    np.testing.assert_allclose(make_demo_motion(model).expression, motion.expression, atol=1e-6)
    np.testing.assert_allclose(make_demo_motion(model).camera, motion.camera, atol=1e-5)


def test_they_are_small() -> None:
    assert sum((DATA / name).stat().st_size for name in ("demo_source.npz", "demo_motion.npz")) < 300_000


def test_the_portrait_keeps_the_sources_contract(model: FaceModel, source: Source) -> None:
    assert source.picture.shape == source.background.shape == (256, 256, 3)
    assert source.mask.shape == (256, 256)
    assert source.face_model == model.name
    assert np.all(source.picture[source.mask == 0] == 0)
    assert 0.15 < (source.mask == 255).mean() < 0.5
    assert np.abs(source.identity).max() > 0.2


def test_the_fitted_model_lies_on_the_portrait(model: FaceModel, source: Source) -> None:
    """Every vertex falls onto the mask, and the dark pupils onto the projected irises."""
    pixels = project(model.vertices(source.identity, source.expression), source.camera) * 256
    columns, rows = np.clip(pixels.astype(int), 0, 255).T
    assert (source.mask[rows, columns] > 0).mean() > 0.98
    irises = project(model.landmarks(source.identity, source.expression)[[468, 473]], source.camera) * 256
    for column, row in irises.astype(int):
        assert source.picture[row, column].max() < 60
        assert source.picture[row - 1 : row + 2, column - 6 : column + 7].max() > 120


def test_the_real_tracker_finds_the_portraits_face(model: FaceModel, source: Source, face_landmarker: Path) -> None:
    from hidenerf.assets.face_model_landmarks import mediapipe_detector

    with mediapipe_detector(face_landmarker) as detect:
        found = detect(np.maximum(source.picture, (source.mask[..., None] == 0) * source.background))
    assert found is not None
    expected = project(model.landmarks(source.identity, source.expression), source.camera) * 256
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected[468] - expected[473])
    assert np.median(error) < 0.05


def test_the_motion_speaks_blinks_smiles_and_turns(motion: Motion) -> None:
    assert len(motion) == 125
    assert motion.fps == 25
    assert motion.face_model == "anny"
    assert motion.tracked.all()
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1
    peak = dict(zip(motion.expression_names, motion.expression.max(axis=0), strict=True))
    for action, least in (("jawOpen", 0.4), ("eyeBlinkLeft", 0.9), ("mouthSmileRight", 0.6), ("mouthPucker", 0.5)):
        assert peak[action] >= least, action
    jaw = motion.expression[:, motion.expression_names.index("jawOpen")]
    openings = (jaw[1:-1] > jaw[:-2]) & (jaw[1:-1] >= jaw[2:]) & (jaw[1:-1] > 0.1)
    assert openings.sum() >= 5
    yaws = [euler_from_rotation(head_pose_from_camera(camera)[0])[0] for camera in motion.camera]
    assert max(yaws) == pytest.approx(20, abs=0.1)
    assert min(yaws) == pytest.approx(-20, abs=0.1)
    assert np.abs(np.diff(yaws)).max() < 1.5


def test_the_motion_loops(motion: Motion) -> None:
    """From the last frame to the first is no larger a step than between any two frames."""
    for values in (motion.expression, motion.camera):
        largest = np.abs(np.diff(values, axis=0)).max()
        assert np.abs(values[0] - values[-1]).max() <= 1.01 * largest
