"""Motion: expression and camera per frame, and the motion file (.npz). Every driver yields `MotionFrame`s.

The file (format `hidenerf-motion`, version 2) is a plain NumPy archive, read with `allow_pickle=False`:

| key                | dtype, shape        | meaning                                                              |
|--------------------|---------------------|----------------------------------------------------------------------|
| `format`           | str                 | `hidenerf-motion`                                                    |
| `version`          | int                 | 2                                                                    |
| `face_model`       | str                 | name of the face model the coefficients belong to, e.g. `anny`       |
| `expression`       | float32 [T, E]      | coefficients of the face model's expression basis                    |
| `expression_names` | str [E]             | their names, e.g. the 52 ARKit actions                               |
| `camera`           | float32 [T, 25]     | see `hidenerf.runtime.camera`                                        |
| `tracked`          | bool [T]            | whether a face was found; elsewhere the last motion is held          |
| `fps`              | int64 [2]           | nominal frame rate, numerator and denominator                        |
| `time`             | int64 [T]           | when each frame is shown, in ticks since the first: from 0, rising   |
| `time_base`        | int64 [2]           | seconds a tick, numerator and denominator                            |

Version 1, which is read as well, has neither `time` nor `time_base`: its frames are evenly spaced at `fps`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.archive import load_archive, of_kind, save_archive
from hidenerf.runtime.errors import HideNerfError, shown

MOTION_FORMAT = "hidenerf-motion"
MOTION_VERSION = 2
OLDEST_VERSION = 1
# Frame rates that a motion file may state; a tick, and the time from frame to frame, are no shorter or longer.
MIN_FPS, MAX_FPS = Fraction(1, 10**6), Fraction(10**9)


@dataclass(frozen=True)
class MotionFrame:
    """One frame of a motion.

    expression: [E] float32, coefficients of the face model.
    camera: [25] float32.
    tracked: whether a face was found; if not, the last motion is held.
    time: exact seconds since the first frame.
    picture: the driving picture [H, W, 3] uint8 RGB, None for motion without pictures.
    """

    expression: NDArray[np.float32]
    camera: NDArray[np.float32]
    tracked: bool
    time: Fraction
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Motion:
    """A whole motion in memory: expression [T, E], camera [T, 25], tracked [T], and the frames' exact times.

    fps: nominal frame rate.
    ticks: [T], times since the first frame in units of `time_base`, from 0, rising; None: evenly spaced at `fps`.
    time_base: seconds a tick; None without `ticks`.
    """

    face_model: str
    expression_names: tuple[str, ...]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]
    tracked: NDArray[np.bool_]
    fps: Fraction
    ticks: NDArray[np.int64] | None = None
    time_base: Fraction | None = None

    def __post_init__(self) -> None:
        """Check shapes and values."""
        frames, names = len(self.expression), len(self.expression_names)
        expected = {"expression": (frames, names), "camera": (frames, 25), "tracked": (frames,)}
        if self.ticks is not None:
            expected["ticks"] = (frames,)
        for key, shape in expected.items():
            found = getattr(self, key).shape
            if found != shape:
                raise HideNerfError(f"The motion's {key} has shape {list(found)} where {list(shape)} is needed.")
        if frames == 0:
            raise HideNerfError("The motion has no frames; give one with at least one.")
        if self.fps <= 0:
            raise HideNerfError(f"The motion's frame rate is {self.fps}; it must be positive.")
        for key in ("expression", "camera"):
            if not np.isfinite(getattr(self, key)).all():
                raise HideNerfError(f"The motion's {key} has values that are not finite; record or convert it anew.")
        if (self.ticks is None) != (self.time_base is None):
            raise HideNerfError("The motion has ticks without a time base, or the reverse; give both or none.")
        if self.ticks is not None and self.time_base is not None:
            _check_times(self.ticks, self.time_base)

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.expression)

    def __iter__(self) -> Iterator[MotionFrame]:
        """The frames, in order."""
        for index in range(len(self)):
            yield MotionFrame(self.expression[index], self.camera[index], bool(self.tracked[index]), self.time(index))

    def time(self, index: int) -> Fraction:
        """When a frame is shown, exact seconds since the first."""
        if self.ticks is None or self.time_base is None:
            return index / self.fps
        return int(self.ticks[index]) * self.time_base


def ticks_of(times: Sequence[Fraction], fps: Fraction) -> tuple[NDArray[np.int64] | None, Fraction | None]:
    """`Motion.ticks` and `Motion.time_base` of frames at these times.

    times: seconds, rising; the first may be any. Kept exactly where they have ticks of a nanosecond or more in common,
    else to the nanosecond.
    """
    since = [time - times[0] for time in times]
    if all(time == index / fps for index, time in enumerate(since)):
        return None, None
    denominator = 1
    for time in since:
        denominator = math.lcm(denominator, time.denominator)
        if denominator > MAX_FPS:
            denominator = int(MAX_FPS)
            break
    return np.array([round(time * denominator) for time in since], np.int64), Fraction(1, denominator)


def _check_times(ticks: NDArray[np.int64], time_base: Fraction) -> None:
    """Errors: ticks that are no times of frames in order."""
    if not 1 / MAX_FPS <= time_base <= 1 / MIN_FPS:
        raise HideNerfError(
            f"The motion's time base is {shown(float(time_base))} s, not from {float(1 / MAX_FPS):g} to "
            f"{float(1 / MIN_FPS):g}; write it again with its times."
        )
    if ticks[0] != 0:
        raise HideNerfError(f"The motion's first time is {ticks[0]}, not 0; count times from the first frame.")
    wrong = np.flatnonzero(ticks[1:] <= ticks[:-1])
    if len(wrong):
        raise HideNerfError(
            f"The motion's time does not rise from frame {wrong[0]} ({ticks[wrong[0]]}) to the next "
            f"({ticks[wrong[0] + 1]}); put its frames in order."
        )
    longest = int(np.diff(ticks).max(initial=0)) * time_base
    if longest > 1 / MIN_FPS:
        raise HideNerfError(
            f"The motion's time leaps by {float(longest):g} s from a frame to the next; divide it there."
        )


def save_motion(motion: Motion, path: Path) -> None:
    """Write a motion file; the file appears whole or not at all."""
    ticks, time_base = motion.ticks, motion.time_base
    if ticks is None or time_base is None:
        ticks, time_base = np.arange(len(motion)), 1 / motion.fps
    content = {
        "face_model": motion.face_model,
        "expression": motion.expression,
        "expression_names": np.array(motion.expression_names),
        "camera": motion.camera,
        "tracked": motion.tracked,
        "fps": np.array([motion.fps.numerator, motion.fps.denominator], np.int64),
        "time": ticks.astype(np.int64),
        "time_base": np.array([time_base.numerator, time_base.denominator], np.int64),
    }
    save_archive(path, MOTION_FORMAT, MOTION_VERSION, content)


def load_motion(path: Path) -> Motion:
    """Read a motion file.

    Errors: no such file, another kind of file, a newer version, a missing key, values of another kind, shapes that do
    not agree, times that do not rise, a frame rate outside `MIN_FPS` to `MAX_FPS`.
    """
    archive = load_archive(path, MOTION_FORMAT, MOTION_VERSION, "motion", oldest=OLDEST_VERSION)
    try:
        fps = _ratio(archive, "fps")
        ticks, time_base = (None, None) if int(archive["version"]) == 1 else _times(archive, fps)
        motion = Motion(
            face_model=str(archive["face_model"]),
            expression_names=_names(archive),
            expression=_as_float32(of_kind(archive, "expression", "fiu")),
            camera=_as_float32(of_kind(archive, "camera", "fiu")),
            tracked=np.asarray(of_kind(archive, "tracked", "biu"), np.bool_),
            fps=fps,
            ticks=ticks,
            time_base=time_base,
        )
    except KeyError as error:
        raise HideNerfError(f"{path}: the motion file lacks {error}; write it again with --save-motion.") from None
    except (ValueError, TypeError, ArithmeticError) as error:
        raise HideNerfError(f"{path}: the motion file is damaged ({shown(error, 120)}); write it again.") from None
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    if not MIN_FPS <= motion.fps <= MAX_FPS:
        raise HideNerfError(
            f"{path}: the motion's frame rate is {float(motion.fps):g}, not from {float(MIN_FPS):g} to "
            f"{float(MAX_FPS):g}; write it again with its rate."
        )
    return motion


def _ratio(archive: Mapping[str, NDArray], key: str) -> Fraction:
    numerator, denominator = (int(x) for x in of_kind(archive, key, "fiu"))
    return Fraction(numerator, denominator)


def _times(archive: Mapping[str, NDArray], fps: Fraction) -> tuple[NDArray[np.int64] | None, Fraction | None]:
    """`Motion.ticks` and `Motion.time_base`; none where they are those of the frame rate."""
    ticks, time_base = of_kind(archive, "time", "iu").astype(np.int64), _ratio(archive, "time_base")
    if time_base * fps == 1 and np.array_equal(ticks, np.arange(of_kind(archive, "tracked", "biu").size)):
        return None, None
    return ticks, time_base


def _names(archive: Mapping[str, NDArray]) -> tuple[str, ...]:
    if np.size(archive["expression_names"]) == 0:  # NumPy stores no names as numbers
        return ()
    return tuple(str(x) for x in of_kind(archive, "expression_names", "U"))


def _as_float32(array: NDArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return array.astype(np.float32)
