"""Frame on a GPU: our backend, PyTorch and ONNX Runtime CUDA, with the same weights and inputs, in one process.

bash benchmarks/gpu_session.sh python3 benchmarks/frame_on_gpu.py --out "$OUT"

Presets: `base` untrained, `demo` as shipped. FP16 bundles are taken from --bundles (FOLDER/base, FOLDER/demo) or
exported. For each contender: median and p99 of a frame on the device (from SECC and camera to uint8 frame and alpha)
and of each stage alone, GPU memory, and PSNR against PyTorch FP32 with nothing hoisted. Writes OUT/frame.json and
OUT/frame.md after every part. A part that fails is noted there and does not end the others; after --minutes no further
part begins. frame_report.py puts one or several frame.json into docs/performance.md.

Steps: tests (of the backend), ways (frame_ways.py), ours, onnxruntime, eager, compile, endurance, scaling
(TriplaneRender over R and N), frames (whole frames over R and N), batch. Batch: B sources are on the device, each with
its own backend, and one motion drives them all; a step is one frame of each.
"""

import argparse
import dataclasses
import gc
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.frame_report import tables
from benchmarks.frame_ways import summary
from benchmarks.kernels_on_gpu import times_of
from hidenerf.export.bundle_writer import write_bundle
from hidenerf.export.flops import frame_flops
from hidenerf.export.graph_modules import Led, fold_batch_norms, graph_modules, refiner_module
from hidenerf.export.precision import FloatPrecision
from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.deformation import ray_samples
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8, random_model
from hidenerf.model.rendering import triplane_render
from hidenerf.runtime.backends import onnxruntime_cuda
from hidenerf.runtime.backends.onnxruntime_cuda import PROVIDER, STAGES, OnnxRuntimeCudaBackend
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
from hidenerf.runtime.manifest import Weights
from hidenerf.runtime.metrics import PEAK, psnr
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.sources.source import load_source

STEPS = ("tests", "ways", "ours", "onnxruntime", "eager", "compile", "endurance", "scaling", "frames", "batch")
# Frames of the motion that are rendered, and frames before timing starts.
POSES = 8
WARM_UP = 10
# Results by group and name; their folder; the time after which no part begins, of time.perf_counter.
report: dict[str, Any] = {}
out = Path()
last_start = float("inf")

# Driving SECC [1, 3, Q, Q] and camera [1, 25].
Pose = tuple[Tensor, Tensor]
# Two outputs: of rendering [1, K, R, R] and [1, 1, R, R], or of the refiner.
Frame = tuple[Tensor, Tensor]


@dataclasses.dataclass
class Case:
    """A model with its inputs on the GPU.

    preset: name of the case.
    model: on the GPU.
    bundle: of the model, FP16.
    source: image [1, 3, S, S], camera [1, 25], canonical SECC [1, 3, Q, Q].
    poses: POSES of them.
    neutral: [V + T, 3], the source's face and teeth without an expression.
    expressions: [POSES, E], of the poses.
    expected: uint8 frames of the poses by PyTorch FP32.
    """

    preset: str
    model: HideNerf
    bundle: Bundle
    source: tuple[Tensor, Tensor, Tensor]
    poses: list[Pose]
    neutral: np.ndarray
    expressions: np.ndarray
    expected: list[np.ndarray] = dataclasses.field(default_factory=list)


def preset_model(preset: str) -> HideNerf:
    """The shipped model; for `base` a model with random weights."""
    return random_model(PRESETS["base"], 0) if preset == "base" else load_checkpoint(default_checkpoint_path()).eval()


