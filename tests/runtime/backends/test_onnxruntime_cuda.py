"""The CUDA backend alone: why it is not used, what it says, its own SECC, and on a GPU where its nodes are."""

import ctypes
import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.model.deformation import ray_samples
from hidenerf.runtime.backends import onnxruntime_cuda
from hidenerf.runtime.backends import open as backend_choice
from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.backends.gpu import SOURCE_INPUTS
from hidenerf.runtime.backends.onnxruntime_cuda import (
    PROVIDER,
    OnnxRuntimeCudaBackend,
    import_onnxruntime,
    load_libraries,
    provider_options,
)
from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import load_face_model
from hidenerf.runtime.face_sight import sight_colours
from hidenerf.runtime.kernels import sm
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.ray_sampler import RaySampler
from hidenerf.runtime.manifest import Weights
from hidenerf.runtime.profiling import StageTimes
from tests.support.host_gpu import EmulatedTriplaneRenderer, HostDevice, open_cpu_session, use_host_gpu
from tests.support.log_lines import log_lines
from tests.support.model_inputs import motion, source
from tests.support.tiny import TINY, TINY_ALIGNED, TINY_ENLARGED

CUDA = "onnxruntime-cuda"
PLANS = ("refiner_plan", "led_plan")
LED_SESSIONS = ["led_encoder", "led_decoder"]


