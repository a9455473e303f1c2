"""Aligned frame: stages of a frame of several bundles, in turn in one process, on the CUDA backend.

    hidenerf-export --fp16 --preset demo --random-init 0 --no-parity -o /tmp/plain   # no aligned identity path
    hidenerf-export --fp16 -o /tmp/aligned
    python3 benchmarks/aligned_frame.py /tmp/plain /tmp/aligned

Frames are those of the demo motion on the demo source, which is resized to each bundle's size, from expression and
camera on the host to the frame on the host. Times are of the GPU's own marks, microseconds, median and p99; the last
column compares the median frame with that of the first bundle. A line of JSON with the same figures comes last.
"""

import argparse
import contextlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hidenerf.runtime.animator import Animator
from hidenerf.runtime.backends.onnxruntime_cuda import STAGES, OnnxRuntimeCudaBackend
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.motion import load_motion

WARM_UP = 50
# Of all stages together.
FRAME = "frame"


class Times(NamedTuple):
    """Microseconds."""

    median: float
    p99: float


def frame_times(bundles: Sequence[Path], count: int) -> list[dict[str, Times]]:
    """Times of `count` frames of each bundle, one of each in turn: by stage, and of the whole frame."""
    motion = load_motion(demo_motion_path())
    took: list[dict[str, list[float]]] = [{name: [] for name in (*STAGES, FRAME)} for _ in bundles]
    with contextlib.ExitStack() as stack:
        animators = [
            stack.enter_context(Animator(bundle, "onnxruntime-cuda", allow_failed_parity=True)) for bundle in bundles
        ]
        for animator in animators:
            animator.set_source(demo_source_path())
        for index in range(count + WARM_UP):
            row = index % len(motion.expression)
            for animator, seconds in zip(animators, took, strict=True):
                animator.render(motion.expression[row], motion.camera[row])
                if index < WARM_UP:
                    continue
                backend = animator.backend
                assert isinstance(backend, OnnxRuntimeCudaBackend)
                between = backend._device.seconds_between
                for mark, stage in enumerate(STAGES):
                    seconds[stage].append(between(mark, mark + 1))
                seconds[FRAME].append(between(0, len(STAGES)))
    return [{name: _times(values) for name, values in seconds.items()} for seconds in took]


def _times(seconds: Sequence[float]) -> Times:
    ordered = sorted(1e6 * one for one in seconds)
    return Times(statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))])


def table(bundles: Sequence[Path], found: Sequence[dict[str, Times]]) -> str:
    """A row per bundle."""
    width = max(len(str(bundle)) for bundle in bundles)
    names = (*STAGES, FRAME)
    rows = [" " * width + "".join(f"{name:>18}" for name in names)]
    for bundle, times in zip(bundles, found, strict=True):
        figures = "".join(f"{times[name].median:>10.1f} / {times[name].p99:5.1f}" for name in names)
        ratio = times[FRAME].median / found[0][FRAME].median
        rows.append(f"{bundle!s:<{width}}{figures}{100 * (ratio - 1):>+8.1f} %")
    return "\n".join(rows)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--count", type=int, default=1000, help="frames of each bundle (1000)")
    options = parser.parse_args()
    found = frame_times(options.bundles, options.count)
    print(table(options.bundles, found))
    by_bundle = zip(options.bundles, found, strict=True)
    print(json.dumps({str(bundle): {k: v._asdict() for k, v in times.items()} for bundle, times in by_bundle}))


if __name__ == "__main__":
    main()
