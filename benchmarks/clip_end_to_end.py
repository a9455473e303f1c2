"""Clip end to end: times of decoding, tracking, rendering and encoding of a clip, and which is the bottleneck.

python benchmarks/clip_end_to_end.py --driving clip.mp4 --face-landmarker face_landmarker.task
python benchmarks/clip_end_to_end.py --driving tracked.npz --clip clip.mp4

The first decodes and tracks the clip. The second is for machines without the tracker: motion comes from a file
(`hidenerf-run -d clip.mp4 -o tracked.npz`), and the clip is decoded in the same thread. Reading, rendering and encoding
are three threads that wait for each other, so the one that is busy longest is the bottleneck. The GPU's time, a part of
rendering, has a line of its own. Writes OUT/clip.json and OUT/clip.mp4.
"""

import argparse
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hidenerf.commands.default_bundle import default_bundle
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.backends import BACKEND_NAMES
from hidenerf.runtime.defaults import demo_source_path
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.pipeline import render_motion
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.retarget import View
from hidenerf.runtime.video.reader import VideoReader

# The thread of each stage.
THREADS = {"decode": "read", "track": "read", "render": "render", "encode": "encode"}
# Stages on the GPU, with the CUDA backend; the CPU backend runs its graphs on the host.
GPU_STAGES = ("upload", "led", "triplane_render", "align", "refiner", "download")


class SummedTimes(StageTimes):
    """`StageTimes` that also sums the seconds of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._summing = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Add a time to its stage; from any thread."""
        super().add(stage, seconds)
        with self._summing:
            self.seconds[stage] += seconds


class DecodedBeside:
    """A driver that also decodes a clip in the same thread, to measure the time of decoding.

    driver: where the motion comes from.
    clip: to decode, one picture a frame.
    times: measures the stage "decode".
    """

    def __init__(self, driver: Driver, clip: Path, times: StageTimes) -> None:
        self._driver, self._times = driver, times
        self._reader = VideoReader(clip)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the driver's."""
        return getattr(self._driver, name)

    def __iter__(self) -> Iterator[MotionFrame]:
        """The driver's frames, with a picture decoded before each."""
        pictures = iter(self._reader)
        for frame in self._driver:
            with self._times.measure("decode"):
                next(pictures, None)
            yield frame

    def close(self) -> None:
        """Close the clip and the driver."""
        self._reader.close()
        self._driver.close()


class TimedAnimator(Animator):
    """Animator that measures the stage "render": a frame's time on the host, with the wait for the GPU."""

    times: SummedTimes

    def render(self, expression: Any, camera: Any) -> Any:
        """As `Animator.render`."""
        with self.times.measure("render"):
            return super().render(expression, camera)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Render the clip and return the times as JSON values. arguments: the options of `main`."""
    bundle = arguments.bundle or default_bundle()
    with TimedAnimator(bundle, arguments.backend, arguments.face_landmarker) as animator:
        times = animator.times = SummedTimes()
        animator.backend._times = times
        animator.set_source(arguments.source or demo_source_path())
        times.seconds.clear()
        driver = animator.open_driver(arguments.driving)
        if arguments.clip is not None:
            driver = DecodedBeside(driver, arguments.clip, times)
        started = time.perf_counter()
        count = render_motion(
            animator,
            driver,
            arguments.out / "clip.mp4",
            motion="absolute",
            view=View(),
            background="remove",
            compare=False,
            save_motion_to=None,
            limit=arguments.frames,
        )
        wall = time.perf_counter() - started
        stages = {stage: 1e3 * spent / count for stage, spent in times.seconds.items() if stage != "source_encoder"}
        found: dict[str, Any] = {
            "backend": animator.backend.name,
            "preset": animator.bundle.preset,
            "frames": count,
            "frames_a_second": count / wall,
            "milliseconds_a_frame": stages,
        }
        print(times.table())
    return found | bottleneck(stages, 1e3 * wall / count)


def bottleneck(stages: dict[str, float], wall: float) -> dict[str, Any]:
    """Busy time of each thread, and of the GPU, a frame, milliseconds; and the busiest of them.

    stages: milliseconds a frame by stage.
    wall: milliseconds a frame in total.
    """
    busy: defaultdict[str, float] = defaultdict(float)
    for stage, thread in THREADS.items():
        busy[thread] += stages.get(stage, 0.0)
    if "triplane_render" in stages:
        busy["GPU"] = sum(stages.get(stage, 0.0) for stage in GPU_STAGES)
    return {"wall": wall, "busy": dict(busy), "bottleneck": max(busy, key=busy.__getitem__)}


def main() -> None:
    """Render a clip and print the busy times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driving", type=Path, required=True, help="clip, or motion tracked from one")
    parser.add_argument("--clip", type=Path, help="decoded beside a motion file")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--face-landmarker", type=Path)
    parser.add_argument("--backend", choices=BACKEND_NAMES, default="auto")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = run(arguments)
    (arguments.out / "clip.json").write_text(json.dumps(found, indent=1))
    print(
        f"{found['frames']} frames of {found['preset']} on {found['backend']}: {found['frames_a_second']:.1f} a second."
    )
    for name, milliseconds in found["busy"].items():
        print(f"{name:<8}{milliseconds:8.2f} ms a frame, busy {100 * milliseconds / found['wall']:.0f} %")
    print(f"The bottleneck: {found['bottleneck']}.")


if __name__ == "__main__":
    main()
