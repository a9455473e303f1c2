"""Launch plans of FP16 bundles on a GPU, of LED and of the refiner, beside their ONNX Runtime sessions; and tiles.

    hidenerf-export --fp16 --no-parity -o /tmp/demo
    hidenerf-export --fp16 --preset base --random-init 0 --no-parity -o /tmp/base
    python3 benchmarks/plans_on_gpu.py /tmp/demo /tmp/base --out OUT

For each bundle and graph: whether both give the CPU's results on random inputs; microseconds of the whole graph, as
one CUDA graph each (LED's sessions with the kernel between them); of each launch, once as what it adds to a graph of
the launches before it, and once repeated alone; of the fastest of several tiles for each convolution, and of the whole
graph with them. Then stages of whole frames with the plans and without (`aligned_frame.py`). Times are medians.
OUT/plans.json gets the same figures. Kernels are compiled first, in as many processes as there are processors.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from hidenerf.runtime.bundle import (
    LED_CANONICAL,
    LOOKED_UP,
    LOOKUP_FEATURES,
    POINTS,
    Bundle,
    GraphSpec,
    LaunchPlanFiles,
    open_bundle,
)
from hidenerf.runtime.camera import canonical_camera
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
from hidenerf.runtime.kernels.ray_sampler import RaySampler, SampleSizes
from hidenerf.runtime.launch_plan import Convolution, LaunchPlan
from hidenerf.runtime.manifest import MANIFEST_NAME, TensorSpec

CAMERA, DEFORMATION = "camera", "deformation"
REPLAYS = 40
# Of a launch in one graph, when it is measured alone.
REPEATS = 16


@dataclass(frozen=True)
class Planned:
    """A graph that has a launch plan. sessions: what it is for ONNX Runtime on the GPU."""

    graph: GraphSpec
    plan: LaunchPlanFiles
    sessions: tuple[GraphSpec, ...]


def planned_graphs(bundle: Bundle) -> dict[str, Planned]:
    """LED and the refiner of a bundle, those that have a plan."""
    parts = bundle.kernel_parts
    assert parts is not None
    found = {}
    if parts.led_plan is not None and parts.led_encoder is not None and parts.led_decoder is not None:
        found["led"] = Planned(bundle.graphs["led"], parts.led_plan, (parts.led_encoder, parts.led_decoder))
    if parts.refiner_plan is not None:
        found["refiner"] = Planned(parts.refiner, parts.refiner_plan, (parts.refiner,))
    return found


def random_inputs(graph: GraphSpec, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Inputs of a graph: pictures in [0, 1], γ about 1, a camera, the others about 0."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, spec in graph.inputs.items():
        values: NDArray[Any]
        if spec.dtype == np.float32:
            values = generator.random(spec.shape)
        else:
            values = 0.2 * generator.standard_normal(spec.shape) + (1.0 if "gamma" in name else 0.0)
        if name == CAMERA:
            values = canonical_camera(10.0, 4.0, 0.0)[None]
        found[name] = values.astype(spec.dtype)
    return found


def on_the_cpu(graph: GraphSpec, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs by ONNX Runtime on the CPU, which computes FP16 graphs in FP32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    names = list(graph.outputs)
    return dict(zip(names, session.run(names, inputs), strict=True))


class OnGpu:
    """One graph's tensors, sessions and plan on the GPU."""

    def __init__(self, device: Device, bundle: Bundle, planned: Planned, inputs: dict[str, NDArray[Any]]) -> None:
        self.device, self.bundle, self.planned, self.graph = device, bundle, planned, planned.graph
        self.plan, self.weights = read_launch_plan(planned.plan)
        self.at = {name: device.allocate_copy(array) for name, array in inputs.items()}
        self._allocate(self.graph.outputs)
        self.of_source = [name for name in inputs if name == LED_CANONICAL or "gamma_" in name or "beta_" in name]

    def _allocate(self, tensors: Mapping[str, TensorSpec]) -> None:
        for name, spec in tensors.items():
            if name not in self.at:
                self.at[name] = self.device.allocate(math.prod(spec.shape) * spec.dtype.itemsize)

    def executor(self, tile: Callable[[LayerShape], ConvolutionTile] | None = None) -> PlanExecutor:
        """The plan, what depends on the source made once. tile: of `PlanExecutor`."""
        tensors = self.graph.inputs | self.graph.outputs
        executor = PlanExecutor(
            self.device, self.plan, self.weights, tensors, self.at, of_source=self.of_source, tile=tile
        )
        executor.enqueue_source(self.device.stream)
        self.device.synchronize()
        return executor

    def session(self) -> Callable[[], None]:
        """Enqueues a run of the ONNX Runtime sessions, with RaySamples between those of LED."""
        runs = [self._opened(graph) for graph in self.planned.sessions]
        if len(runs) == 1:
            return runs[0]
        sampler = RaySampler(SampleSizes.of_model(self.bundle.manifest.model.config))
        half = self.planned.sessions[0].outputs[LOOKUP_FEATURES].dtype == np.float16
        given, results = (self.at[CAMERA], self.at[LOOKUP_FEATURES]), (self.at[POINTS], self.at[LOOKED_UP])

        def run() -> None:
            runs[0]()
            sampler.sample(*given, *results, half, self.device.stream)
            runs[1]()

        return run

    def _opened(self, graph: GraphSpec) -> Callable[[], None]:
        self._allocate(graph.inputs | graph.outputs)
        onnxruntime = import_onnxruntime()
        load_libraries(onnxruntime)
        options = FRAME_OPTIONS | {"user_compute_stream": str(self.device.stream)}
        session = open_gpu_session(onnxruntime, graph, options)
        binding = session.io_binding()
        for specs, bind in ((graph.inputs, binding.bind_input), (graph.outputs, binding.bind_output)):
            for name, spec in specs.items():
                bind(name, self.device.kind, 0, spec.dtype.type, list(spec.shape), self.at[name])
        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return lambda: session.run_with_iobinding(binding, run_options)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Of the last run; then they are cleared."""
        found = {}
        for name, spec in self.graph.outputs.items():
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
    """PSNR of the frame and largest error of alpha; or largest error of Δ, as a part of the largest."""
    if DEFORMATION in expected:
        error = np.abs(found[DEFORMATION] - expected[DEFORMATION]).max() / np.abs(expected[DEFORMATION]).max()
        return f"deformation within {error:.1e} of its largest"
    squared = np.square(found["frame"].astype(float) - expected["frame"]).mean()
    alpha = np.abs(found["alpha"] - expected["alpha"]).max()
    return f"frame {10 * np.log10(255**2 / max(squared, 1e-12)):.1f} dB, alpha within {alpha:.1e}"


def measure(bundle: Bundle, name: str, device: Device, count: int) -> dict[str, Any]:
    """Everything about one graph of a bundle, printed and returned. name: of `planned_graphs`. count: variants."""
    planned = planned_graphs(bundle)[name]
    inputs = random_inputs(planned.graph)
    here = OnGpu(device, bundle, planned, inputs)
    expected = on_the_cpu(here.graph, inputs)
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
        print(f"{name}: ours {ours:.1f} µs, ONNX Runtime {theirs:.1f} µs", flush=True)
    except Exception as error:  # the figures of ours are wanted also where ONNX Runtime does not start
        print(f"{name}: ours {ours:.1f} µs; ONNX Runtime does not run: {error}", flush=True)
    rows = [launch_row(here, frame, index) for index in range(len(frame))]
    before = 0.0
    for row in rows:
        row["added"], before = row["until"] - before, row["until"]
        print(f"{row['name']:<28}{row['added']:>8.1f}{row['alone']:>8.1f} µs  {row['what']}", flush=True)
    tried = tried_tiles(here, count)
    tuned = here.executor(lambda shape: tried[shape][0][1])
    tuned_time = here.microseconds(lambda: tuned.enqueue(device.stream))
    tuned.enqueue(device.stream)
    print(f"{name} with the fastest tiles: {tuned_time:.1f} µs, {difference(here.outputs(), expected)}", flush=True)
    tiles = {
        str(shape): [dataclasses.asdict(tile) | {"microseconds": took} for took, tile in ranked]
        for shape, ranked in tried.items()
    }
    times = {"ours": ours, "onnxruntime": theirs, "tuned": tuned_time}
    return {**times, "launches": rows, "tiles": tiles}


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


def without_plans(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle without its launch plans."""
    copy = shutil.copytree(bundle, folder / f"{bundle.name}-onnxruntime")
    manifest = json.loads((copy / MANIFEST_NAME).read_text(encoding="utf-8"))
    for name in ("refiner_plan", "led_plan"):
        manifest["kernel_parts"].pop(name, None)
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def main() -> None:
    """Measure, and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--variants", type=int, default=12, help="tiles that are tried for a layer")
    parser.add_argument("--frames", type=int, default=400, help="whole frames of a bundle; 0 for none")
    parser.add_argument("--out", type=Path, help="folder for plans.json")
    arguments = parser.parse_args()
    device, results = Device(), dict[str, Any]()
    jobs: list[tuple[str, Definitions]] = [
        (f"{name}.cu", ()) for name in ("channels_last", "frame_pixels", "bilinear_doubling")
    ]
    for path in arguments.bundles:
        graphs = planned_graphs(open_bundle(path))
        assert graphs, f"{path} has no launch plan"
        for planned in graphs.values():
            for shape in shapes_of(read_launch_plan(planned.plan)[0]):
                tiles = variants(shape, device, arguments.variants)
                jobs += [("convolution.cu", tile.definitions()) for tile in tiles]
    compile_all(jobs, device.sm)
    for path in arguments.bundles:
        bundle = open_bundle(path)
        results[path.name] = {}
        for name in planned_graphs(bundle):
            print(f"\n{path}, {name}", flush=True)
            results[path.name][name] = measure(bundle, name, device, arguments.variants)
    device.close()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "plans.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            for path in arguments.bundles:
                pair = [without_plans(path, Path(folder)), path]
                print(f"\n{table(pair, frame_times(pair, arguments.frames))}", flush=True)


if __name__ == "__main__":
    main()