def make_case(preset: str, model: HideNerf, folder: Path) -> Case:
    """A case with the demo source and motion; if the source has another size than the model's, its picture is noise.

    folder: of bundles; a missing one is exported to it.
    """
    face = load_face_model(default_face_model_path())
    path = folder / preset
    if not path.is_dir():
        fp16 = FloatPrecision.FP16
        write_bundle(model, path, checkpoint=Weights(seed=0), face_model=face, precision=fp16)
    source, motion, config = load_source(demo_source_path()), load_motion(demo_motion_path()), model.config
    drawer = SeccDrawer(len(face.mean), len(face.expression_names), len(face.triangles), config.secc_size)
    triangles, colours = (torch.from_numpy(np.ascontiguousarray(a)).cuda() for a in (face.triangles, face.ncc))
    keys = torch.zeros(config.secc_size, config.secc_size, dtype=torch.int64, device="cuda")

    def secc(expression: np.ndarray) -> Tensor:
        vertices = torch.from_numpy(np.ascontiguousarray(face.vertices(source.identity, expression), np.float32)).cuda()
        drawn = torch.empty(1, 3, config.secc_size, config.secc_size, device="cuda")
        mesh = vertices.data_ptr(), triangles.data_ptr(), colours.data_ptr()
        drawer.draw(*mesh, keys.data_ptr(), drawn.data_ptr(), int(torch.cuda.current_stream().cuda_stream))
        torch.cuda.synchronize()
        return drawn

    if config.image_size == len(source.picture):
        picture = torch.from_numpy(source.picture.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()
    else:
        picture = torch.rand(1, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    rows = np.linspace(0, len(motion.expression) - 1, POSES).astype(int)
    poses = [(secc(motion.expression[r]), torch.from_numpy(motion.camera[r].copy()).cuda()[None]) for r in rows]
    inputs = picture.cuda(), torch.from_numpy(source.camera.copy()).cuda()[None], secc(source.expression)
    neutral = face.vertices_with_teeth(source.identity, np.zeros_like(source.expression))
    return Case(preset, model.cuda(), open_bundle(path), inputs, poses, neutral, motion.expression[rows])


def render_expected(case: Case) -> None:
    """Set `case.expected`: frames by PyTorch in FP32, with nothing hoisted."""
    with torch.no_grad(), full_fp32():
        for pose in case.poses:
            result = case.model(*case.source, *pose)
            case.expected.append(frame_to_uint8(result.frame).cpu().numpy())


@contextmanager
def full_fp32() -> Iterator[None]:
    """Context without TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def free_memory() -> int:
    """Free GPU memory, bytes, after a garbage collection."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info()[0])


def on_device(run: Callable[[int], object], count: int) -> dict[str, float]:
    """Summary of the device times of `run`, between two events on the current stream; its argument counts from 0."""
    for index in range(WARM_UP):
        run(index)
    took = []
    for index in range(count):
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(index)
        end.record()
        end.synchronize()
        took.append(begin.elapsed_time(end) / 1e3)
    return summary(took)


def worst_psnr(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The lowest PSNR of the frames, dB; 138 if all are equal."""
    return min(138.0, *(psnr(e, f, PEAK) for e, f in zip(expected, found, strict=True)))


class PyTorchFrame:
    """A frame in PyTorch.

    fp16: whether convolutions and matrix products are FP16, under autocast; coordinates are always FP32.
    hoisted: whether what depends on the source alone is computed once, before the frames.
    mode: of torch.compile; None runs eagerly.
    """

    def __init__(self, case: Case, fp16: bool, hoisted: bool, mode: str | None) -> None:
        self.fp16, self.hoisted = fp16, hoisted
        # Modules of its own: casting must not change the case's.
        model = HideNerf(case.model.config).cuda().eval()
        model.load_state_dict(case.model.state_dict())
        self.octaves = model.config.encoding_octaves
        kind = torch.float16 if fp16 else torch.float32
        with torch.no_grad():
            if hoisted:
                encoder, led, renderer_refiner = graph_modules(model.cpu())
                _look_into_ray_samples(led.module)
                refiner = refiner_module(renderer_refiner)
                constants = encoder.module.cuda()(*case.source)
                values = dict(zip(encoder.outputs, constants, strict=True))
                self.led, self.refine, model = led.module.cuda(), refiner.module.cuda(), model.cuda()
                self.maps = [values[name].to(kind) for name in refiner.inputs if name.startswith(("gamma", "beta"))]
                self.canonical = values["led_canonical"].to(kind)
                self.planes = [v.to(kind) for name, v in values.items() if name.startswith("planes_")]
            else:
                model = fold_batch_norms(model)
                self.planes = [p.to(kind) for p in model.appearance(*case.source[:2])]
                self.identity = [f.to(kind) for f in model.id_encoder(case.source[0])]
                self.canonical = case.source[2]
                self.led, self.refine = model.deformation, model.refiner
        renderer = model.renderer
        first, first_bias, second, second_bias = [
            t.detach().to(kind)
            for t in (renderer.first.weight, renderer.first.bias, renderer.second.weight, renderer.second.bias)
        ]
        self.mlp = first, first_bias, second, second_bias
        self.ray_points = model.ray_points
        if fp16:
            for module in (*self.led.modules(), *self.refine.modules()):
                if isinstance(module, nn.Conv2d):
                    module.half()

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            return function if mode is None else torch.compile(function, mode=mode, dynamic=False)

        self.frame = compiled(self._frame)
        self.stages = {"led": compiled(self._led), "render": compiled(self._render), "refiner": compiled(self._refine)}

    def _led(self, secc: Tensor, camera: Tensor) -> Tensor:
        """Δ in FP32."""
        with torch.autocast("cuda", torch.float16) if self.fp16 else nullcontext():
            if self.hoisted:
                return self.led(secc, camera, self.canonical).float()
            return self.led(secc, self.canonical, self.ray_points(camera)).float()

    def _render(self, deformation: Tensor, camera: Tensor) -> Frame:
        """Rendered [1, K, R, R] and alpha [1, 1, R, R]."""
        return triplane_render(deformation, camera, self.planes, *self.mlp, self.octaves)

    def _refine(self, rendered: Tensor, alpha: Tensor) -> Frame:
        """Frame and alpha."""
        with torch.autocast("cuda", torch.float16) if self.fp16 else nullcontext():
            if self.hoisted:
                return self.refine(rendered, alpha, *self.maps)
            frame, refined = self.refine(rendered, alpha, self.identity)
            return frame_to_uint8(frame.float()), refined[0, 0].clamp(0.0, 1.0)

    def _frame(self, secc: Tensor, camera: Tensor) -> Frame:
        """Frame and alpha of a pose."""
        return self._refine(*self._render(self._led(secc, camera), camera))


def _look_into_ray_samples(led: nn.Module) -> None:
    """Let LED call the function in place of the custom op, into which torch.compile does not look."""
    assert isinstance(led, Led)
    led.sampler = ray_samples


def pytorch(case: Case, fp16: bool, hoisted: bool, mode: str | None, count: int) -> dict[str, Any]:
    """Results of PyTorch: PSNR, GPU memory, and times of a frame and of each stage. Arguments: see `PyTorchFrame`."""
    torch.compiler.reset()
    before = free_memory()
    with torch.no_grad(), nullcontext() if fp16 else full_fp32():
        contender = PyTorchFrame(case, fp16, hoisted, mode)
        frames = [contender.frame(*pose)[0].cpu().numpy() for pose in case.poses]
        found: dict[str, Any] = {"psnr": worst_psnr(frames, case.expected)}
        found["frame"] = on_device(lambda i: contender.frame(*case.poses[i % POSES]), count)
        found["memory"] = before - int(torch.cuda.mem_get_info()[0])
        deformation = contender._led(*case.poses[0])
        rendered = contender._render(deformation, case.poses[0][1])
        inputs: dict[str, tuple[Tensor, ...]] = {
            "led": case.poses[0],
            "render": (deformation, case.poses[0][1]),
            "refiner": rendered,
        }
        for name, stage in contender.stages.items() if hoisted else ():
            found[name] = on_device(lambda _, s=stage, x=inputs[name]: s(*x), count)  # type: ignore[misc]
    return found


class OrtFrame:
    """A frame by the bundle's graphs in plain ONNX Runtime CUDA: GridSample in FP32, without our kernels.

    options: of the CUDA execution provider.
    """

    def __init__(self, case: Case, options: dict[str, str]) -> None:
        onnxruntime = onnxruntime_cuda.import_onnxruntime()
        onnxruntime_cuda.load_libraries(onnxruntime)
        self.stream = torch.cuda.Stream()
        self.tensors: dict[str, Tensor] = {}
        self.sessions, self.bindings = {}, {}
        self.run_options = onnxruntime.RunOptions()
        self.run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        for name, graph in case.bundle.graphs.items():
            chosen = {k: v for k, v in options.items() if name != "source_encoder" or k != "enable_cuda_graph"}
            session_options = onnxruntime.SessionOptions()
            session_options.log_severity_level = 3
            provider = (PROVIDER, chosen | {"user_compute_stream": str(self.stream.cuda_stream)})
            session = onnxruntime.InferenceSession(str(graph.path), session_options, providers=[provider])
            if session.get_providers()[0] != PROVIDER:
                raise RuntimeError("ONNX Runtime fell back to the CPU")
            binding = session.io_binding()
            for specs, bind in ((graph.inputs, binding.bind_input), (graph.outputs, binding.bind_output)):
                for key, spec in specs.items():
                    if key not in self.tensors:
                        kind = getattr(torch, spec.dtype.name)
                        self.tensors[key] = torch.zeros(spec.shape, dtype=kind, device="cuda")
                    bind(key, "cuda", 0, spec.dtype.type, list(spec.shape), self.tensors[key].data_ptr())
            self.sessions[name], self.bindings[name] = session, binding
        names = ("source_image", "source_camera", "secc_canonical")
        for key, value in zip(names, case.source, strict=True):
            self.tensors[key].copy_(value)
        torch.cuda.synchronize()
        self.run("source_encoder")

    def run(self, graph: str) -> None:
        """Start a graph on the stream."""
        self.sessions[graph].run_with_iobinding(self.bindings[graph], self.run_options)

    def set_pose(self, pose: Pose) -> None:
        """Copy a pose to the graphs' inputs."""
        self.tensors["secc_driving"].copy_(pose[0])
        self.tensors["camera"].copy_(pose[1])

    def frame(self) -> None:
        """Start the graphs of a frame on the stream."""
        self.run("led")
        self.run("renderer_refiner")

    def close(self) -> None:
        """Release the sessions, after a run that waits (see the backend's `_drop_session`)."""
        for name, session in self.sessions.items():
            session.run_with_iobinding(self.bindings[name])
        torch.cuda.synchronize()
        self.bindings.clear()
        self.sessions.clear()


def plain_onnxruntime(case: Case, options: dict[str, str], count: int) -> dict[str, Any]:
    """Results of plain ONNX Runtime CUDA: PSNR, GPU memory, and times of a frame and of each graph."""
    before = free_memory()
    contender = OrtFrame(case, options)
    with torch.cuda.stream(contender.stream):
        frames = []
        for pose in case.poses:
            contender.set_pose(pose)
            contender.frame()
            torch.cuda.synchronize()
            frames.append(contender.tensors["frame"].cpu().numpy())
        found: dict[str, Any] = {"psnr": worst_psnr(frames, case.expected)}
        found["frame"] = on_device(lambda _: contender.frame(), count)
        found["memory"] = before - int(torch.cuda.mem_get_info()[0])
        found["led"] = on_device(lambda _: contender.run("led"), count)
        found["renderer_refiner"] = on_device(lambda _: contender.run("renderer_refiner"), count)
    contender.close()
    return found


def ours(case: Case, prefer_nhwc: str, count: int) -> dict[str, Any]:
    """Results of our CUDA backend. prefer_nhwc: "0" or "1", ONNX Runtime's option."""
    before = free_memory()
    for options in (onnxruntime_cuda.FRAME_OPTIONS, onnxruntime_cuda.OWN_GRAPH_OPTIONS):
        options["prefer_nhwc"] = prefer_nhwc
    started = time.perf_counter()
    backend = OnnxRuntimeCudaBackend(case.bundle, StageTimes())
    found: dict[str, Any] = {"opening_seconds": time.perf_counter() - started}
    try:
        started = time.perf_counter()
        backend.encode_source(*[t.cpu().numpy() for t in case.source])
        found["source_milliseconds"] = 1e3 * (time.perf_counter() - started)
        poses = [(secc.cpu().numpy(), camera.cpu().numpy()) for secc, camera in case.poses]
        found["psnr"] = worst_psnr([backend.render_secc(*pose)[0] for pose in poses], case.expected)
        found["memory"] = before - int(torch.cuda.mem_get_info()[0])
        found |= measured_stages(backend, lambda i: backend.render_secc(*poses[i % POSES]), count)
        face = load_face_model(default_face_model_path())
        backend.set_face(face, case.neutral)
        cameras = [pose[1] for pose in poses]
        drawn = measured_stages(
            backend, lambda i: backend.render(case.expressions[i % POSES], cameras[i % POSES]), count
        )
        found["with_secc"] = {name: drawn[name] for name in ("upload", "frame", "secc_to_frame", "wall")}
        found["one_graph"] = bool(backend._captured)
    finally:
        backend.close()
    return found


def measured_stages(backend: OnnxRuntimeCudaBackend, render: Callable[[int], object], count: int) -> dict[str, Any]:
    """Summaries of times: of stages and frames on the device, by the backend's events, and of calls on the host.

    render: renders a frame; its argument counts from 0. The host's times are called "wall".
    """
    took: dict[str, list[float]] = {name: [] for name in (*STAGES, "frame", "secc_to_frame", "wall")}
    for index in range(count + WARM_UP):
        started = time.perf_counter()
        render(index)
        wall = time.perf_counter() - started
        if index < WARM_UP:
            continue
        for mark, stage in enumerate(STAGES):
            took[stage].append(backend._device.seconds_between(mark, mark + 1))
        took["frame"].append(backend._device.seconds_between(1, 4))
        took["secc_to_frame"].append(backend._device.seconds_between(0, 4))
        took["wall"].append(wall)
    return {name: summary(values) for name, values in took.items()}


def endurance(case: Case, frames: int) -> dict[str, Any]:
    """Render the poses again and again: number of different outputs of each, expected 1, and free GPU memory."""
    backend = OnnxRuntimeCudaBackend(case.bundle, StageTimes())
    try:
        backend.encode_source(*[t.cpu().numpy() for t in case.source])
        poses = [(secc.cpu().numpy(), camera.cpu().numpy()) for secc, camera in case.poses]
        hashes: list[set[str]] = [set() for _ in poses]
        memory = []
        for index in range(frames):
            frame, alpha = backend.render_secc(*poses[index % POSES])
            hashes[index % POSES].add(hashlib.sha256(frame.tobytes() + alpha.tobytes()).hexdigest())
            if index % (frames // 10) == frames // 10 - 1:
                memory.append(int(torch.cuda.mem_get_info()[0]))
    finally:
        backend.close()
    return {"frames": frames, "hashes_per_pose": [len(h) for h in hashes], "free_memory": memory}


def ceilings() -> dict[str, float]:
    """Measured limits: bytes a second of a copy, read plus written, and FLOP/s of an FP16 matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target, product = torch.empty_like(source), torch.empty_like(a)
    copied = on_device(lambda _: target.copy_(source), 20)["median"] / 1e3
    multiplied = on_device(lambda _: torch.mm(a, b, out=product), 20)["median"] / 1e3
    return {"copy": 2 * source.numel() / copied, "fp16": 2 * 8192**3 / multiplied}


def floors(case: Case, limits: dict[str, float]) -> dict[str, Any]:
    """Lower bounds of each stage's time, ms: of FLOPs and of bytes that must move once. limits: of `ceilings`."""
    assert case.bundle.kernel_parts is not None
    flops, found = frame_flops(case.model.config), {}
    whole = case.bundle.graphs["renderer_refiner"]
    led, refiner = case.bundle.graphs["led"], case.bundle.kernel_parts.refiner

    def size(specs: Any) -> int:
        return sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in specs)

    planes = [s for name, s in whole.inputs.items() if name.startswith("planes_")]
    rendered = [s for name, s in refiner.inputs.items() if name.startswith("rendered")]
    moved = {
        "led": (flops.led, led.path.stat().st_size + size((*led.inputs.values(), *led.outputs.values()))),
        "triplane_render": (flops.renderer, size([*planes, *rendered, whole.inputs["deformation"]])),
        "refiner": (
            flops.refiner,
            refiner.path.stat().st_size + size((*refiner.inputs.values(), *refiner.outputs.values())),
        ),
    }
    for name, (operations, count) in moved.items():
        floor = 1e3 * max(operations / limits["fp16"], count / limits["copy"])
        found[name] = {"flop": operations, "bytes": count, "floor": floor}
    found["frame"] = {"floor": sum(stage["floor"] for stage in found.values())}
    return {"ceilings": limits, **found}


def scaling() -> dict[str, Any]:
    """Times of TriplaneRender alone over R and N, milliseconds; all other sizes are those of `base`."""
    from tests.support.kernels.on_gpu import SceneRenderer
    from tests.support.kernels.scenes import BASE, random_scene

    found = {}
    for size, samples in ((64, 48), (128, 24), (128, 48), (128, 96), (192, 48), (256, 48), (256, 96)):
        sizes = dataclasses.replace(BASE, render_size=size, samples=samples)
        ready = SceneRenderer(sizes, random_scene(sizes, 0))
        outputs = ready.outputs()
        took = times_of([lambda r=ready, o=outputs: r.start(*o)], 20)  # type: ignore[misc]
        # Of launches in a row, and of single ones.
        found[f"R {size}, N {samples}"] = {"median": took["median"], "p99": took["single_p99"]}
    return found


def scaled_base(size: int, samples: int) -> ModelConfig:
    """`base` with R = size and N = samples; images, SECCs and planes scale with R."""
    base = PRESETS["base"]
    factor = size / base.render_size
    return dataclasses.replace(
        base,
        render_size=size,
        samples_per_ray=samples,
        secc_size=2 * size,
        image_size=int(base.image_size * factor),
        plane_sizes=tuple(int(side * factor) for side in base.plane_sizes),
    )


def frame_scaling(size: int, samples: int, folder: Path, count: int) -> dict[str, float]:
    """Frame times of our backend for `scaled_base`, untrained, milliseconds; and GPU memory, bytes."""
    case = make_case(f"base-{size}-{samples}", random_model(scaled_base(size, samples), 0), folder)
    before = free_memory()
    backend = OnnxRuntimeCudaBackend(case.bundle, StageTimes())
    try:
        backend.encode_source(*[t.cpu().numpy() for t in case.source])
        poses = [(secc.cpu().numpy(), camera.cpu().numpy()) for secc, camera in case.poses]
        took = measured_stages(backend, lambda i: backend.render_secc(*poses[i % POSES]), count)
        return took["frame"] | {"memory": float(before - int(torch.cuda.mem_get_info()[0]))}
    finally:
        backend.close()


def batch(case: Case, sizes: tuple[int, ...], count: int) -> dict[str, Any]:
    """Times of one frame of each of B sources, on the host, milliseconds; and GPU memory, bytes. sizes: values of B."""
    before, found = free_memory(), {}
    poses = [(secc.cpu().numpy(), camera.cpu().numpy()) for secc, camera in case.poses]
    picture, camera, canonical = (t.cpu().numpy() for t in case.source)
    backends: list[OnnxRuntimeCudaBackend] = []
    try:
        for size in sizes:
            while len(backends) < size:
                backends.append(OnnxRuntimeCudaBackend(case.bundle, StageTimes()))
                other = np.roll(picture, 16 * len(backends), axis=-1)
                backends[-1].encode_source(other, camera, canonical)
            took = []
            for index in range(count + WARM_UP):
                started = time.perf_counter()
                for backend in backends:
                    backend.render_secc(*poses[index % POSES])
                took.append(time.perf_counter() - started)
            memory = before - int(torch.cuda.mem_get_info()[0])
            found[str(size)] = summary(took[WARM_UP:]) | {"memory": float(memory)}
    finally:
        for backend in backends:
            backend.close()
    return found


def ways(case: Case, count: int) -> dict[str, Any]:
    """Results of frame_ways.py, as JSON values."""
    script = Path(__file__).with_name("frame_ways.py")
    command = [sys.executable, str(script), "--bundle", str(case.bundle.folder), "--out", str(out)]
    subprocess.run([*command, "--count", str(count)], timeout=400, check=True)
    return dict(json.loads((out / f"ways-{case.bundle.preset}.json").read_text()))


def gpu_tests() -> dict[str, Any]:
    """Exit status and last line of the CUDA backend's tests."""
    tests = ["tests/runtime/backends/test_backends.py", "tests/runtime/backends/test_onnxruntime_cuda.py"]
    tests.append("tests/runtime/kernels/test_device_gpu.py")
    command = [sys.executable, "-m", "pytest", *tests, "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    log = out / "gpu_tests.log"
    with log.open("w") as stream:
        status = subprocess.run(command, stdout=stream, stderr=stream, timeout=420, check=False).returncode
    text = log.read_text()
    print(text[-3000:])
    return {"status": status, "end": text.strip().splitlines()[-1:]}


def part(group: str, name: str, work: Callable[[], Any]) -> None:
    """Run one part, put its result, or its error, into the report and save the report."""
    started = time.perf_counter()
    try:
        if started > last_start:
            raise TimeoutError("not begun, --minutes are over")
        result = work()
    except Exception as error:
        result = {"failed": f"{type(error).__name__}: {error}"[:1500]}
        traceback.print_exc()
    report.setdefault(group, {})[name] = result
    print(f"-- {group}, {name}: {time.perf_counter() - started:.1f} s {json.dumps(result)[:400]}", flush=True)
    (out / "frame.json").write_text(json.dumps(report, indent=1))
    (out / "frame.md").write_text(tables(report))


def run_preset(preset: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Run the parts of one preset. arguments: the options of `main`. folder: of bundles."""
    steps, count = arguments.steps, arguments.count
    case = make_case(preset, preset_model(preset), folder)
    if "ways" in steps:
        part("ways", preset, lambda: ways(case, count))
    if {"ours", "onnxruntime", "eager", "compile"} & set(steps):
        render_expected(case)
    if "ours" in steps:
        part(preset, "floors", lambda: floors(case, report["ceilings"]["measured"]))
        for nhwc, label in (("0", "NCHW"), ("1", "NHWC")):
            part(preset, f"ours, {label}", lambda n=nhwc: ours(case, n, count))  # type: ignore[misc]
    modes: list[str | None] = [None] if "eager" in steps else []
    modes += arguments.compile_modes if "compile" in steps else []
    for mode in modes:
        for hoisted in (True, False):
            for fp16 in (True, False) if mode is None else (True,):
                label = f"PyTorch {mode or 'eager'}, {'FP16' if fp16 else 'FP32'}, {'' if hoisted else 'un'}hoisted"
                part(preset, label, lambda p=fp16, u=hoisted, m=mode: pytorch(case, p, u, m, count))  # type: ignore[misc]
    if "onnxruntime" in steps:
        for nhwc, graph in (("1", "1"), ("0", "1"), ("1", "0")):
            options = {"prefer_nhwc": nhwc, "enable_cuda_graph": graph}
            label = f"ONNX Runtime CUDA, {'NHWC' if nhwc == '1' else 'NCHW'}{', CUDA graph' if graph == '1' else ''}"
            part(preset, label, lambda o=options: plain_onnxruntime(case, o, count))  # type: ignore[misc]
    if "endurance" in steps:
        part(preset, "endurance", lambda: endurance(case, arguments.endurance))
    if "batch" in steps and preset == "base":
        part("scaling", "batch", lambda: batch(case, (1, 2, 4), count))


def main() -> None:
    """Run all chosen steps and print the tables."""
    global out, last_start
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, help="folder of exported bundles")
    parser.add_argument("--presets", nargs="+", choices=("base", "demo"), default=["base", "demo"])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--compile-modes", nargs="+", default=["reduce-overhead", "max-autotune"])
    parser.add_argument("--count", type=int, default=300, help="timed frames of each contender")
    parser.add_argument("--endurance", type=int, default=10_000, help="frames of the endurance run")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no part is begun")
    arguments = parser.parse_args()
    out, last_start = arguments.out, started + 60 * arguments.minutes
    out.mkdir(parents=True, exist_ok=True)
    folder = arguments.bundles or Path(tempfile.mkdtemp())
    torch.backends.cudnn.benchmark = True
    packages = ("torch", "onnxruntime-gpu", "cuda-core", "nvidia-cuda-nvrtc", "nvidia-cudnn-cu13")
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    report["environment"] = {"gpu": torch.cuda.get_device_name()} | {p: installed.get(p, "absent") for p in packages}
    print(report["environment"])
    if "tests" in arguments.steps:
        part("tests", "gpu", gpu_tests)
    if "ours" in arguments.steps:
        part("ceilings", "measured", ceilings)
    if set(arguments.steps) - {"tests", "scaling", "frames"}:
        for preset in arguments.presets:
            run_preset(preset, arguments, folder)
    if "scaling" in arguments.steps:
        part("scaling", "TriplaneRender", scaling)
    if "frames" in arguments.steps:
        for r, n in ((64, 48), (128, 24), (128, 48), (128, 96), (256, 48)):
            part("frames", f"R {r}, N {n}", lambda r=r, n=n: frame_scaling(r, n, folder, arguments.count))  # type: ignore[misc]
    print(tables(report))


if __name__ == "__main__":
    main()
