"""A motion file as a driver."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.drivers.motion_file import open_motion_file
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion, save_motion


def test_its_frames_are_the_files(tmp_path: Path) -> None:
    expression = np.array([[0.0], [0.5], [1.0]], np.float32)
    camera = np.stack([canonical_camera()] * 3)
    motion = Motion("anny", ("jawOpen",), expression, camera, np.ones(3, np.bool_), Fraction(24))
    save_motion(motion, tmp_path / "motion.npz")
    options = DriverOptions(load_face_model(default_face_model_path()))
    driver = open_motion_file(str(tmp_path / "motion.npz"), options)
    assert (driver.fps, driver.length, driver.live, driver.still) == (24, 3, False, False)
    np.testing.assert_array_equal([frame.expression for frame in driver], expression)
