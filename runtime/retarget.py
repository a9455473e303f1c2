"""Retargeting: from the driver's motion to the source's, absolute or relative, and free view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import relative_camera, turn_head
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.resting_face import with_rest_of
from hidenerf.runtime.sources.source import Source

Float = NDArray[np.float32]

ORBIT_SECONDS = 4.0
ORBIT_PITCH_SHARE = 0.4


@dataclass(frozen=True)
class View:
    """Free view (paper §4.3): offsets in degrees added to every frame's head pose.

    orbit: the head also circles by ±orbit degrees of yaw and `ORBIT_PITCH_SHARE` of that in pitch, once every
    `ORBIT_SECONDS`.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    orbit: float = 0.0

    def apply(self, camera: Float, seconds: float) -> Float:
        """camera [25] at a time of the motion → camera [25]."""
        phase = 2.0 * math.pi * seconds / ORBIT_SECONDS
        yaw = self.yaw + self.orbit * math.sin(phase)
        pitch = self.pitch + self.orbit * ORBIT_PITCH_SHARE * (1.0 - math.cos(phase)) / 2.0
        if yaw == pitch == self.roll == 0.0:
            return camera
        return turn_head(camera, yaw, pitch, self.roll)


class Retargeter:
    """Turns a driver's frames into the source's expression and camera.

    mode: "absolute" (the paper's) takes the driver's expression and camera as they are, but that brows, lids and
    lips rest where the source's do; "relative" adds their change since the driver's first tracked frame to the
    source's own expression and head pose.
    expression_names: of the driver's expressions.
    """

    def __init__(self, source: Source, mode: str, view: View, expression_names: Sequence[str] = ()) -> None:
        self._source = source
        self._names = tuple(expression_names)
        self._relative = mode == "relative"
        self._view = view
        self._reference: MotionFrame | None = None

    def apply(self, frame: MotionFrame) -> tuple[Float, Float]:
        """expression [E] and camera [25] for this frame."""
        expression, camera = frame.expression, frame.camera
        if self._relative:
            if self._reference is None or (frame.tracked and not self._reference.tracked):
                self._reference = frame
            change = expression - self._reference.expression
            expression = self._source.expression + change
            if self._source.face_model == "anny":
                expression = np.clip(expression, 0.0, 1.0)
            camera = relative_camera(self._source.camera, self._reference.camera, camera)
        else:
            expression = with_rest_of(self._source.expression, expression, self._names)
        return expression.astype(np.float32), self._view.apply(camera, float(frame.time))
