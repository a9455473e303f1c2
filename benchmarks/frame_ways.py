"""Frame ways: ways to launch a frame of the CUDA backend, each in its own process, so that a crash ends only one.

python3 benchmarks/frame_ways.py --bundle BUNDLE --out OUT

one: the whole frame is one CUDA graph, as in the backend. one-slices: the same, but ONNX Runtime does not turn slices
into splits, whose tables it copies from the host. own: ONNX Runtime's own graph for LED and for the refiner, the
backend's fallback. none: no graph. Frames are those of the demo motion, from expression and camera on the host to the
frame on the host; times are milliseconds, median and p99. Writes OUT/ways-PRESET.json after each way.
"""

import argparse
import collections
import functools
import hashlib
import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hidenerf.runtime.backends import onnxruntime_cuda
from hidenerf.runtime.backends.onnxruntime_cuda import STAGES, OnnxRuntimeCudaBackend
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import load_face_model
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.secc import secc
from hidenerf.runtime.sources.source import load_source

WAYS = ("one", "one-slices", "own", "none")
WARM_UP = 20


class CountingDevice(Device):
    """Device that counts the nodes of its CUDA graphs.

    nodes: of each graph, number of nodes by kind.
    """

    nodes: ClassVar[list[dict[str, int]]] = []

    def _instantiate(self, graph: Any) -> Any:
        nodes = self._listed(self._driver.cuGraphGetNodes, graph)
        kinds = [self._driver.cuGraphNodeGetType(node)[1].name.removeprefix("CU_GRAPH_NODE_TYPE_") for node in nodes]
        CountingDevice.nodes.append(dict(collections.Counter(kinds)))
        return super()._instantiate(graph)


class UncapturedDevice(Device):
    """Device that refuses to capture CUDA graphs."""

    def capture(self, work: Any) -> Any:  # noqa: ARG002
        """Errors: always."""
        raise HideNerfError("graphs are off in this run")


def choose(way: str) -> None:
    """Make the backends of this process launch frames in this way, one of WAYS."""
    onnxruntime_cuda.Device = CountingDevice if way.startswith("one") else UncapturedDevice  # type: ignore[misc]
    if way == "none":
        onnxruntime_cuda.OWN_GRAPH_OPTIONS = onnxruntime_cuda.FRAME_OPTIONS
    if way == "one-slices":
        package = onnxruntime_cuda.import_onnxruntime()
        kept = ["GatherSliceToSplitFusion"]
        package.InferenceSession = functools.partial(package.InferenceSession, disabled_optimizers=kept)


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and p99 of times, milliseconds."""
    ordered = sorted(1e3 * s for s in seconds)
    return {"median": statistics.median(ordered), "p99": ordered[int(0.99 * (len(ordered) - 1))]}


def free_memory() -> int:
    """Free GPU memory, bytes."""
    return int(importlib.import_module("cuda.bindings.driver").cuMemGetInfo()[1])


def measured(bundle_path: Path, count: int) -> dict[str, Any]:
    """Times, hash and memory of `count` frames of a backend in this process, as JSON values."""
    bundle = open_bundle(bundle_path)
    face, motion = load_face_model(bundle.face_model_path), load_motion(demo_motion_path())
    source = load_source(demo_source_path())
    neutral = face.vertices_with_teeth(source.identity, np.zeros_like(source.expression))
    canonical = secc(face.vertices(source.identity, source.expression), face, bundle.secc_size)
    picture = np.random.default_rng(0).random((1, 3, bundle.image_size, bundle.image_size), np.float32)
    started = time.perf_counter()
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    found: dict[str, Any] = {"opening_seconds": time.perf_counter() - started}
    try:
        backend.encode_source(picture, source.camera[None], canonical[None])
        backend.set_face(face, neutral)
        found["nodes"] = CountingDevice.nodes
        found["one_graph"] = bool(backend._captured)
        took: dict[str, list[float]] = {name: [] for name in (*STAGES, "secc_to_frame", "all", "wall")}
        digest = hashlib.sha256()
        before = free_memory()
        for index in range(count + WARM_UP):
            row = index % len(motion.expression)
            started = time.perf_counter()
            frame, alpha = backend.render(motion.expression[row], motion.camera[row][None])
            wall = time.perf_counter() - started
            if index < WARM_UP:
                digest.update(frame.tobytes() + alpha.tobytes())
                continue
            between = backend._device.seconds_between
            for mark, stage in enumerate(STAGES):
                took[stage].append(between(mark, mark + 1))
            took["secc_to_frame"].append(between(0, len(STAGES) - 1))
            took["all"].append(between(0, len(STAGES)))
            took["wall"].append(wall)
        found |= {name: summary(values) for name, values in took.items()}
        found |= {"frames": digest.hexdigest()[:16], "memory_grown": before - free_memory()}
    finally:
        backend.close()
    return found


def run_way(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Results of one way in a process of its own, with its exit status and output. arguments: the options of `main`."""
    path = arguments.out / f"way-{way}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--bundle", str(arguments.bundle), "--out", str(arguments.out)]
    command += ["--way", way, "--count", str(arguments.count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.seconds, check=False)
        said, status = done.stderr.strip(), str(done.returncode)
    except subprocess.TimeoutExpired as error:
        said, status = str(error.stderr or ""), f"ended after {arguments.seconds} s"
    found: dict[str, Any] = {"status": status, "said": said[-1500:]}
    if path.is_file():
        found |= json.loads(path.read_text())
        path.unlink()
    return found


def line(way: str, found: dict[str, Any]) -> str:
    """Row of the table for one way."""
    worked = found["status"] == "0" and found.get("one_graph", False) == way.startswith("one")
    names = ("secc_to_frame", "led", "triplane_render", "refiner", "all", "wall")
    cells = [f"{found[n]['median']:.3f} / {found[n]['p99']:.3f}" if n in found else "–" for n in names]
    return f"| {way} | {'yes' if worked else 'no'} | {' | '.join(cells)} | {found.get('frames', '–')} |"


def main() -> None:
    """Measure all ways, or with --way one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--count", type=int, default=500, help="timed frames of each way")
    parser.add_argument("--seconds", type=int, default=90, help="after which a way is ended")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        choose(arguments.way)
        found = measured(arguments.bundle, arguments.count)
        (arguments.out / f"way-{arguments.way}.json").write_text(json.dumps(found))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    path = arguments.out / f"ways-{open_bundle(arguments.bundle).preset}.json"
    print("| way | worked | SECC to frame | LED | rendering | refiner | with copies | wall | frames |", flush=True)
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for way in arguments.ways:
        report[way] = run_way(way, arguments)
        path.write_text(json.dumps(report, indent=1))
        print(line(way, report[way]), flush=True)
    for way, found in report.items():
        print(f"{way}: opened in {found.get('opening_seconds', 0):.1f} s; nodes {found.get('nodes')}; {found['said']}")


if __name__ == "__main__":
    main()
