"""A driver of your own: 03_own_driver.py BUNDLE OUTPUT.mp4 [PORTRAIT].

A driver is any object with the attributes and methods of `hidenerf.runtime.drivers.base.Driver`. This one nods and
talks without a clip. docs/extending.md says how to make a driver that `hidenerf-run -d` knows.
"""

import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from hidenerf.runtime import Animator
from hidenerf.runtime.camera import turn_head
from hidenerf.runtime.defaults import demo_source_path
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.sources.source import Source
from hidenerf.runtime.video.writer import open_writer


class NoddingDriver:
    """Nods once a second and opens the mouth twice a second, for `length` frames."""

    fps = Fraction(25)
    live = False
    still = False
    audio: Path | None = None

    def __init__(self, source: Source, expression_names: tuple[str, ...], length: int) -> None:
        self.face_model = source.face_model
        self.expression_names = expression_names
        self.length: int | None = length
        self._camera = source.camera
        self._frames = length

    def __iter__(self) -> Iterator[MotionFrame]:
        """The motion's frames."""
        jaw = self.expression_names.index("jawOpen")
        for index in range(self._frames):
            time = index / self.fps
            expression = np.zeros(len(self.expression_names), np.float32)
            expression[jaw] = 0.25 - 0.25 * math.cos(4.0 * math.pi * time)
            pitch = 8.0 * math.sin(2.0 * math.pi * time)
            yield MotionFrame(expression, turn_head(self._camera, 0.0, pitch, 0.0), tracked=True, time=time)

    def close(self) -> None:
        """Nothing is held open."""


def main(bundle: Path, output: Path, portrait: Path) -> None:
    """Write a video of the portrait, two seconds long."""
    with Animator(bundle) as animator:
        source = animator.set_source(portrait)
        driver = NoddingDriver(source, animator.face_model.expression_names, length=50)
        with open_writer(output, driver.fps, driver.audio, still=False) as writer:
            for frame in animator.animate(driver):
                writer.write(frame.picture, frame.time)


if __name__ == "__main__":
    bundle, output, *portrait = [Path(argument) for argument in sys.argv[1:]]
    main(bundle, output, portrait[0] if portrait else demo_source_path())
    print(output)
