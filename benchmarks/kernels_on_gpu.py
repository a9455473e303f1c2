"""Kernels on a GPU: their errors, compute-sanitizer's findings, times, and Nsight Compute's counters.

bash benchmarks/gpu_session.sh python3 benchmarks/kernels_on_gpu.py --out "$OUT"

Prints a table, and writes OUT/kernels.json and OUT/logs.tar.gz after every section.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hidenerf.model.deformation import ray_samples
from hidenerf.model.rendering import triplane_render
from hidenerf.runtime.kernels.compile import Definitions, cached_cubin, compile_source
from hidenerf.runtime.kernels.launch import driver_version
from hidenerf.runtime.kernels.ray_sampler import RaySampler, SampleSizes
from hidenerf.runtime.kernels.sizes import RendererSizes


def find_own_tests() -> None:
    """Let `import tests` find this checkout's folder, here and in child processes, whatever else is installed."""
    folder = Path(tempfile.mkdtemp())
    (folder / "tests").mkdir()
    own = str(Path(__file__).resolve().parents[1] / "tests")
    (folder / "tests" / "__init__.py").write_text(f"__path__ = [{own!r}]\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


find_own_tests()

from tests.support.kernels.on_gpu import DirectRenderer, SceneRenderer, current_stream, to_gpu  # noqa: E402
from tests.support.kernels.ray_scenes import BASE as BASE_RAYS  # noqa: E402
from tests.support.kernels.ray_scenes import DEMO as DEMO_RAYS  # noqa: E402
from tests.support.kernels.ray_scenes import ray_scene  # noqa: E402
from tests.support.kernels.scenes import (  # noqa: E402
    BASE,
    DEMO,
    ODD,
    Scene,
    camera_of,
    head_scene,
    random_scene,
    reference,
)

# Kernel file and renderer of each version. "direct" is the first one, which samples the planes of each level.
VERSIONS: dict[str, tuple[str, type[SceneRenderer]]] = {
    "merged": ("triplane_render.cu", SceneRenderer),
    "direct": ("triplane_render_direct.cu", DirectRenderer),
}
# Of Nsight Compute.
METRICS = (
    "gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed,"
    "sm__inst_executed.sum,sm__issue_active.avg.pct_of_peak_sustained_active,"
    "sm__warps_active.avg.pct_of_peak_sustained_active,"
    "l1tex__t_sector_hit_rate.pct,lts__t_sector_hit_rate.pct,"
    "l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed,"
    "l1tex__data_pipe_lsu_wavefronts_mem_lg.sum,l1tex__data_pipe_lsu_wavefronts_mem_shared.sum,"
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum,l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum,"
    "l1tex__m_xbar2l1tex_read_bytes.sum,lts__t_bytes.avg.pct_of_peak_sustained_elapsed,dram__bytes_read.sum,"
    "dram__bytes_write.sum,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,"
    "sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active,"
    "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active,"
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_lg_throttle_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_short_scoreboard_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_math_pipe_throttle_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_not_selected_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_wait_per_issue_active.ratio,"
    "smsp__average_warps_issue_stalled_mio_throttle_per_issue_active.ratio"
)

# Results by section; folder of kernels.json; folder of logs.
report: dict[str, Any] = {}
out = Path()
logs = Path(tempfile.mkdtemp())


def keep() -> None:
    """Write the results so far, and an archive of the logs."""
    (out / "kernels.json").write_text(json.dumps(report, indent=1))
    with tarfile.open(out / "logs.tar.gz", "w:gz") as archive:
        archive.add(logs, "logs")


def section(name: str, work: Callable[[], Any]) -> None:
    """Run one section and keep its result, or its error; later sections run in any case."""
    started = time.perf_counter()
    try:
        report[name] = work()
    except Exception as error:
        report[name] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        (logs / "failures.log").open("a").write(f"== {name}\n{traceback.format_exc()}\n")
        print(f"!! {name}: {type(error).__name__}: {str(error)[:400]}")
    print(f"-- {name}: {time.perf_counter() - started:.1f} s", flush=True)
    keep()


def run(command: list[str], log: str, timeout: float) -> tuple[int, str]:
    """Run a command; returns its exit status, 124 after a timeout, and its output.

    log: name of the log file for the output.
    timeout: seconds.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        status, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        status, text = 124, str(error.stdout or "") + f"\nout of time: {timeout} s"
    (logs / log).write_text(text)
    return status, text


def environment() -> dict[str, str]:
    """Versions and properties of the GPU."""
    found = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "python": sys.version.split()[0]}
    for name in ("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    properties = torch.cuda.get_device_properties(0)
    found["multiprocessors"] = str(properties.multi_processor_count)
    found["l2"] = str(properties.L2_cache_size)
    print(found)
    return found


def resources_of(job: tuple[str, Definitions, int]) -> list[tuple[str, int, int, int, float]]:
    """Compile a source; of each kernel: name, registers, stack bytes, spilled bytes, seconds of compilation.

    job: file name, macros and SM.
    """
    started = time.perf_counter()
    log = compile_source(*job).log
    seconds = time.perf_counter() - started
    cached_cubin(*job, driver_version())
    pattern = r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers"
    return [(n, int(r), int(s), int(p), seconds) for n, s, p, r in re.findall(pattern, log, re.S)]


def resources() -> dict[str, Any]:
    """`resources_of` all sources and presets, by name of the job."""
    major, minor = torch.cuda.get_device_capability()
    sm, jobs = 10 * major + minor, {}
    for preset, sizes in (("base", BASE), ("demo", DEMO), ("odd", ODD)):
        for name, (source, _) in VERSIONS.items():
            jobs[f"{preset}, {name}"] = (source, sizes.definitions(), sm)
        jobs[f"{preset}, packing"] = ("pack_planes.cu", sizes.definitions(), sm)
    for preset, of_rays in (("base", BASE_RAYS), ("demo", DEMO_RAYS)):
        jobs[f"{preset}, rays"] = ("ray_samples.cu", of_rays.definitions(), sm)
    for source in ("grid_sample_3d.cu", "secc.cu", "pictures.cu"):
        jobs[source] = (source, (), sm)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(jobs, pool.map(resources_of, jobs.values()), strict=True))
    for job, kernels in found.items():
        for kernel, registers, stack, spills, seconds in kernels:
            print(f"{job:14} {kernel:28} {registers:4} registers {stack} stack {spills} spilled  {seconds:.1f} s")
    return found


def gpu_tests() -> dict[str, Any]:
    """Exit status and last line of the kernels' GPU tests."""
    command = [sys.executable, "-m", "pytest", "tests/runtime/kernels", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    status, text = run(command, "gpu_tests.log", 150)
    print(text[-3500:])
    return {"status": status, "end": text.strip().splitlines()[-1:]}


def errors() -> dict[str, Any]:
    """Largest and RMS errors of rendered and alpha of every version against PyTorch FP64."""
    found = {}
    for preset, sizes in (("odd", ODD), ("demo", DEMO), ("base", BASE)):
        for kind, make in (("random", random_scene), ("head", head_scene)):
            scene = make(sizes, int(time.time_ns() % 100_000))
            expected = reference(to_gpu(scene), sizes.octaves)
            for name, (_, renderer) in VERSIONS.items():
                ready = renderer(sizes, scene)
                parts = [(f.double() - w) for f, w in zip(ready.render(), expected, strict=True)]
                worst = [float(p.abs().max()) for p in parts]
                rms = [float(p.square().mean().sqrt()) for p in parts]
                found[f"{preset}, {kind}, {name}"] = {"largest": worst, "rms": rms}
                print(
                    f"{preset:5} {kind:7} {name:7} largest {worst[0]:.2e} {worst[1]:.2e}  rms {rms[0]:.1e} {rms[1]:.1e}"
                )
    return found


def times_of(starts: Sequence[Callable[[], None]], replays: int = 60) -> dict[str, float]:
    """Times of a launch, milliseconds, from CUDA graphs of many launches and of one launch each.

    starts: launch the kernel on different inputs.
    replays: of the graph of many launches.
    """
    many = 5 * len(starts)
    for start in starts:
        start()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(many):
            starts[i % len(starts)]()
    single = []
    for start in starts:
        one = torch.cuda.CUDAGraph()
        with torch.cuda.graph(one):
            start()
        single.append(one)

    def milliseconds(replay: Callable[[], None]) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    for _ in range(3):
        graph.replay()
    batch = [milliseconds(graph.replay) / many for _ in range(replays)]
    alone = sorted(milliseconds(single[i % len(single)].replay) for i in range(4 * replays))
    return {
        "median": statistics.median(batch),
        "spread": max(batch) - min(batch),
        "single_median": statistics.median(alone),
        "single_p99": alone[int(0.99 * (len(alone) - 1))],
    }


def trained_scenes() -> tuple[RendererSizes, list[Scene]]:
    """Sizes and scenes of four frames of the demo motion with the shipped checkpoint: planes, Δ and cameras."""
    from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
    from hidenerf.runtime.motion import load_motion
    from hidenerf.runtime.sources.source import load_source

    model = load_checkpoint(default_checkpoint_path()).eval().cuda()
    source, motion = load_source(demo_source_path()), load_motion(demo_motion_path())
    face, size = load_face_model(default_face_model_path()), model.config.secc_size
    drawer = SeccDrawer(len(face.mean), len(face.expression_names), len(face.triangles), size)
    triangles = torch.from_numpy(np.ascontiguousarray(face.triangles, np.int32)).cuda()
    colours = torch.from_numpy(np.ascontiguousarray(face.ncc, np.float32)).cuda()
    keys = torch.zeros(size, size, dtype=torch.int64, device="cuda")

    def secc(expression: np.ndarray) -> torch.Tensor:
        vertices = torch.from_numpy(np.ascontiguousarray(face.vertices(source.identity, expression), np.float32)).cuda()
        drawn = torch.empty(1, 3, size, size, device="cuda")
        mesh = vertices.data_ptr(), triangles.data_ptr(), colours.data_ptr()
        drawer.draw(*mesh, keys.data_ptr(), drawn.data_ptr(), current_stream())
        torch.cuda.synchronize()
        return drawn

    picture = torch.from_numpy(source.picture.copy()).cuda().permute(2, 0, 1)[None] / 255.0
    scenes, layers = [], model.renderer
    mlp = [
        t.detach().float().cpu()
        for t in (layers.first.weight, layers.first.bias, layers.second.weight, layers.second.bias)
    ]
    with torch.no_grad():
        planes = model.appearance(picture, torch.from_numpy(source.camera).cuda()[None])
        canonical = secc(np.zeros_like(motion.expression[0]))
        for frame in np.linspace(0, len(motion.expression) - 1, 4).astype(int):
            camera = torch.from_numpy(motion.camera[frame]).cuda()[None]
            deformation = model.deformation(secc(motion.expression[frame]), canonical, model.ray_points(camera))
            scenes.append(Scene(deformation.cpu(), camera.cpu(), [p.float().cpu() for p in planes], *mlp))
    return RendererSizes.of_model(model.config.to_dict()), scenes


def light_used(scene: Scene, octaves: int) -> dict[str, float]:
    """Share of opaque rays, whose samples early termination can skip, and mean alpha, by the reference."""
    alpha = reference(to_gpu(scene), octaves)[1]
    return {"rays_opaque": float((alpha > 0.999).double().mean()), "alpha_mean": float(alpha.mean())}


def timings() -> dict[str, Any]:
    """`times_of` all versions on random, head and trained scenes, with one source and with changing sources."""
    found: dict[str, Any] = {}
    inputs: dict[str, tuple[RendererSizes, list[Scene]]] = {}
    for preset, sizes in (("base", BASE), ("demo", DEMO)):
        inputs[f"{preset} random"] = (sizes, [random_scene(sizes, seed) for seed in range(3)])
        inputs[f"{preset} head"] = (sizes, [head_scene(sizes, seed) for seed in range(3)])
    try:
        inputs["demo trained"] = trained_scenes()
    except Exception as error:
        print(f"!! trained scenes: {type(error).__name__}: {error}")
        (logs / "failures.log").open("a").write(traceback.format_exc())
    for label, (sizes, scenes) in inputs.items():
        found[f"{label}, light"] = light_used(scenes[0], sizes.octaves)
        print(label, found[f"{label}, light"])
        for name, (_, renderer) in VERSIONS.items():
            ready = [renderer(sizes, scene) for scene in scenes]
            outputs = ready[0].outputs()
            same_source = [partial(ready[0].start, *outputs, r.scene.deformation, r.scene.camera) for r in ready]
            any_source = [partial(r.start, *outputs) for r in ready]
            for kind, starts in (("one source", same_source), ("source changes", any_source)):
                measured = times_of(starts)
                found[f"{label}, {kind}, {name}"] = measured
                print(
                    f"{label:13} {kind:14} {name:7} median {1e3 * measured['median']:7.1f} us"
                    f" (spread {1e3 * measured['spread']:.1f})  alone {1e3 * measured['single_median']:7.1f}"
                    f" p99 {1e3 * measured['single_p99']:7.1f}",
                    flush=True,
                )
        keep()
    return found


def start_rays(sampler: RaySampler, *tensors: torch.Tensor) -> None:
    """Launch RaySamples. tensors: camera, features, and the results."""
    camera, features, points, looked_up = (tensor.data_ptr() for tensor in tensors)
    sampler.sample(camera, features, points, looked_up, tensors[1].dtype == torch.float16, current_stream())


def plain_rays(camera: torch.Tensor, features: torch.Tensor, sizes: SampleSizes) -> None:
    """The same in PyTorch's operators."""
    ray_samples(camera, features, sizes.samples, sizes.stride)


def ray_timings() -> dict[str, Any]:
    """Times of RaySamples in FP16 and FP32, each on three cameras and features, and of PyTorch's operators in FP16."""
    found: dict[str, Any] = {}
    for preset, sizes in (("base", BASE_RAYS), ("demo", DEMO_RAYS)):
        sampler, size = RaySampler(sizes), sizes.render_size
        for fp16 in (True, False):
            scenes = [[tensor.cuda() for tensor in ray_scene(sizes, seed, fp16=fp16)] for seed in range(3)]
            results = [torch.empty(n, size, size, dtype=scenes[0][1].dtype, device="cuda") for n in sizes.rows]
            starts = [partial(start_rays, sampler, *scene, *results) for scene in scenes]
            found[f"ray samples, {preset}, {'FP16' if fp16 else 'FP32'}"] = times_of(starts)
        camera, features = (tensor.cuda() for tensor in ray_scene(sizes, 0, fp16=True))
        found[f"PyTorch's operators, {preset}, FP16"] = times_of([partial(plain_rays, camera, features, sizes)], 20)
    for name, measured in found.items():
        print(f"{name:34} {1e3 * measured['median']:9.1f} us  alone {1e3 * measured['single_median']:7.1f}")
    return found


def other_timings() -> dict[str, Any]:
    """Times of merging a source's planes, of drawing an SECC, and of PyTorch's rendering in FP16, preset `base`."""
    found: dict[str, Any] = {}
    ready = SceneRenderer(BASE, random_scene(BASE, 0))
    addresses = [p.data_ptr() for p in ready.scene.planes]

    def merge() -> None:
        ready.renderer.merge_planes(
            addresses,
            False,
            ready.feature_weight.data_ptr(),
            ready.merged.data_ptr(),
            ready.flags.data_ptr(),
            current_stream(),
        )

    found["merge planes, base"] = times_of([merge], 20)
    scene = ready.scene
    planes = [p.half() for p in scene.planes]
    first, first_bias, second, second_bias = (t.half() for t in scene.mlp)
    mlp = first, first_bias, second, second_bias

    def eager() -> None:
        triplane_render(scene.deformation, scene.camera, planes, *mlp, BASE.octaves)

    with torch.no_grad():
        for _ in range(3):
            eager()
        torch.cuda.synchronize()
        took = []
        for _ in range(10):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            eager()
            end.record()
            end.synchronize()
            took.append(begin.elapsed_time(end))
    found["PyTorch eager, FP16, base"] = {"median": statistics.median(took)}

    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.kernels.secc_drawer import SeccDrawer

    face = load_face_model(default_face_model_path())
    expressions = len(face.expression_names)
    drawer = SeccDrawer(len(face.mean), expressions, len(face.triangles), 256)
    tensors = [
        torch.from_numpy(np.ascontiguousarray(a, k)).cuda()
        for a, k in (
            (face.mean, np.float32),
            (face.expression_basis, np.float32),
            (np.full(expressions, 0.2), np.float32),
            (face.triangles, np.int32),
            (face.ncc, np.float32),
        )
    ]
    neutral, basis, coefficients, triangles, colours = [t.data_ptr() for t in tensors]
    vertices = torch.empty(len(face.mean), 3, device="cuda")
    keys = torch.zeros(256, 256, dtype=torch.int64, device="cuda")
    secc = torch.empty(3, 256, 256, device="cuda")

    def draw() -> None:
        drawer.vertices(neutral, basis, coefficients, vertices.data_ptr(), current_stream())
        drawer.draw(vertices.data_ptr(), triangles, colours, keys.data_ptr(), secc.data_ptr(), current_stream())

    found["secc, 256"] = times_of([draw])
    for name, measured in found.items():
        print(f"{name:28} {1e3 * measured['median']:9.1f} us")
    return found


def write_case(path: Path, sizes: RendererSizes, scene: Scene, with_reference: bool) -> None:
    """Write a scene to an .npz file for kernel_case.py. with_reference: whether to add the expected result."""
    arrays = {f"planes_{level}": p.numpy() for level, p in enumerate(scene.planes)}
    names = ("deformation", "camera", "weight_1", "bias_1", "weight_2", "bias_2")
    arrays |= {name: getattr(scene, name).numpy() for name in names}
    if with_reference:
        arrays |= {
            name: t.numpy() for name, t in zip(("rendered", "alpha"), reference(scene, sizes.octaves), strict=True)
        }
    np.savez(path, sizes=np.array([value for _, value in sizes.definitions()]), **arrays)  # type: ignore[arg-type]


def sanitizer(folder: Path) -> dict[str, Any]:
    """Results of compute-sanitizer's four tools. folder: for the input file."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if tool is None:
        return {"skipped": "compute-sanitizer is not installed"}
    case, found = folder / "odd.npz", {}
    write_case(case, ODD, random_scene(ODD, 1)._replace(camera=camera_of(2)), True)
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        command = [
            tool,
            "--tool",
            check,
            "--error-exitcode",
            "9",
            # cuda.core asks for the context before there is one and handles the driver's error.
            *(["--report-api-errors", "no"] if check == "memcheck" else []),
            sys.executable,
            "benchmarks/kernel_case.py",
            str(case),
        ]
        status, text = run(command, f"{check}.log", 60)
        found[check] = {"status": status, "end": text.strip().splitlines()[-3:]}
        print(check, status, text.strip().splitlines()[-3:])
    return found


def counters(folder: Path) -> dict[str, Any]:
    """Counters of Nsight Compute by scene. folder: for the input files."""
    tool = shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")
    if tool is None:
        return {"skipped": "ncu is not installed"}
    found: dict[str, Any] = {}
    for label, scene in (("random", random_scene(BASE, 0)), ("head", head_scene(BASE, 0))):
        case = folder / f"{label}.npz"
        write_case(case, BASE, scene, False)
        command = [tool, "--clock-control", "none", "--kernel-name", "regex:triplane_render", "--launch-skip", "2"]
        command += ["--launch-count", "1", "--csv", "--page", "raw", "--metrics", METRICS]
        status, text = run(
            [*command, sys.executable, "benchmarks/kernel_case.py", str(case), "4"], f"ncu_{label}.csv", 60
        )
        rows = [line for line in text.splitlines() if line.startswith('"')]
        if status == 0 and len(rows) >= 3:
            import csv

            names, units, values = list(csv.reader(rows[:3]))
            found[label] = {n: f"{v} {u}".strip() for n, u, v in zip(names, units, values, strict=True) if "__" in n}
            for name, value in found[label].items():
                print(f"{label:7} {name:80} {value}")
        else:
            found[label] = {"status": status, "end": text.strip().splitlines()[-4:]}
            print(label, found[label])
    # All counters once, to be opened in Nsight Compute.
    command = [tool, "--clock-control", "none", "--kernel-name", "regex:triplane_render", "--launch-skip", "2"]
    command += [
        "--launch-count",
        "1",
        "--set",
        "full",
        "--import-source",
        "yes",
        "-f",
        "-o",
        str(logs / "triplane_render"),
    ]
    status, text = run(
        [*command, sys.executable, "benchmarks/kernel_case.py", str(folder / "random.npz"), "4"], "ncu_full.log", 90
    )
    found["full"] = status
    details = [tool, "--import", str(logs / "triplane_render.ncu-rep"), "--page", "details"]
    run(details, "ncu_details.txt", 30)
    source = [tool, "--import", str(logs / "triplane_render.ncu-rep"), "--page", "source", "--csv"]
    run(source, "ncu_source.csv", 60)
    return found


def main() -> None:
    """Run all sections and print the times."""
    global out
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skip", nargs="*", default=[], help="sections to leave out")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    folder = Path("/tmp") / f"hidenerf-kernels-{os.getpid()}"
    folder.mkdir()
    os.environ.setdefault("HIDENERF_KERNEL_CACHE", str(folder / "cache"))
    sections: dict[str, Callable[[], Any]] = {
        "environment": environment,
        "resources": resources,
        "tests": gpu_tests,
        "errors": errors,
        "timings": timings,
        "rays": ray_timings,
        "others": other_timings,
        "sanitizer": lambda: sanitizer(folder),
        "counters": lambda: counters(folder),
    }
    for name, work in sections.items():
        if name not in arguments.skip:
            section(name, work)
    print("tests", report.get("tests"))
    for name, measured in (report.get("timings") or {}).items():
        if isinstance(measured, dict) and "single_p99" in measured:
            print(
                f"{name:62} {1e3 * measured['median']:7.1f} us   alone {1e3 * measured['single_median']:6.1f}"
                f"  p99 {1e3 * measured['single_p99']:6.1f}"
            )


if __name__ == "__main__":
    main()
