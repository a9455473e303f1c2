"""Motion: expression and camera per frame, and the motion file (.npz). Every driver yields `MotionFrame`s.

The file (format `hidenerf-motion`, version 1) is a plain NumPy archive, read with `allow_pickle=False`:

| key                | dtype, shape        | meaning                                                              |
|--------------------|---------------------|----------------------------------------------------------------------|
| `format`           | str                 | `hidenerf-motion`                                                    |
| `version`          | int                 | 1                                                                    |
| `face_model`       | str                 | name of the face model the coefficients belong to, e.g. `anny`       |
| `expression`       | float32 [T, E]      | coefficients of the face model's expression basis                    |
| `expression_names` | str [E]             | their names, e.g. the 52 ARKit actions                               |
| `camera`           | float32 [T, 25]     | see `hidenerf.runtime.camera`                                        |
| `tracked`          | bool [T]            | whether a face was found; elsewhere the last motion is held          |
| `fps`              | int64 [2]           | numerator and denominator                                            |

Frames are evenly spaced in time: version 1 has one frame rate and no time per frame. What makes motion of uneven times
puts it on the nearest frames of a constant rate; frames between hold the last motion, with `tracked` false.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.archive import load_archive, save_archive
from hidenerf.runtime.errors import HideNerfError, shown

MOTION_FORMAT = "hidenerf-motion"
MOTION_VERSION = 1
# Frame rates that a motion file may state.
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
    """A whole motion in memory: expression [T, E], camera [T, 25], tracked [T], and its exact frame rate."""

    face_model: str
    expression_names: tuple[str, ...]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]
    tracked: NDArray[np.bool_]
    fps: Fraction

    def __post_init__(self) -> None:
        """Check shapes and values."""
        frames, names = len(self.expression), len(self.expression_names)
        expected = {"expression": (frames, names), "camera": (frames, 25), "tracked": (frames,)}
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

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.expression)

    def __iter__(self) -> Iterator[MotionFrame]:
        """The frames, in order."""
        for index in range(len(self)):
            yield MotionFrame(
                self.expression[index], self.camera[index], bool(self.tracked[index]), Fraction(index) / self.fps
            )


def save_motion(motion: Motion, path: Path) -> None:
    """Write a motion file; the file appears whole or not at all."""
    content = {
        "face_model": motion.face_model,
        "expression": motion.expression,
        "expression_names": np.array(motion.expression_names),
        "camera": motion.camera,
        "tracked": motion.tracked,
        "fps": np.array([motion.fps.numerator, motion.fps.denominator], np.int64),
    }
    save_archive(path, MOTION_FORMAT, MOTION_VERSION, content)


def load_motion(path: Path) -> Motion:
    """Read a motion file.

    Errors: no such file, another kind of file, a newer version, a missing key, values of another kind, shapes that do
    not agree, a frame rate outside `MIN_FPS` to `MAX_FPS`.
    """
    archive = load_archive(path, MOTION_FORMAT, MOTION_VERSION, "motion")
    try:
        numerator, denominator = (int(x) for x in archive["fps"])
        motion = Motion(
            face_model=str(archive["face_model"]),
            expression_names=_names(archive),
            expression=_as_float32(_of_kind(archive, "expression", "fiu")),
            camera=_as_float32(_of_kind(archive, "camera", "fiu")),
            tracked=np.asarray(_of_kind(archive, "tracked", "biu"), np.bool_),
            fps=Fraction(numerator, denominator),
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


def _names(archive: Mapping[str, NDArray]) -> tuple[str, ...]:
    if np.size(archive["expression_names"]) == 0:  # NumPy stores no names as numbers
        return ()
    return tuple(str(x) for x in _of_kind(archive, "expression_names", "U"))


def _of_kind(archive: Mapping[str, NDArray], key: str, kinds: str) -> NDArray:
    """An array whose dtype is of one of these kinds (NumPy's letters)."""
    array = archive[key]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        found = array.dtype if isinstance(array, np.ndarray) else "no array"
        raise TypeError(f"{key} is {found}")
    return array


def _as_float32(array: NDArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return array.astype(np.float32)
