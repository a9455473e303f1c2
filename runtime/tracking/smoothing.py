"""Smoothing of tracked motion: One-Euro filters (Casiez et al., CHI 2012).

A low-pass filter whose cut-off frequency rises with the speed of its input: less jitter at rest, little lag in fast
movements. It is causal, so it also serves live input.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.tracking.pose import HeadPose

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """A filter's parameters at strength 1. cutoff: Hz at rest. speed_gain: Hz for each unit a second of speed."""

    cutoff: float
    speed_gain: float


# Units: score; radian; world unit across the view, and relative distance along it. Chosen on real clips, so that
# second differences fall by half or more and the lag stays below two frames.
EXPRESSION_RESPONSE = Response(cutoff=2.5, speed_gain=3.0)
ROTATION_RESPONSE = Response(cutoff=1.5, speed_gain=10.0)
SHIFT_RESPONSE = Response(cutoff=2.0, speed_gain=20.0)
DISTANCE_RESPONSE = Response(cutoff=0.8, speed_gain=10.0)
SPEED_CUTOFF = 1.5


def smoothing_factor(cutoff: NDArray[np.floating] | float, step: float) -> NDArray[np.float64]:
    """Share of the new sample, `step` seconds after the last, in a first-order low-pass filter of this cut-off (Hz)."""
    ratio = 2 * np.pi * np.asarray(cutoff, np.float64) * step
    return ratio / (1 + ratio)


class OneEuroFilter:
    """Filters vectors [n] that may come at uneven times, each component by its own speed.

    strength: positive; 2 halves the cut-off frequencies of 1.
    """

    def __init__(self, response: Response, strength: float) -> None:
        self._response = response
        self._strength = strength
        self._value: Array | None = None
        self._speed = np.zeros(1)
        self._time = 0.0

    def __call__(self, sample: NDArray[np.floating], time: float) -> Array:
        """The filtered sample; the first is returned unchanged. time: seconds, above the last sample's."""
        value = np.array(sample, np.float64)
        if self._value is not None:
            value = self.advance(self._value, self._step(self.difference(value, self._value), time - self._time))
        self._value, self._time = value, time
        return value

    def _step(self, change: Array, seconds: float) -> Array:
        self._speed = self._speed + smoothing_factor(SPEED_CUTOFF, seconds) * (change / seconds - self._speed)
        cutoff = (self._response.cutoff + self._response.speed_gain * np.abs(self._speed)) / self._strength
        return smoothing_factor(cutoff, seconds) * change

    @staticmethod
    def difference(sample: Array, value: Array) -> Array:
        """The difference from `value` to `sample`."""
        return sample - value

    @staticmethod
    def advance(value: Array, step: Array) -> Array:
        """The value after a step from `value`."""
        return value + step


class RotationFilter(OneEuroFilter):
    """Filters rotations [3, 3]; differences and steps are rotation vectors relative to the last filtered rotation."""

    @staticmethod
    def difference(sample: Array, value: Array) -> Array:
        """Rotation vector [3] of valueᵀ · sample."""
        return np.asarray(cv2.Rodrigues(value.T @ sample)[0], np.float64)[:, 0]

    @staticmethod
    def advance(value: Array, step: Array) -> Array:
        """value · exp(step)."""
        return value @ np.asarray(cv2.Rodrigues(step)[0], np.float64)


class HeadPoseFilter:
    """Filters head poses: rotation, place in the view and distance separately, so that different lags do not mix."""

    def __init__(self, strength: float) -> None:
        self._rotation = RotationFilter(ROTATION_RESPONSE, strength)
        self._shift = OneEuroFilter(SHIFT_RESPONSE, strength)
        self._distance = OneEuroFilter(DISTANCE_RESPONSE, strength)
        self._unit: float | None = None

    def __call__(self, pose: HeadPose, time: float) -> HeadPose:
        """The filtered pose; the first is returned unchanged. time: seconds, above the last pose's."""
        depth = pose.translation[2]
        if self._unit is None:
            self._unit = float(depth)
        shift = self._shift(pose.translation[:2] / depth * self._unit, time) / self._unit
        distance = np.exp(self._distance(np.log([depth]), time))[0]
        return HeadPose(self._rotation(pose.rotation, time), distance * np.array([*shift, 1.0]))
