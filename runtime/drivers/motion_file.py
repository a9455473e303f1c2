"""The motion file as a driver: what `--save-motion` wrote, or anything in its format (`hidenerf.runtime.motion`)."""

from pathlib import Path

from hidenerf.runtime.drivers.base import MotionDriver
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.motion import load_motion


def open_motion_file(spec: str, options: DriverOptions) -> MotionDriver:  # noqa: ARG001
    """The driver of a motion file. Errors: those of `load_motion`."""
    return MotionDriver(load_motion(Path(spec)))
