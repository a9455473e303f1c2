"""The refiner of FP16 bundles on a GPU: its launch plan beside its ONNX Runtime session, and tiles for every layer.

    hidenerf-export --fp16 --no-parity -o /tmp/demo
    hidenerf-export --fp16 --preset base --random-init 0 --no-parity -o /tmp/base
    python3 benchmarks/refiner_on_gpu.py /tmp/demo /tmp/base --out OUT

For each bundle: whether both give the CPU's frame on random inputs; microseconds of the whole refiner, as one CUDA
graph each; of each launch, once as what it adds to a graph of the launches before it, and once repeated alone; of the
fastest of several tiles for each convolution, and of the whole refiner with them; and stages of whole frames with the
plan and without (`aligned_frame.py`). Times are medians. OUT/refiner.json gets the same figures. Kernels are compiled
first, in as many processes as there are processors.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import math
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.aligned_frame import frame_times, table
from hidenerf.runtime.backends.onnxruntime_cuda import (
    FRAME_OPTIONS,
    import_onnxruntime,
    load_libraries,
    open_gpu_session,
)
from hidenerf.runtime.backends.planned_graphs import read_launch_plan
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.kernels.compile import Definitions, cached_cubin
from hidenerf.runtime.kernels.convolution_tiles import (
    ConvolutionTile,
    LayerShape,
    choose_tile,
    estimated_cycles,
    tiles_for,
)
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.launch import driver_version
from hidenerf.runtime.kernels.plan_executor import Launch, PlanExecutor
from hidenerf.runtime.launch_plan import Convolution, LaunchPlan
from hidenerf.runtime.manifest import MANIFEST_NAME

REPLAYS = 40
# Of a launch in one graph, when it is measured alone.
REPEATS = 16


def random_inputs(refiner: GraphSpec, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Inputs of a refiner: pictures in [0, 1], γ about 1, the others about 0."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, spec in refiner.inputs.items():
        if spec.dtype == np.float32:
            values = generator.random(spec.shape)
        else:
            values = 0.2 * generator.standard_normal(spec.shape) + (1.0 if "gamma" in name else 0.0)
        found[name] = values.astype(spec.dtype)
    return found


def on_the_cpu(refiner: GraphSpec, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs by ONNX Runtime on the CPU, which computes FP16 graphs in FP32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(refiner.path), providers=["CPUExecutionProvider"])
    names = list(refiner.outputs)
    return dict(zip(names, session.run(names, inputs), strict=True))


class OnGpu:
    """One refiner's tensors, session and plan on the GPU."""

    def __init__(self, device: Device, bundle: Bundle, inputs: dict[str, NDArray[Any]]) -> None:
        parts = bundle.kernel_parts
        assert parts is not None
        assert parts.refiner_plan is not None, "the bundle has a launch plan"
        self.device, self.refiner = device, parts.refiner
        self.plan, self.weights = read_launch_plan(parts.refiner_plan)
        self.at = {name: device.allocate_copy(array) for name, array in inputs.items()}
        for name, spec in self.refiner.outputs.items():
            self.at[name] = device.allocate(math.prod(spec.shape) * spec.dtype.itemsize)
        self.maps = [name for name in inputs if "gamma_" in name or "beta_" in name]

    def executor(self, tile: Callable[[LayerShape], ConvolutionTile] | None = None) -> PlanExecutor:
        """The plan, its maps made once. tile: of `PlanExecutor`."""
        tensors = self.refiner.inputs | self.refiner.outputs
        executor = PlanExecutor(self.device, self.plan, self.weights, tensors, self.at, of_source=self.maps, tile=tile)
        executor.enqueue_source(self.device.stream)
        self.device.synchronize()
        return executor

    def session(self) -> Callable[[], None]:
        """Enqueues a run of the ONNX Runtime session."""
        onnxruntime = import_onnxruntime()
        load_libraries(onnxruntime)
        options = FRAME_OPTIONS | {"user_compute_stream": str(self.device.stream)}
        session = open_gpu_session(onnxruntime, self.refiner, options)
        binding = session.io_binding()
        for specs, bind in ((self.refiner.inputs, binding.bind_input), (self.refiner.outputs, binding.bind_output)):
            for name, spec in specs.items():
                bind(name, self.device.kind, 0, spec.dtype.type, list(spec.shape), self.at[name])
        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return lambda: session.run_with_iobinding(binding, run_options)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Of the last run; then they are cleared."""
        found = {}
        for name, spec in self.refiner.outputs.items():
            found[name] = np.empty(spec.shape, spec.dtype)
            self.device.download(found[name], self.at[name])
            self.device.clear(self.at[name], found[name].nbytes)
        self.device.synchronize()
        return found

    def microseconds(self, work: Callable[[], None], repeats: int = 1) -> float:
        """Of what `work` enqueues, as one graph; median of `REPLAYS`. repeats: how often `work` is in the graph."""

        def repeated() -> None:
            for _ in range(repeats):
                work()

        for _ in range(3):
            work()
        graph = self.device.capture(repeated)
        took = []
        for _ in range(REPLAYS):
            self.device.mark(0)
            self.device.launch(graph)
            self.device.mark(1)
            self.device.synchronize()
            took.append(1e6 * self.device.seconds_between(0, 1))
        return statistics.median(took) / repeats


def compile_all(jobs: Iterable[tuple[str, Definitions]], sm: int) -> None:
    """Compile kernels into the cache in several processes."""
    driver, distinct = driver_version(), sorted(set(jobs))
    start, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        for _ in pool.map(_compile, [(source, definitions, sm, driver) for source, definitions in distinct]):
            pass
    print(f"{len(distinct)} kernels compiled in {time.perf_counter() - start:.0f} s", flush=True)


def _compile(job: tuple[str, Definitions, int, str]) -> None:
    cached_cubin(*job)


def variants(shape: LayerShape, device: Device, count: int) -> list[ConvolutionTile]:
    """The chosen tile, and those with the smallest estimates: at most four of one division among blocks."""
    by_estimate = sorted(
        tiles_for(shape, device.sm), key=lambda tile: estimated_cycles(tile, shape, device.sm, device.multiprocessors)
    )
    found = [choose_tile(shape, device.sm, device.multiprocessors)]
    for tile in by_estimate:
        block = tile.height, tile.width, tile.outputs
        if tile not in found and sum((one.height, one.width, one.outputs) == block for one in found) < 4:
            found.append(tile)
    return found[:count]


def shapes_of(plan: LaunchPlan) -> list[LayerShape]:
    """Of the plan's convolutions, in their order."""
    return [LayerShape.of(step, plan) for step in plan.steps if isinstance(step, Convolution)]