@pytest.fixture
def host_gpu(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    use_host_gpu(monkeypatch, emulated_kernels)


@pytest.fixture(scope="module")
def bundle(bundle_fp16: Path) -> Bundle:
    return open_bundle(bundle_fp16)


def refusal(bundle: Bundle) -> str:
    """The sentence of `onnxruntime-cuda`; `auto` says the same in a line and runs on the CPU."""
    with pytest.raises(HideNerfError) as caught:
        open_backend(CUDA, bundle, StageTimes())
    sentence = str(caught.value)
    with pytest.MonkeyPatch.context() as patch, log_lines() as lines:
        patch.setattr(backend_choice, "has_nvidia_gpu", lambda: True)
        backend = open_backend("auto", bundle, StageTimes())
    assert backend.name == "onnxruntime-cpu"
    backend.close()
    (line,) = lines
    build = f"hidenerf-export {bundle.folder} --backend tensorrt (or tensorrt-rtx)"
    assert line == (
        f"Running on the CPU. Not on TensorRT: the bundle has no engines; build them with: {build}. "
        f"Not on CUDA: {sentence.removesuffix('.')}."
    )
    assert "\n" not in line
    return sentence


@pytest.mark.skipif(PROVIDER in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_an_onnxruntime_for_the_cpu_alone_is_the_reason(bundle: Bundle) -> None:
    assert "made for the CPU alone" in refusal(bundle)
    assert "pip install 'hidenerf[cuda]'" in refusal(bundle)


@pytest.mark.usefixtures("host_gpu")
def test_a_bundle_without_kernel_parts_is_the_reason(bundle: Bundle) -> None:
    sentence = refusal(dataclasses.replace(bundle, kernel_parts=None))
    assert str(bundle.folder) in sentence
    assert "export it again with hidenerf-export" in sentence


@pytest.mark.usefixtures("host_gpu")
def test_a_missing_cuda_core_is_the_reason(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.core", "cuda.core.experimental"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(onnxruntime_cuda, "cuda_core", sm.cuda_core)
    assert "needs cuda-core" in refusal(bundle)


class FakeCore:
    """`cuda.core` as far as it tells which GPU there is."""

    Program = object

    def __init__(self, capability: tuple[int, int] | None) -> None:
        self.capability = capability

    def Device(self) -> Any:  # noqa: N802
        if self.capability is None:
            raise RuntimeError("CUDA driver is not installed")
        return type("Device", (), {"compute_capability": self.capability, "set_current": lambda _: None})()


@pytest.mark.parametrize(("capability", "reason"), [(None, "driver is not installed"), ((7, 0), "7.0, below 7.5")])
@pytest.mark.usefixtures("host_gpu")
def test_no_driver_and_an_old_gpu_are_reasons(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, reason: str
) -> None:
    monkeypatch.setattr(sm, "cuda_core", lambda: FakeCore(capability))
    monkeypatch.setattr(onnxruntime_cuda, "Device", Device)
    assert reason in refusal(bundle)


@pytest.mark.usefixtures("host_gpu")
def test_weights_that_are_not_there_are_the_reason(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.kernel_parts is not None
    path = tmp_path / "kernel_weights.npz"
    np.savez(path, weight_1=np.zeros((1, 1), np.float32))
    parts = dataclasses.replace(bundle.kernel_parts, weights_path=path)
    assert f"{path}: not the kernels' weights" in refusal(dataclasses.replace(bundle, kernel_parts=parts))


@pytest.mark.usefixtures("host_gpu")
def test_a_graph_that_does_not_load_is_named_and_nothing_stays_open(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[HostDevice] = []

    class Recorded(HostDevice):
        def __init__(self) -> None:
            super().__init__()
            devices.append(self)

    def fail(_: Any, graph: GraphSpec, *__: Any) -> None:
        raise HideNerfError(f"{graph.path}: ONNX Runtime does not load it")

    monkeypatch.setattr(onnxruntime_cuda, "Device", Recorded)
    monkeypatch.setattr(onnxruntime_cuda, "open_gpu_session", fail)
    assert "source_encoder.onnx" in refusal(bundle)
    assert [device.closed for device in devices] == [True, True]


@pytest.mark.usefixtures("host_gpu")
def test_an_error_of_the_drivers_own_is_the_reason(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA_ERROR_INVALID_PTX")

    monkeypatch.setattr(onnxruntime_cuda, "TriplaneRenderer", fail)
    assert "does not start (RuntimeError: CUDA_ERROR_INVALID_PTX)" in refusal(bundle)


def test_the_command_ends_with_one_sentence(bundle_fp16: Path, tmp_path: Path) -> None:
    if PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    arguments = ["--bundle", str(bundle_fp16), "--backend", CUDA, "-o", str(tmp_path / "out.png")]
    result = subprocess.run(
        [sys.executable, "-m", "hidenerf.commands.run", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert [line for line in result.stderr.splitlines() if line.startswith("Error: ")] == result.stderr.splitlines()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("host_gpu")
def test_auto_takes_the_gpu_and_says_why_without_tensorrt(bundle: Bundle) -> None:
    with log_lines() as lines:
        backend = open_backend("auto", bundle, StageTimes())
    assert backend.name == CUDA
    (line,) = lines
    assert line.startswith("Running on CUDA. Not on TensorRT: the bundle has no engines; build them with: ")
    backend.close()


@pytest.mark.skipif(backend_choice.has_nvidia_gpu(), reason="there is an NVIDIA GPU here")
def test_auto_names_the_cpu_and_alarms_nobody_without_a_gpu(bundle: Bundle) -> None:
    with log_lines() as lines:
        open_backend("auto", bundle, StageTimes()).close()
    assert lines == ["Running on the CPU: no NVIDIA GPU is usable here."]


@pytest.mark.usefixtures("host_gpu")
def test_a_frame_is_launched_as_it_was_captured(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"captures": 0, "launches": 0}

    class Counted(HostDevice):
        def capture(self, work: Callable[[], None]) -> Callable[[], None]:
            counts["captures"] += 1
            return super().capture(work)

        def launch(self, captured: Callable[[], None]) -> None:
            counts["launches"] += 1
            super().launch(captured)

    monkeypatch.setattr(onnxruntime_cuda, "Device", Counted)
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    opened = counts["launches"]
    backend.render_secc(*motion(bundle))
    backend.render_secc(*motion(bundle, seed=1))
    backend.close()
    assert counts == {"captures": 1, "launches": opened + 2}


@pytest.mark.parametrize(("failing", "planned"), [("capture", False), ("launch", False), ("launch", True)])
@pytest.mark.usefixtures("host_gpu")
def test_where_a_frame_is_not_captured_that_is_said_and_frames_are_the_same(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, failing: str, planned: bool
) -> None:
    """It cannot be captured, or what is launched gives other pictures; then ONNX Runtime captures its own parts."""
    bundle = bundle if planned else planless(bundle, "led_plan")
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    expected = backend.render_secc(*motion(bundle))
    backend.close()

    class Failing(HostDevice):
        def capture(self, work: Callable[[], None]) -> Callable[[], None]:
            work()
            if failing == "capture":
                raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;\nnot for users")
            return lambda: None

    own_graphs: list[str] = []

    def open_session(package: Any, graph: GraphSpec, options: dict[str, str]) -> Any:
        if options.get("enable_cuda_graph") == "1":
            own_graphs.append(graph.name)
        return open_cpu_session(package, graph, {})

    monkeypatch.setattr(onnxruntime_cuda, "Device", Failing)
    monkeypatch.setattr(onnxruntime_cuda, "open_gpu_session", open_session)
    with log_lines() as lines:
        backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    found = backend.render_secc(*motion(bundle))
    backend.close()
    assert own_graphs == ([] if planned else LED_SESSIONS)
    assert found[0].tobytes() == expected[0].tobytes()
    assert found[1].tobytes() == expected[1].tobytes()
    reason = {"capture": "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "launch": "a launch of the graph gives another frame"}
    parts = "" if planned else ", its parts are"
    assert lines == [f"A frame is not one CUDA graph here{parts}: {reason[failing]}."]


@pytest.fixture(scope="module")
def aligned_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(TINY_ALIGNED, tmp_path_factory)


@pytest.fixture(scope="module")
def enlarged_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(TINY_ENLARGED, tmp_path_factory)


def written(config: ModelConfig, folders: pytest.TempPathFactory) -> Path:
    from hidenerf.export.precision import FloatPrecision
    from tests.support.bundles import write_untrained

    return write_untrained(config, folders.mktemp("aligned") / "bundle", precision=FloatPrecision.FP16)


def frame_of(backend: Backend, bundle: Bundle) -> np.ndarray:
    """One frame of the backend, which is closed then."""
    backend.encode_source(*source(bundle))
    frame, _ = backend.render_secc(*motion(bundle))
    backend.close()
    return frame.astype(float)


@pytest.mark.parametrize("fixture", ["bundle_aligned", "aligned_fp16", "enlarged_fp16"])
@pytest.mark.usefixtures("host_gpu")
def test_an_aligned_model_s_refiner_reads_what_the_kernels_write(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    bundle = open_bundle(request.getfixturevalue(fixture))
    expected = frame_of(open_backend("onnxruntime-cpu", bundle, StageTimes()), bundle)
    found = frame_of(OnnxRuntimeCudaBackend(bundle, StageTimes()), bundle)
    assert expected.std() > 1
    assert 10 * np.log10(255**2 / max(np.square(found - expected).mean(), 1e-9)) >= 45

    class Displaced(EmulatedTriplaneRenderer):
        def render(self, *arguments: Any, **others: Any) -> None:
            super().render(*arguments, **others)
            place = arguments[9]
            size = self.sizes.render_size
            values = np.ctypeslib.as_array((ctypes.c_float * (3 * size * size)).from_address(place))
            assert np.isfinite(values).all()
            values[: size * size] += 0.5

    monkeypatch.setattr(onnxruntime_cuda, "TriplaneRenderer", Displaced)
    assert np.abs(frame_of(OnnxRuntimeCudaBackend(bundle, StageTimes()), bundle) - found).max() > 1


def planless(bundle: Bundle, *plans: str) -> Bundle:
    """The bundle without these of `PLANS`, as one of an older export."""
    assert bundle.kernel_parts is not None
    parts = dataclasses.replace(bundle.kernel_parts, **dict.fromkeys(plans))
    return dataclasses.replace(bundle, kernel_parts=parts)


@pytest.mark.parametrize("fixture", ["bundle_fp16", "aligned_fp16", "enlarged_fp16"])
@pytest.mark.usefixtures("host_gpu")
def test_a_planned_refiner_s_frame_is_that_of_onnx_runtime(request: pytest.FixtureRequest, fixture: str) -> None:
    """Both with LED's sessions, as in bundles of the exports between."""
    bundle = open_bundle(request.getfixturevalue(fixture))
    planned = OnnxRuntimeCudaBackend(planless(bundle, "led_plan"), StageTimes())
    assert list(planned._sessions) == ["source_encoder", *LED_SESSIONS]
    former = OnnxRuntimeCudaBackend(planless(bundle, *PLANS), StageTimes())
    assert list(former._sessions) == ["source_encoder", *LED_SESSIONS, "refiner"]
    for seed in range(2):
        frames = []
        for backend in (planned, former):
            backend.encode_source(*source(bundle, seed))
            frames.append(backend.render_secc(*motion(bundle, seed)))
        (found, found_alpha), (expected, expected_alpha) = frames
        assert expected.std() > 1
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert np.abs(found_alpha - expected_alpha).max() < 4e-3
    planned.close()
    former.close()


@pytest.mark.parametrize("fixture", ["bundle_fp16", "aligned_fp16", "enlarged_fp16"])
@pytest.mark.usefixtures("host_gpu")
def test_a_planned_led_s_frame_is_that_of_onnx_runtime(request: pytest.FixtureRequest, fixture: str) -> None:
    """With the refiner's plan and with its session. One source is as good as another after the first."""
    bundle = open_bundle(request.getfixturevalue(fixture))
    planned = OnnxRuntimeCudaBackend(bundle, StageTimes())
    assert list(planned._sessions) == ["source_encoder"]
    led_alone = OnnxRuntimeCudaBackend(planless(bundle, "refiner_plan"), StageTimes())
    assert list(led_alone._sessions) == ["source_encoder", "refiner"]
    former = OnnxRuntimeCudaBackend(planless(bundle, "led_plan"), StageTimes())
    backends = planned, led_alone, former
    for seed in range(2):
        frames, deformations = [], []
        for backend in backends:
            backend.encode_source(*source(bundle, seed))
            frames.append(backend.render_secc(*motion(bundle, seed))[0].astype(int))
            deformations.append(tensor_of(backend, "deformation"))
        assert frames[-1].std() > 1
        largest = np.abs(deformations[-1]).max()
        assert largest > 1e-3
        for frame, deformation in zip(frames[:-1], deformations[:-1], strict=True):
            assert np.abs(deformation - deformations[-1]).max() < 1e-2 * largest
            # The sessions round every layer to FP16, and a tiny model's edges are steep.
            assert np.abs(frame - frames[-1]).max() <= 2
    for backend in backends:
        backend.close()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [("path", b"{}", "not a launch plan"), ("weights_path", b"PK", "not a launch plan's weights")],
)
@pytest.mark.usefixtures("host_gpu")
def test_a_launch_plan_that_cannot_be_read_is_the_reason(
    bundle: Bundle, tmp_path: Path, plan: str, file: str, content: bytes, reason: str
) -> None:
    assert bundle.kernel_parts is not None
    (tmp_path / "changed").write_bytes(content)
    changed = dataclasses.replace(getattr(bundle.kernel_parts, plan), **{file: tmp_path / "changed"})
    parts = dataclasses.replace(bundle.kernel_parts, **{plan: changed})
    assert reason in refusal(dataclasses.replace(bundle, kernel_parts=parts))


@pytest.mark.usefixtures("host_gpu")
def test_a_bundle_that_samples_the_source_in_another_way_is_to_be_exported_again(bundle_aligned: Path) -> None:
    bundle = open_bundle(bundle_aligned)
    parts = bundle.kernel_parts
    assert parts is not None
    guides = dataclasses.replace(parts.refiner.inputs["stem_input"], name="guides")
    others = {name: spec for name, spec in parts.refiner.inputs.items() if name != "stem_input"}
    refiner = dataclasses.replace(parts.refiner, inputs=others | {"guides": guides})
    encoder = bundle.graphs["source_encoder"]
    surface = encoder.outputs["source_surface"]
    without_drift = dataclasses.replace(surface, shape=(1, 2, *surface.shape[2:]))
    without = dataclasses.replace(encoder, outputs={**encoder.outputs, "source_surface": without_drift})
    whole = bundle.graphs["renderer_refiner"]
    blind = dataclasses.replace(whole, inputs={n: spec for n, spec in whole.inputs.items() if n != "face_sight"})
    for old in (
        dataclasses.replace(bundle, kernel_parts=dataclasses.replace(parts, refiner=refiner)),
        dataclasses.replace(bundle, graphs={**bundle.graphs, "source_encoder": without}),
        dataclasses.replace(bundle, graphs={**bundle.graphs, "renderer_refiner": blind}),
    ):
        with pytest.raises(HideNerfError, match="older than the way the CUDA backend samples the source; export"):
            OnnxRuntimeCudaBackend(old, StageTimes())


@pytest.mark.parametrize("missing", ["led_encoder", "led_decoder"])
@pytest.mark.usefixtures("host_gpu")
def test_a_bundle_without_the_parts_of_led_is_to_be_exported_again_and_runs_on_the_cpu(
    bundle: Bundle, missing: str
) -> None:
    assert bundle.kernel_parts is not None
    older = dataclasses.replace(bundle, kernel_parts=dataclasses.replace(bundle.kernel_parts, **{missing: None}))
    assert refusal(older) == (
        f"{bundle.folder}: this bundle is older than the CUDA backend's kernel between the parts of LED; "
        "export it again with hidenerf-export."
    )
    assert frame_of(open_backend("onnxruntime-cpu", older, StageTimes()), bundle).std() > 1


@pytest.mark.parametrize("fixture", ["bundle_fp32", "bundle_fp16"])
@pytest.mark.usefixtures("host_gpu")
def test_led_s_decoder_reads_what_the_kernel_writes(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    """Straight into its session's tensors: after a frame they hold the camera's points, and Δ follows from them."""
    bundle = planless(open_bundle(request.getfixturevalue(fixture)), *PLANS)
    secc, camera = motion(bundle, yaw=12.0)
    tensors = dict(zip(SOURCE_INPUTS, source(bundle), strict=True)) | {"secc_driving": secc, "camera": camera}
    for name in ("source_encoder", "led"):
        graph = bundle.graphs[name]
        given = {name: tensors[name] for name in graph.inputs}
        made = open_cpu_session(None, graph, {}).run(list(graph.outputs), given)
        tensors |= dict(zip(graph.outputs, made, strict=True))
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    backend.render_secc(secc, camera)
    found = {name: tensor_of(backend, name) for name in ("points", "deformation")}
    none = torch.zeros(1, 1, TINY.render_size, TINY.render_size).double()
    points, _ = ray_samples(torch.from_numpy(camera).double(), none, TINY.samples_per_ray, TINY.lookup_stride)
    single = fixture == "bundle_fp32"
    np.testing.assert_allclose(found["points"], points, atol=1e-5 if single else 1e-3)
    # Untrained, Δ is small: a point elsewhere changes it by 6e-4.
    np.testing.assert_allclose(found["deformation"], tensors["deformation"], atol=1e-6 if single else 5e-5)

    class Displaced(RaySampler):
        def sample(self, *arguments: Any) -> None:
            super().sample(*arguments)
            size, half = 3 * self.sizes.samples * self.sizes.render_size**2, arguments[4]
            number = ctypes.c_uint16 if half else ctypes.c_float
            np.ctypeslib.as_array((number * size).from_address(arguments[2]))[:] = 0

    monkeypatch.setattr(onnxruntime_cuda, "RaySampler", Displaced)
    backend.close()
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    backend.render_secc(secc, camera)
    assert np.abs(tensor_of(backend, "deformation") - found["deformation"]).max() > 3e-4
    backend.close()


def tensor_of(backend: OnnxRuntimeCudaBackend, name: str) -> np.ndarray:
    """A tensor of a backend as its last frame left it."""
    spec = backend._specs[name]
    array = np.empty(spec.shape, spec.dtype)
    backend._device.download(array, backend._addresses[name])
    return array.astype(np.float64)


@pytest.mark.usefixtures("host_gpu")
def test_a_model_without_alignment_has_no_place(bundle: Bundle) -> None:
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    assert "place" not in backend._addresses
    assert backend._renderer.sizes.place == 0
    backend.close()


@pytest.mark.usefixtures("host_gpu")
def test_a_deformation_that_is_not_finite_is_said_once_a_source(bundle: Bundle) -> None:
    backend = open_backend(CUDA, bundle, StageTimes())
    secc, camera = motion(bundle)
    secc[0, 0, 30:34, 30:34] = np.nan
    with log_lines() as lines:
        for _ in range(2):
            backend.encode_source(*source(bundle))
            for _ in range(2):
                backend.render_secc(secc, camera)
        assert ["not finite" in line for line in lines] == [True, True]
        backend.render_secc(*motion(bundle))
    assert len(lines) == 2
    backend.close()


@pytest.mark.usefixtures("host_gpu")
def test_features_beyond_fp16_are_refused_and_the_next_source_is_right(bundle_fp32: Path) -> None:
    bundle = open_bundle(bundle_fp32)
    backend = open_backend(CUDA, bundle, StageTimes())
    picture, camera, secc = source(bundle)
    with pytest.raises(HideNerfError, match="exceed FP16"):
        backend.encode_source(picture * 1e9, camera, secc)
    with pytest.raises(HideNerfError, match="No source"):
        backend.render_secc(*motion(bundle))
    backend.encode_source(picture, camera, secc)
    assert backend.render_secc(*motion(bundle))[0].std() > 1
    backend.close()


@pytest.mark.usefixtures("host_gpu")
def test_the_animator_lets_the_backend_draw_the_secc(bundle_fp16: Path) -> None:
    """The same picture as with the SECC that the CPU draws, also where another face was captured before."""
    from hidenerf.runtime.animator import Animator

    face_model = load_face_model(open_bundle(bundle_fp16).face_model_path)
    rng = np.random.default_rng(0)
    expression = rng.uniform(0, 0.6, len(face_model.expression_names)).astype(np.float32)
    camera = canonical_camera(10.0, 4.0, 0.0)
    other_face = dataclasses.replace(face_model, mean=0.5 * face_model.mean)
    with log_lines() as lines, Animator(bundle_fp16, CUDA) as animator:
        backend = animator.backend
        with pytest.raises(HideNerfError, match="No source"):
            backend.render(expression, camera[None])
        with pytest.raises(HideNerfError, match="No source has been set"):
            animator.render(expression, camera)
        size = animator.bundle.image_size
        backend.set_face(other_face, np.zeros_like(face_model.mean_with_teeth))
        animator.set_source(small_source(size, face_model.name, rng))
        found, _ = animator.render(expression, camera)
        expected, _ = backend.render_secc(animator.draw_secc(expression)[None], camera[None])
        with pytest.raises(HideNerfError, match="has shape"):
            animator.render(expression[1:], camera)
    assert lines == []
    mean_square = np.square(found.astype(float) - expected).mean()
    assert expected.std() > 1
    assert 10 * np.log10(255**2 / max(mean_square, 1e-9)) >= 45


@pytest.mark.usefixtures("host_gpu")
def test_the_face_sight_is_drawn_on_the_gpu(bundle_aligned: Path) -> None:
    """The same picture as with the sight that the CPU draws, and each source's own."""
    bundle = open_bundle(bundle_aligned)
    face_model = load_face_model(bundle.face_model_path)
    rng = np.random.default_rng(0)
    expression = rng.uniform(0, 0.6, len(face_model.expression_names)).astype(np.float32)
    camera = canonical_camera(10.0, 4.0, 0.0)
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    with pytest.raises(HideNerfError, match="takes the face sight"):
        backend.set_face(face_model, face_model.mean_with_teeth)
    frames = []
    for yaw in (0.0, 20.0):
        colours = sight_colours(face_model, face_model.mean_with_teeth, canonical_camera(yaw))
        backend.set_face(face_model, face_model.mean_with_teeth, colours)
        frames.append(backend.render(expression, camera[None])[0].astype(float))
    secc, sight = backend.draw_secc(expression)[None], backend.draw_face_sight(expression, camera)[None]
    expected = backend.render_secc(secc, camera[None], sight)[0]
    none = backend.render_secc(secc, camera[None], np.zeros_like(sight))[0]
    with pytest.raises(HideNerfError, match="takes secc_driving, camera, face_sight"):
        backend.render_secc(secc, camera[None])
    backend.close()
    assert 10 * np.log10(255**2 / max(np.square(frames[1] - expected).mean(), 1e-9)) >= 45
    assert np.abs(frames[0] - expected).max() > 3
    assert np.abs(none - expected.astype(float)).max() > 3


@pytest.mark.parametrize("fixture", ["bundle_aligned", "bundle_fp32"])
@pytest.mark.usefixtures("host_gpu")
def test_the_face_sight_is_drawn_beside_led(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    """Also where it comes from the host. A model that reads none has nothing beside LED."""
    steps: list[str] = []

    class Recorded(HostDevice):
        def fork(self) -> None:
            steps.append("fork")
            super().fork()

        def join(self) -> None:
            steps.append("join")
            super().join()

        def upload(self, address: int, array: np.ndarray, stream: int | None = None) -> None:
            if stream is not None:
                steps.append("upload beside")
            super().upload(address, array, stream)

    enqueue = OnnxRuntimeCudaBackend._enqueue

    def recorded(backend: OnnxRuntimeCudaBackend, stage: str) -> None:
        steps.append(stage)
        enqueue(backend, stage)

    monkeypatch.setattr(onnxruntime_cuda, "Device", Recorded)
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "_enqueue", recorded)
    bundle = open_bundle(request.getfixturevalue(fixture))
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    aligned = bundle.takes_face_sight
    rest = ["triplane_render", "align", "refiner"]
    steps.clear()
    backend.render_secc(*motion(bundle))
    assert steps == (["fork", "upload beside", "led", "join", *rest] if aligned else ["led", *rest])
    face_model = load_face_model(bundle.face_model_path)
    neutral = face_model.mean_with_teeth
    backend.set_face(face_model, neutral, sight_colours(face_model, neutral, canonical_camera()) if aligned else None)
    steps.clear()
    backend.render(np.zeros(len(face_model.expression_names), np.float32), canonical_camera()[None])
    assert steps == (["fork", "led", "join", *rest] if aligned else ["led", *rest])
    backend.close()


def small_source(size: int, face_model: str, rng: np.random.Generator) -> Any:
    from hidenerf.runtime.sources.source import Source

    loaded = load_face_model_sizes()
    picture = rng.integers(0, 255, (size, size, 3), np.uint8)
    mask = np.full((size, size), 255, np.uint8)
    identity, expression = (np.zeros(count, np.float32) for count in loaded)
    return Source(picture, mask, picture, canonical_camera(), identity, expression, face_model)


def load_face_model_sizes() -> tuple[int, int]:
    from hidenerf.runtime.face_model import default_face_model_path

    model = load_face_model(default_face_model_path())
    return len(model.identity_basis), len(model.expression_names)


@pytest.fixture
def gpu_onnxruntime() -> Any:
    try:
        package = import_onnxruntime()
        load_libraries(package)
        Device().close()
    except HideNerfError as error:
        pytest.skip(f"{error}")
    return package


def frame_graphs(bundle: Bundle) -> list[GraphSpec]:
    """What the backend has sessions of in a frame."""
    parts = bundle.kernel_parts
    assert parts is not None
    assert parts.led_encoder is not None
    assert parts.led_decoder is not None
    return [parts.led_encoder, parts.led_decoder, parts.refiner]


def test_fp16_may_use_tensor_cores_and_fp32_no_tf32(request: pytest.FixtureRequest) -> None:
    for precision, expected in (("bundle_fp32", "0"), ("bundle_fp16", "1")):
        bundle = open_bundle(request.getfixturevalue(precision))
        for graph in (*bundle.graphs.values(), *frame_graphs(bundle)):
            assert provider_options(graph)["use_tf32"] == expected


@pytest.mark.gpu
@pytest.mark.parametrize("prefer_nhwc", ["0", "1"])
@pytest.mark.parametrize("precision", ["bundle_fp32", "bundle_fp16", "bundle_aligned", "aligned_fp16"])
def test_no_node_of_a_frame_is_on_the_cpu(
    request: pytest.FixtureRequest, gpu_onnxruntime: Any, tmp_path: Path, precision: str, prefer_nhwc: str
) -> None:
    bundle = open_bundle(request.getfixturevalue(precision))
    for graph in frame_graphs(bundle):
        options = gpu_onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / graph.name)
        provider = (PROVIDER, provider_options(graph) | {"prefer_nhwc": prefer_nhwc})
        session = gpu_onnxruntime.InferenceSession(str(graph.path), options, providers=[provider])
        session.run(None, {name: np.zeros(spec.shape, spec.dtype) for name, spec in graph.inputs.items()})
        events = json.loads(Path(session.end_profiling()).read_text())
        placed = {e["name"]: e["args"]["provider"] for e in events if "provider" in e.get("args", {})}
        assert placed
        # Copies of the inputs from the host, and of the outputs to it, are the test's own.
        elsewhere = {name: where for name, where in placed.items() if where != PROVIDER}
        assert elsewhere == {}


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_onnxruntime")
def test_ten_thousand_frames_have_the_same_bytes_and_need_no_more_memory(bundle: Bundle) -> None:
    """HIDENERF_ENDURANCE_FRAMES: another number of frames."""
    frames = int(os.environ.get("HIDENERF_ENDURANCE_FRAMES", "10000"))
    driver = importlib.import_module("cuda.bindings.driver")
    backend = OnnxRuntimeCudaBackend(bundle, StageTimes())
    backend.encode_source(*source(bundle))
    poses = [motion(bundle, seed, yaw) for seed, yaw in ((0, 10.0), (1, -20.0), (2, 0.0))]
    expected = [[a.tobytes() for a in backend.render_secc(*pose)] for pose in poses]
    _, before, _ = driver.cuMemGetInfo()
    for index in range(frames):
        assert [a.tobytes() for a in backend.render_secc(*poses[index % 3])] == expected[index % 3]
    _, after, _ = driver.cuMemGetInfo()
    assert after == before
    backend.close()


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_onnxruntime")
@pytest.mark.parametrize("precision", ["bundle_fp16", "bundle_aligned", "aligned_fp16"])
def test_the_frame_is_one_cuda_graph(request: pytest.FixtureRequest, precision: str) -> None:
    """Not so on every GPU machine, but what we measure on must."""
    bundle = open_bundle(request.getfixturevalue(precision))
    with log_lines() as lines:
        OnnxRuntimeCudaBackend(bundle, StageTimes()).close()
    assert lines == []


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_onnxruntime")
@pytest.mark.parametrize("precision", ["bundle_aligned", "aligned_fp16"])
def test_an_aligned_model_s_frames_are_the_cpu_s(request: pytest.FixtureRequest, precision: str) -> None:
    bundle = open_bundle(request.getfixturevalue(precision))
    expected = frame_of(open_backend("onnxruntime-cpu", bundle, StageTimes()), bundle)
    found = frame_of(OnnxRuntimeCudaBackend(bundle, StageTimes()), bundle)
    assert 10 * np.log10(255**2 / max(np.square(found - expected).mean(), 1e-9)) >= 45


def shipped(folder: Path) -> tuple[Bundle, Any]:
    """The shipped checkpoint as an FP16 bundle, and the model itself."""
    from hidenerf.export.bundle_writer import write_bundle
    from hidenerf.export.precision import FloatPrecision
    from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
    from hidenerf.runtime.face_model import default_face_model_path

    model = load_checkpoint(default_checkpoint_path()).eval()
    face_model = load_face_model(default_face_model_path())
    write_bundle(
        model,
        folder,
        checkpoint=Weights(seed=0),
        face_model=face_model,
        precision=FloatPrecision.FP16,
        parity_waived=True,
    )
    return open_bundle(folder), model


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_onnxruntime")
def test_the_shipped_model_s_frames_are_pytorch_s_in_fp32(tmp_path: Path) -> None:
    assert least_psnr_to_pytorch(*shipped(tmp_path / "bundle")) >= 45


def least_psnr_to_pytorch(bundle: Bundle, model: Any) -> float:
    """Of the shipped portrait and motion, every fortieth frame, nothing hoisted, on the CPU."""

    from hidenerf.model.hidenerf import frame_to_uint8
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.motion import load_motion
    from hidenerf.runtime.sources.source import load_source

    motion_, source_ = load_motion(demo_motion_path()), load_source(demo_source_path())
    worst = np.inf
    with Animator(bundle, CUDA) as animator, torch.no_grad():
        animator.set_source(source_)
        picture = torch.from_numpy(source_.picture / np.float32(255)).permute(2, 0, 1)[None]
        still = [torch.from_numpy(a[None]) for a in (source_.camera, animator.draw_secc(source_.expression))]
        for expression, camera in zip(motion_.expression[::40], motion_.camera[::40], strict=True):
            found, _ = animator.render(expression, camera)
            drawn = animator.frame_inputs(expression, camera)
            result = model(picture, *still, *(torch.from_numpy(array.copy()) for array in drawn.values()))
            error = np.square(found.astype(float) - frame_to_uint8(result.frame).numpy()).mean()
            worst = min(worst, 10 * np.log10(255**2 / max(error, 1e-9)))
    return float(worst)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_onnxruntime")
def test_a_graph_that_onnx_runtime_does_not_load_on_the_gpu_is_named(bundle_fp16: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_fp16, folder)
    broken = open_bundle(folder)
    # LED and refiner of this bundle are launch plans.
    (folder / "source_encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(HideNerfError, match=r"source_encoder\.onnx"):
        open_backend(CUDA, broken, StageTimes())
