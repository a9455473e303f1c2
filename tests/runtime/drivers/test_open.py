import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.drivers import check_face_model, open_driver
from hidenerf.runtime.drivers.base import MotionDriver
from hidenerf.runtime.drivers.video import VideoDriver
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion, save_motion
from tests.support.faces import portrait, write_frames


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


def motion_of(name: str, expressions: tuple[str, ...]) -> Motion:
    return Motion(
        face_model=name,
        expression_names=expressions,
        expression=np.zeros((2, len(expressions)), np.float32),
        camera=np.stack([canonical_camera()] * 2),
        tracked=np.ones(2, np.bool_),
        fps=Fraction(24),
    )


def test_a_motion_file_whatever_its_name(face_model: FaceModel, tmp_path: Path) -> None:
    save_motion(motion_of(face_model.name, face_model.expression_names), tmp_path / "motion.npz")
    (tmp_path / "motion.npz").rename(tmp_path / "motion.dat")
    driver = open_driver(str(tmp_path / "motion.dat"), face_model=face_model)
    assert (driver.fps, driver.length, driver.live) == (24, 2, False)


def test_motion_for_another_face_model_is_refused(face_model: FaceModel, tmp_path: Path) -> None:
    save_motion(motion_of("bfm2009", ("a", "b")), tmp_path / "motion.npz")
    with pytest.raises(HideNerfError, match="made for the face model bfm2009, but the bundle has anny"):
        open_driver(str(tmp_path / "motion.npz"), face_model=face_model)
    driver = MotionDriver(motion_of(face_model.name, ("jawOpen",)))
    with pytest.raises(HideNerfError, match="1 expressions are not the 52"):
        check_face_model(driver, face_model)


def test_an_arkit_take(face_model: FaceModel, shared_data: Path) -> None:
    driver = open_driver(str(shared_data / "drv_livelinkface.csv"), face_model=face_model)
    assert (driver.fps, driver.length, driver.still, driver.audio) == (30, 151, False, None)  # one was dropped


def test_pictures_and_clips_are_told_by_content(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    picture, clip = tmp_path / "one", tmp_path / "two"
    picture.write_bytes((shared_data / "src_astronaut.png").read_bytes())
    frames = [portrait(shared_data, "src_astronaut.png")] * 2
    write_frames(tmp_path / "two.mp4", frames).rename(clip)
    for path, length in ((picture, 1), (clip, 2)):
        driver = open_driver(str(path), face_model=face_model, landmarker=face_landmarker)
        assert isinstance(driver, VideoDriver)
        assert (driver.still, len(list(driver))) == (length == 1, length)
        driver.close()


@pytest.mark.parametrize("name", ["absent.mp4", "absent.npz", "absent.csv", "absent", "0"])
def test_an_absent_file_is_never_taken_for_a_camera(face_model: FaceModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(HideNerfError, match="no such file; give a motion file"):
        open_driver(str(tmp_path / name), face_model=face_model)


@pytest.mark.parametrize("spec", ["camera:", "camera:front", "camera:-1", "camera:1.5"])
def test_a_camera_needs_a_number(face_model: FaceModel, spec: str) -> None:
    with pytest.raises(HideNerfError, match="give camera:0 for the first one"):
        open_driver(spec, face_model=face_model)


def test_an_absent_camera_is_an_error(face_model: FaceModel) -> None:
    with pytest.raises(HideNerfError, match="camera:97"):
        open_driver("camera:97", face_model=face_model)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("clip.mp4", b"nothing a video begins with", "not a readable video"),
        ("motion.npz", b"nothing a motion begins with", "not a readable motion file"),
        ("take.csv", b"a,b\n1,2\n", "columns are missing"),
        ("notes.txt", b"just some words", "not a readable video"),
    ],
)
def test_files_of_the_wrong_kind(
    face_model: FaceModel, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HideNerfError, match=problem):
        open_driver(str(tmp_path / name), face_model=face_model)


def test_a_folder_without_pictures_and_coefficients(tmp_path: Path, face_model: FaceModel) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(HideNerfError, match=r"there are no pictures in this folder; give one with a picture a frame"):
        open_driver(str(tmp_path), face_model=face_model)


def test_importing_the_drivers_loads_nothing_heavy() -> None:
    heavy = ("av", "cv2", "mediapipe", "scipy")
    code = f"import sys, hidenerf.runtime.drivers; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
