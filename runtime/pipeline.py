"""The pipeline from a driver to an output. Decoding and tracking, rendering, and encoding overlap in threads."""

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np

from hidenerf.runtime.animator import Animator
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.motion import Motion, MotionFrame, save_motion, ticks_of
from hidenerf.runtime.progress import progress_bar
from hidenerf.runtime.retarget import View
from hidenerf.runtime.video.montage import compare_panel
from hidenerf.runtime.video.writer import open_writer

ExitCallback = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], bool]


class MotionRecorder:
    """Collects motion, about 500 bytes a frame, to write it as a motion file."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._frames: list[tuple[bytes, bytes, bool, Fraction]] = []

    def add(self, frame: MotionFrame) -> None:
        """Keep one frame's motion, without its picture."""
        self._frames.append((frame.expression.tobytes(), frame.camera.tobytes(), frame.tracked, frame.time))

    def saver(self, path: Path) -> ExitCallback:
        """An exit callback for an `ExitStack`: saves the motion unless the block ends by an error other than Ctrl-C."""

        def on_exit(kind: type[BaseException] | None, *_: object) -> bool:
            if self._frames and (kind is None or issubclass(kind, KeyboardInterrupt)):
                self.save(path)
            return False

        return on_exit

    def save(self, path: Path) -> None:
        """Write the collected motion."""
        expression, camera, tracked, times = zip(*self._frames, strict=True)
        ticks, time_base = ticks_of(times, self._driver.fps)
        motion = Motion(
            face_model=self._driver.face_model,
            expression_names=self._driver.expression_names,
            expression=np.stack([np.frombuffer(row, np.float32) for row in expression]),
            camera=np.stack([np.frombuffer(row, np.float32) for row in camera]),
            tracked=np.array(tracked),
            fps=self._driver.fps,
            ticks=ticks,
            time_base=time_base,
        )
        save_motion(motion, path)


def record_motion(driver: Driver, output: Path, limit: int | None) -> int:
    """Write the driver's motion to a motion file without rendering; returns the number of frames."""
    recorder = MotionRecorder(driver)
    count = 0
    with progress_bar(_length(driver, limit)) as advance:
        try:
            for frame in islice(driver, limit):
                recorder.add(frame)
                count += 1
                advance()
        except KeyboardInterrupt:
            if count == 0:
                raise
    recorder.save(output)
    return count


def render_motion(
    animator: Animator,
    driver: Driver,
    output: Path,
    *,
    motion: str,
    view: View,
    background: str,
    compare: bool,
    save_motion_to: Path | None,
    limit: int | None,
) -> int:
    """Animate the animator's source into `output`; returns the number of frames.

    The driver runs ahead in one thread, the writer encodes in another. On Ctrl-C the output holds the frames so far.

    motion, view, background: see `Animator.animate`.
    compare: whether to show source, driving picture and result side by side.
    save_motion_to: a motion file to write as well.
    limit: largest number of frames, None for all.
    """
    recorder = MotionRecorder(driver)
    count = 0
    with ExitStack() as stack:
        if save_motion_to is not None:
            stack.push(recorder.saver(save_motion_to))
        writer = stack.enter_context(
            # A clip may have a single frame, and its declared length may be wrong: the writer refuses a second frame.
            open_writer(output, driver.fps, driver.audio, limit == 1 or not driver.live, animator.times)
        )
        advance = stack.enter_context(progress_bar(_length(driver, limit)))
        frames = animator.animate(driver, motion=motion, view=view, background=background)
        stack.callback(frames.close)
        for frame in islice(frames, limit):
            picture = frame.picture
            if compare and animator.source is not None:
                picture = compare_panel(animator.source.picture, frame.driving.picture, picture)
            writer.write(picture, frame.time)
            if save_motion_to is not None:
                recorder.add(frame.driving)
            count += 1
            advance()
    return count


def _length(driver: Driver, limit: int | None) -> int | None:
    if driver.length is None or limit is None:
        return driver.length or limit
    return min(driver.length, limit)
