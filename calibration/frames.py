"""Frames of a motion to render: every pose of it as `hidenerf-run` takes it, and even choices of a few."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.retarget import Retargeter, View
from hidenerf.runtime.sources.source import Source

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """One frame of the source: expression [E] and camera [25], and its number in the motion."""

    index: int
    expression: Float
    camera: Float


def poses_of(driver: Driver, source: Source, advance: Callable[[], None] = lambda: None) -> list[Pose]:
    """Every pose of a motion on `source`, with the settings that `hidenerf-run` has by default.

    driver: read to its end. advance: is called after each frame.
    """
    retargeter = Retargeter(source, "absolute", View(), driver.expression_names)
    poses: list[Pose] = []
    for index, frame in enumerate(driver):
        poses.append(Pose(index, *retargeter.apply(frame)))
        advance()
    return poses


def spread(length: int, count: int) -> list[int]:
    """At most `count` different numbers from 0 to `length` - 1, evenly spread, the first and the last among them."""
    return [int(index) for index in np.unique(np.linspace(0, length - 1, count).round())]


def spread_pairs(length: int, count: int) -> list[int]:
    """At most `count` numbers below `length`, ascending: all of them, or pairs n, n + 1 spread evenly."""
    if count >= length:
        return list(range(length))
    if count == 1:
        return [0]
    return sorted({number for start in spread(length - 1, count // 2) for number in (start, start + 1)})
