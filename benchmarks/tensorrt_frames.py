"""Frames of a bundle's TensorRT engines: how far from ONNX Runtime's on the CPU, and how long they take.

    python benchmarks/tensorrt_frames.py BUNDLE --out OUT        (on a GPU: benchmarks/tensorrt_session.sh)

Loads the engines that `hidenerf-export BUNDLE --backend tensorrt` built, in a process of its own. Prints a line of JSON
and writes it to OUT/NAME.json: versions, PSNR and largest difference of the frames of the shipped motion, PSNR of
alpha, whether a frame is one CUDA graph, median and p99 in milliseconds of a frame on the host's clock and of each
stage on the GPU's, and whether frames have the same bytes every time. Needs no PyTorch.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from hidenerf.runtime import Animator
from hidenerf.runtime.backends.gpu import GpuBackend
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.metrics import PEAK, psnr
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.sources.source import Source, load_source
from hidenerf.runtime.tensorrt.library import load_library
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from hidenerf.runtime.video.pictures import resized

POSES = 8
WARM_UP = 20
REFERENCE = "onnxruntime-cpu"


def source_for(size: int) -> Source:
    """The shipped source, its picture resized for a bundle of other frames. size: side of a frame."""
    source = load_source(demo_source_path())
    return dataclasses.replace(source, picture=resized(source.picture, size))


def rendered(bundle: Path, backend: str) -> list[tuple[Any, Any]]:
    """Frame and alpha of every pose."""
    motion = load_motion(demo_motion_path())
    rows = np.linspace(0, len(motion.expression) - 1, POSES).astype(int)
    with Animator(bundle, backend, allow_failed_parity=True) as animator:
        animator.set_source(source_for(animator.bundle.image_size))
        return [animator.render(motion.expression[row], motion.camera[row]) for row in rows]


def timed(bundle: Path, backend: str, frames: int) -> dict[str, Any]:
    """Times of `frames` frames, and whether they repeat."""
    motion = load_motion(demo_motion_path())
    with Animator(bundle, backend, allow_failed_parity=True) as animator:
        animator.set_source(source_for(animator.bundle.image_size))
        poses = [(motion.expression[row], motion.camera[row]) for row in (0, len(motion.expression) // 2)]
        expected = [[part.tobytes() for part in animator.render(*pose)] for pose in poses]
        for index in range(WARM_UP):
            animator.render(*poses[index % 2])
        milliseconds, same = [], True
        for index in range(frames):
            start = time.perf_counter()
            result = animator.render(*poses[index % 2])
            milliseconds.append(1e3 * (time.perf_counter() - start))
            same = same and [part.tobytes() for part in result] == expected[index % 2]
        names = getattr(animator.backend, "stages", ())
        stages = {name: round(1e3 * animator.times.percentile(name, 50), 4) for name in names}
        captured = isinstance(animator.backend, GpuBackend) and bool(animator.backend._captured)
    median, slow = (round(float(np.percentile(milliseconds, percent)), 4) for percent in (50, 99))
    return {
        "frame_ms": {"median": median, "p99": slow},
        "stages_ms": stages,
        "one_cuda_graph": captured,
        "frames_repeat": same,
    }


def compared(bundle: Path, backend: str) -> dict[str, Any]:
    """Worst and mean distance of the frames from the reference's."""
    pairs = list(zip(rendered(bundle, REFERENCE), rendered(bundle, backend), strict=True))
    frames = [psnr(expected, found, PEAK) for (expected, _), (found, _) in pairs]
    alphas = [psnr(expected, found, 1.0) for (_, expected), (_, found) in pairs]
    largest = max(int(np.abs(expected.astype(int) - found).max()) for (expected, _), (found, _) in pairs)
    return {
        "frame_psnr": {"worst": round(min(frames), 2), "mean": round(float(np.mean(frames)), 2)},
        "alpha_psnr": round(min(alphas), 2),
        "largest_difference": largest,
    }


def engines(bundle: Path) -> dict[str, Any]:
    """What the sidecars say of every set of engines."""
    found = {}
    for folder in sorted(path for path in (bundle / "engines").glob("*") if path.is_dir()):
        sidecars = {path.stem: read_sidecar(folder, path.stem) for path in sorted(folder.glob("*.json"))}
        found[folder.name] = {
            name: {
                "bytes": sidecar.plan_bytes,
                "layers": sidecar.precision.layers,
                "convolutions": sidecar.precision.convolutions,
                "stray": sidecar.precision.stray,
                "lowered": sidecar.precision.lowered,
                "plugin": sidecar.plugin_sha256 is not None,
            }
            for name, sidecar in sidecars.items()
        }
    return found


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bundle, backend = arguments.bundle, arguments.backend
    version = load_library(backend).version if backend.startswith("tensorrt") else None
    report = {"bundle": bundle.name, "backend": backend, "version": version}
    report |= compared(bundle, backend) | timed(bundle, backend, arguments.frames) | {"engines": engines(bundle)}
    text = json.dumps(report)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{bundle.name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