def described(tile: ConvolutionTile) -> str:
    """A tile in a few characters."""
    warps = f"{tile.warps_m}·{tile.warps_n}·{tile.warps_k}"
    return f"{tile.height}×{tile.width}×{tile.outputs} c{tile.channels} s{tile.stages} w{warps}"


def difference(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> str:
    """PSNR of the frame and largest error of alpha."""
    squared = np.square(found["frame"].astype(float) - expected["frame"]).mean()
    alpha = np.abs(found["alpha"] - expected["alpha"]).max()
    return f"frame {10 * np.log10(255**2 / max(squared, 1e-12)):.1f} dB, alpha within {alpha:.1e}"


def measure(bundle: Bundle, device: Device, count: int) -> dict[str, Any]:
    """Everything about one bundle's refiner but whole frames, printed and returned. count: variants of a layer."""
    inputs = random_inputs(bundle_refiner(bundle))
    here = OnGpu(device, bundle, inputs)
    expected = on_the_cpu(here.refiner, inputs)
    executor = here.executor()
    frame = [launch for launch in executor.launches if not launch.of_source]
    executor.enqueue(device.stream)
    print(f"ours against the CPU: {difference(here.outputs(), expected)}", flush=True)
    ours = here.microseconds(lambda: executor.enqueue(device.stream))
    theirs: float | None = None
    try:
        run = here.session()
        for _ in range(3):
            run()
        print(f"ONNX Runtime against the CPU: {difference(here.outputs(), expected)}", flush=True)
        theirs = here.microseconds(run)
        print(f"refiner: ours {ours:.1f} µs, ONNX Runtime {theirs:.1f} µs", flush=True)
    except Exception as error:  # the figures of ours are wanted also where ONNX Runtime does not start
        print(f"refiner: ours {ours:.1f} µs; ONNX Runtime does not run: {error}", flush=True)
    rows = [launch_row(here, frame, index) for index in range(len(frame))]
    before = 0.0
    for row in rows:
        row["added"], before = row["until"] - before, row["until"]
        print(f"{row['name']:<28}{row['added']:>8.1f}{row['alone']:>8.1f} µs  {row['what']}", flush=True)
    tried = tried_tiles(here, count)
    tuned = here.executor(lambda shape: tried[shape][0][1])
    tuned_time = here.microseconds(lambda: tuned.enqueue(device.stream))
    tuned.enqueue(device.stream)
    print(f"refiner with the fastest tiles: {tuned_time:.1f} µs, {difference(here.outputs(), expected)}", flush=True)
    tiles = {
        str(shape): [dataclasses.asdict(tile) | {"microseconds": took} for took, tile in ranked]
        for shape, ranked in tried.items()
    }
    times = {"ours": ours, "onnxruntime": theirs, "tuned": tuned_time}
    return {**times, "launches": rows, "tiles": tiles}


def bundle_refiner(bundle: Bundle) -> GraphSpec:
    """The graph `refiner`."""
    assert bundle.kernel_parts is not None
    return bundle.kernel_parts.refiner


def launch_row(here: OnGpu, launches: Sequence[Launch], index: int) -> dict[str, Any]:
    """Microseconds of the launches up to one, and of this one alone."""
    stream, launch = here.device.stream, launches[index]

    def until() -> None:
        for one in launches[: index + 1]:
            one.enqueue(stream)

    step, blocks = launch.step, launch.grid[0] * launch.grid[1]
    what = f"{blocks} blocks of {launch.block}"
    if isinstance(step, Convolution):
        shape = LayerShape.of(step, here.plan)
        tile = choose_tile(shape, here.device.sm, here.device.multiprocessors)
        what = f"{shape.height}² {shape.channels}→{shape.outputs}, {described(tile)}, {blocks} blocks"
    return {
        "name": getattr(step, "name", getattr(step, "output", type(step).__name__)),
        "until": here.microseconds(until),
        "alone": here.microseconds(lambda: launch.enqueue(stream), REPEATS),
        "what": what,
    }


def tried_tiles(here: OnGpu, count: int) -> dict[LayerShape, list[tuple[float, ConvolutionTile]]]:
    """Of each layer's shape several tiles, repeated alone: microseconds and tile, the fastest first; prints four."""
    device, found = here.device, dict[LayerShape, list[tuple[float, ConvolutionTile]]]()
    convolutions = [step for step in here.plan.steps if isinstance(step, Convolution)]
    options = {shape: variants(shape, device, count) for shape in shapes_of(here.plan)}
    took: dict[LayerShape, list[tuple[float, ConvolutionTile]]] = {shape: [] for shape in options}
    for turn in range(count):
        tiles = {shape: some[min(turn, len(some) - 1)] for shape, some in options.items()}
        executor = here.executor(tiles.__getitem__)
        launches = {id(launch.step): launch for launch in executor.launches}
        for step in convolutions:
            shape = LayerShape.of(step, here.plan)
            if turn < len(options[shape]) and len(took[shape]) == turn:
                work = functools.partial(launches[id(step)].enqueue, device.stream)
                took[shape].append((here.microseconds(work, REPEATS), options[shape][turn]))
    for shape, times in took.items():
        ranked = found[shape] = sorted(times, key=lambda entry: entry[0])
        text = "; ".join(f"{microseconds:.1f} {described(tile)}" for microseconds, tile in ranked[:4])
        print(f"{shape.height}² {shape.channels}→{shape.outputs} chosen {times[0][0]:.1f}: {text}", flush=True)
    return found


def without_plan(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle without its launch plan."""
    copy = shutil.copytree(bundle, folder / f"{bundle.name}-onnxruntime")
    manifest = json.loads((copy / MANIFEST_NAME).read_text(encoding="utf-8"))
    del manifest["kernel_parts"]["refiner_plan"]
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def main() -> None:
    """Measure, and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--variants", type=int, default=12, help="tiles that are tried for a layer")
    parser.add_argument("--frames", type=int, default=400, help="whole frames of a bundle; 0 for none")
    parser.add_argument("--out", type=Path, help="folder for refiner.json")
    arguments = parser.parse_args()
    device, results = Device(), dict[str, Any]()
    jobs: list[tuple[str, Definitions]] = [("channels_last.cu", ()), ("frame_pixels.cu", ())]
    for path in arguments.bundles:
        parts = open_bundle(path).kernel_parts
        assert parts is not None
        assert parts.refiner_plan is not None, f"{path} has no launch plan"
        for shape in shapes_of(read_launch_plan(parts.refiner_plan)[0]):
            tiles = variants(shape, device, arguments.variants)
            jobs += [("convolution.cu", tile.definitions()) for tile in tiles]
    compile_all(jobs, device.sm)
    for path in arguments.bundles:
        print(f"\n{path}", flush=True)
        results[path.name] = measure(open_bundle(path), device, arguments.variants)
    device.close()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "refiner.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            for path in arguments.bundles:
                pair = [without_plan(path, Path(folder)), path]
                print(f"\n{table(pair, frame_times(pair, arguments.frames))}", flush=True)


if __name__ == "__main__":
    main()
