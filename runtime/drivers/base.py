"""The driver protocol: a stream of `MotionFrame`s with its frame rate and length."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from hidenerf.runtime.motion import Motion, MotionFrame


class Driver(Protocol):
    """A stream of motion. Iterating it once yields every frame in order; memory does not grow with its length.

    face_model: name of the face model its coefficients belong to.
    expression_names: names of the E coefficients.
    fps: exact nominal frame rate.
    length: number of frames, None where unknown (a camera).
    live: whether frames come in real time and may be dropped.
    still: whether it is a single picture, so that the output is one too.
    audio: file whose audio track goes with the motion, None if there is none.
    """

    face_model: str
    expression_names: tuple[str, ...]
    fps: Fraction
    length: int | None
    live: bool
    still: bool
    audio: Path | None

    def __iter__(self) -> Iterator[MotionFrame]:
        """The motion's frames, in order."""
        ...

    def close(self) -> None:
        """Release what the driver holds open."""
        ...


class MotionDriver:
    """A motion in memory as a driver (motion files, ARKit takes, Deep3DFaceRecon coefficients)."""

    live = False
    audio: Path | None = None

    def __init__(self, motion: Motion) -> None:
        self.motion = motion
        self.face_model = motion.face_model
        self.expression_names = motion.expression_names
        self.fps = motion.fps
        self.length: int | None = len(motion)
        self.still = len(motion) == 1

    def __iter__(self) -> Iterator[MotionFrame]:
        """The motion's frames, in order."""
        return iter(self.motion)

    def close(self) -> None:
        """Nothing is held open."""
