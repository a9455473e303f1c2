"""Frame kernels: the GPU kernels of a frame of the CUDA backend and their times, by PyTorch's profiler.

bash benchmarks/gpu_session.sh python3 benchmarks/frame_kernels.py --bundle BUNDLE --out OUT

Kernels are launched without CUDA graphs, since the profiler sees a graph as one launch. Gaps between kernels are longer
than in a graph; the kernels are the same. Prints microseconds a frame by kernel. OUT/kernels-PRESET.txt has all
kernels, and those of one frame in their order.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.frame_ways import choose
from hidenerf.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.profiling import StageTimes

WARM_UP = 20
# Characters of a kernel's name that are printed.
NAME = 150


def main() -> None:
    """Profile frames of a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=20)
    arguments = parser.parse_args()
    choose("none")
    bundle = open_bundle(arguments.bundle)
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    try:
        random = np.random.default_rng(0)
        picture = random.random((1, 3, bundle.image_size, bundle.image_size), np.float32)
        secc = random.random((1, 3, bundle.secc_size, bundle.secc_size), np.float32)
        camera = canonical_camera()[None]
        backend.encode_source(picture, camera, secc)
        for _ in range(WARM_UP):
            backend.render_secc(secc, camera)
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            for _ in range(arguments.frames):
                backend.render_secc(secc, camera)
            torch.cuda.synchronize()
    finally:
        backend.close()
    totals = [entry for entry in profiled.key_averages() if entry.device_time_total > 0]
    totals.sort(key=lambda entry: -entry.device_time_total)
    share = 1 / arguments.frames
    lines = [f"{share * sum(e.device_time_total for e in totals):9.1f} µs a frame in all"]
    lines += [f"{share * e.device_time_total:9.1f} µs {share * e.count:6.1f} × {e.key[:NAME]}" for e in totals]
    print("\n".join(lines[:40]))
    events = sorted(
        (event for event in profiled.events() if event.device_type.name == "CUDA"), key=lambda e: e.time_range.start
    )
    last = events[-(len(events) // arguments.frames) :]
    lines += ["", *(f"{event.time_range.elapsed_us():9.1f} µs {event.name[:NAME]}" for event in last)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"kernels-{bundle.preset}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
