"""The TensorRT backend alone. host_tensorrt.py emulates TensorRT; that its frames are right there says nothing of it.

Tests named `…installed…` use the real tensorrt_rtx as far as it goes without a GPU: its interface, and its refusals.
"""

import ctypes
import hashlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.backends import open as backend_choice
from hidenerf.runtime.backends import tensorrt as tensorrt_backend
from hidenerf.runtime.backends.gpu import GpuBackend
from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import load_face_model
from hidenerf.runtime.files import read_verified
from hidenerf.runtime.kernels import sm
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.secc import secc
from hidenerf.runtime.tensorrt import api
from hidenerf.runtime.tensorrt.engine_set import find_engines
from hidenerf.runtime.tensorrt.library import Library, load_library
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.host_gpu import HostDevice
from tests.support.host_tensorrt import (
    ACTIVATION_UNIT,
    SM,
    VERSIONS,
    GraphStrategy,
    Log,
    host_array,
    sidecar_of,
    use_host_tensorrt,
    write_emulated_set,
    write_sidecar,
)
from tests.support.log_lines import log_lines
from tests.support.model_inputs import motion, source

BACKENDS = ("tensorrt", "tensorrt-rtx")
RTX_CACHE = b"emulated kernels"


@pytest.fixture
def bundle(bundle_fp16: Path, tmp_path: Path) -> Bundle:
    """With engines for the emulation."""
    shutil.copytree(bundle_fp16, tmp_path / "bundle")
    opened = open_bundle(tmp_path / "bundle")
    for backend in BACKENDS:
        write_emulated_set(opened, backend)
    return opened


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, tmp_path: Path) -> Log:
    return use_host_tensorrt(monkeypatch, emulated_kernels, tmp_path / "cache")


def engines_of(bundle: Bundle, backend: str = "tensorrt") -> Path:
    return next((bundle.folder / "engines").glob(f"{backend}-[0-9]*"))


def refusal(bundle: Bundle, backend: str = "tensorrt") -> str:
    with pytest.raises(HideNerfError) as caught:
        open_backend(backend, bundle, StageTimes())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_engines_run_in_order_and_share_their_memory(bundle: Bundle, log: Log, backend: str) -> None:
    opened = open_backend(backend, bundle, StageTimes())
    log.executed.clear()
    opened.encode_source(*source(bundle))
    opened.render_secc(*motion(bundle))
    opened.render_secc(*motion(bundle, seed=1))
    opened.close()
    assert log.executed == ["source_encoder", "led", "renderer_refiner", "led", "renderer_refiner"]
    assert len(log.contexts) == 3
    memory = {context.memory for context in log.contexts}
    assert len(memory) == 1
    assert memory.pop()[1] == 3 * ACTIVATION_UNIT


def test_what_passes_between_engines_has_one_address(bundle: Bundle, log: Log) -> None:
    open_backend("tensorrt", bundle, StageTimes()).close()
    encoder, led, renderer = (context.addresses for context in log.contexts)
    assert led["deformation"] == renderer["deformation"]
    assert led["camera"] == renderer["camera"]
    assert led["led_canonical"] == encoder["led_canonical"]
    assert renderer["planes_0"] == encoder["planes_0"]
    assert renderer["gamma_0"] == encoder["gamma_0"]
    everything = encoder | led | renderer
    assert len(set(everything.values())) == len(everything)


@pytest.mark.usefixtures("log")
def test_the_secc_is_drawn_where_the_engine_reads_it(bundle: Bundle) -> None:
    face_model = load_face_model(bundle.face_model_path)
    expression = np.random.default_rng(0).uniform(0, 0.6, len(face_model.expression_names)).astype(np.float32)
    vertices = face_model.mean + (expression @ face_model.flat_expression_basis).reshape(-1, 3)
    expected = secc(vertices, face_model, bundle.secc_size)[None]
    _, camera = motion(bundle)
    backend = open_backend("tensorrt", bundle, StageTimes())
    assert isinstance(backend, GpuBackend)
    backend.encode_source(*source(bundle))
    backend.set_face(face_model, face_model.mean_with_teeth)
    _, found = backend.render(expression, camera)
    drawn = host_array(backend._addresses["secc_driving"], expected.shape, expected.dtype).copy()
    _, from_cpu = backend.render_secc(expected, camera)
    _, from_another = backend.render_secc(*motion(bundle))
    backend.close()
    assert np.mean(np.abs(drawn - expected) > 0.02) < 0.01
    assert np.abs(found - from_cpu).max() < 0.1 * np.abs(found - from_another).max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_a_frame_is_not_captured_that_is_said_and_frames_are_the_same(
    bundle: Bundle, log: Log, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    class Failing(HostDevice):
        def capture(self, work: Any) -> Any:  # noqa: ARG002
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;\nnot for users")

    frames = []
    for device in (HostDevice, Failing):
        monkeypatch.setattr(tensorrt_backend, "Device", device)
        log.contexts.clear()
        with log_lines() as lines:
            opened = open_backend(backend, bundle, StageTimes())
        opened.encode_source(*source(bundle))
        frames.append(opened.render_secc(*motion(bundle))[0])
        opened.close()
    assert np.array_equal(*frames)
    own = ", its parts are" if backend == "tensorrt-rtx" else ""
    assert lines == [f"A frame is not one CUDA graph here{own}: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED."]
    if backend == "tensorrt-rtx":
        strategies = [context.config.cuda_graph_strategy for context in log.contexts if context.config is not None]
        assert strategies == [GraphStrategy.DISABLED] * 3 + [GraphStrategy.WHOLE_GRAPH_CAPTURE] * 2


def test_what_tensorrt_rtx_compiled_is_kept(bundle: Bundle, log: Log, tmp_path: Path) -> None:
    """A cache for all engines of a set: empty at first, then filled from the file, and written whole."""
    open_backend("tensorrt-rtx", bundle, StageTimes()).close()
    caches = [context.config.cache for context in log.contexts if context.config is not None]
    assert len(caches) == 3
    assert len({id(cache) for cache in caches}) == 1
    assert caches[0] is not None
    assert caches[0].taken == b""
    (path,) = (tmp_path / "cache").iterdir()
    assert read_verified(path) == RTX_CACHE
    open_backend("tensorrt-rtx", bundle, StageTimes()).close()
    assert log.contexts[-1].config is not None
    assert log.contexts[-1].config.cache is not None
    assert log.contexts[-1].config.cache.taken == RTX_CACHE


@pytest.mark.parametrize(
    "damage",
    [b"", b"short", RTX_CACHE + bytes(32), b"other" + hashlib.sha256(b"other").digest()],
    ids=["empty", "short", "another hash", "refused"],
)
def test_a_damaged_cache_is_compiled_anew(bundle: Bundle, log: Log, tmp_path: Path, damage: bytes) -> None:
    open_backend("tensorrt-rtx", bundle, StageTimes()).close()
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage)
    open_backend("tensorrt-rtx", bundle, StageTimes()).close()
    assert log.contexts[-1].config is not None
    assert log.contexts[-1].config.cache is not None
    assert log.contexts[-1].config.cache.taken == b""
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("log")
def test_a_cache_that_cannot_be_written_is_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(blocked))
    with log_lines() as lines:
        open_backend("tensorrt-rtx", bundle, StageTimes()).close()
    (line,) = lines
    assert f"cannot be kept: they compile at every start ({blocked}: " in line
    assert line.endswith("name another folder in HIDENERF_KERNEL_CACHE.")


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("context", "The engine source_encoder fails on the GPU (no memory); run with another --backend."),
        ("led", "The engine led fails on the GPU (an illegal address); run with another --backend."),
    ],
)
def test_what_fails_on_opening_is_said_and_nothing_stays_open(
    bundle: Bundle, log: Log, monkeypatch: pytest.MonkeyPatch, failing: str, said: str
) -> None:
    devices: list[HostDevice] = []

    class Recorded(HostDevice):
        def __init__(self) -> None:
            super().__init__()
            devices.append(self)

    monkeypatch.setattr(tensorrt_backend, "Device", Recorded)
    log.failing.add(failing)
    assert refusal(bundle) == said
    assert [device.closed for device in devices] == [True]


def test_an_engine_that_fails_later_is_named(bundle: Bundle, log: Log) -> None:
    opened = open_backend("tensorrt", bundle, StageTimes())
    log.failing.add("source_encoder")
    with pytest.raises(HideNerfError, match=r"The engine source_encoder fails on the GPU \(an illegal address\)"):
        opened.encode_source(*source(bundle))
    with pytest.raises(HideNerfError, match="No source"):
        opened.render_secc(*motion(bundle))
    opened.close()


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plan_that_the_library_refuses_is_named(bundle: Bundle, backend: str) -> None:
    folder = engines_of(bundle, backend)
    (folder / "led.plan").write_bytes(b"not a plan")
    write_sidecar(folder, "led", sidecar_of(folder, "led"))
    sentence = refusal(bundle, backend)
    assert re.match(rf"{folder}/led\.plan: TensorRT(-RTX)? [\d.]+ does not load it \(not a plan\); ", sentence)
    assert f"build it again with: hidenerf-export {bundle.folder} --backend {backend}" in sentence


@pytest.mark.usefixtures("log")
def test_a_plan_with_other_tensors_than_its_sidecar_is_named(bundle: Bundle) -> None:
    folder = engines_of(bundle)
    sidecar = sidecar_of(folder, "led")
    for tensor in sidecar["inputs"]:
        if tensor["name"] == "camera":
            tensor["shape"] = [1, 16]
    write_sidecar(folder, "led", sidecar)
    assert "led.plan: its tensors camera are not those of its sidecar; build it again" in refusal(bundle)


@pytest.mark.usefixtures("log")
def test_engines_for_another_version_and_gpu_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_backend, "gpu_sm", lambda: 120)
    assert "are for SM 86, not for this GPU's SM 120; build them with: hidenerf-export" in refusal(bundle)
    folder = engines_of(bundle)
    folder.rename(folder.with_name("tensorrt-10.3.0-sm120"))
    assert "engines are for version 10.3.0, not for 10.12.0.36" in refusal(bundle)
    shutil.rmtree(bundle.folder / "engines")
    assert "it has no engines for TensorRT; build them with" in refusal(bundle)


def test_code_of_engines_is_loaded_where_the_sidecar_says_so_alone(bundle: Bundle, log: Log) -> None:
    open_backend("tensorrt", bundle, StageTimes()).close()
    assert log.host_code == [False] * 3
    for build in ({"plugin": {"sha256": "0" * 64}}, {"version_compatible": True}):
        write_emulated_set(bundle, "tensorrt", build)
        log.host_code.clear()
        open_backend("tensorrt", bundle, StageTimes()).close()
        assert log.host_code == [True] * 3
    assert log.plugins == []


def test_a_plugin_beside_the_plan_is_loaded_from_there(bundle: Bundle, log: Log) -> None:
    build = {"plugin": {"sha256": hashlib.sha256(b"library").hexdigest()}}
    folder = write_emulated_set(bundle, "tensorrt", build, {"plugin_file": "libhidenerf_plugin.so"})
    assert "libhidenerf_plugin.so: this plugin, which source_encoder.plan needs, is missing" in refusal(bundle)
    (folder / "libhidenerf_plugin.so").write_bytes(b"another library")
    assert "is missing or was changed; build them with: hidenerf-export" in refusal(bundle)
    (folder / "libhidenerf_plugin.so").write_bytes(b"library")
    open_backend("tensorrt", bundle, StageTimes()).close()
    assert log.plugins == ["libhidenerf_plugin.so"] * 3
    assert log.host_code == [False] * 3
    log.failing.add("plugin")
    assert "TensorRT 10.12.0.36 does not load this plugin (no creators)" in refusal(bundle)


def test_the_lean_runtime_takes_version_compatible_plans_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, tmp_path: Path
) -> None:
    use_host_tensorrt(monkeypatch, emulated_kernels, tmp_path / "cache", module="tensorrt_lean")
    assert "tensorrt_lean loads only version-compatible plans" in refusal(bundle)
    write_emulated_set(bundle, "tensorrt", {"version_compatible": True})
    open_backend("tensorrt", bundle, StageTimes()).close()


def test_tensorrt_8_6_computes_the_same_frames(
    bundle_fp16: Path, monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, tmp_path: Path
) -> None:
    frames = []
    for version in ("10.12.0.36", "8.6.0"):
        monkeypatch.setitem(VERSIONS, "tensorrt", version)
        bundle = open_bundle(Path(shutil.copytree(bundle_fp16, tmp_path / version)))
        write_emulated_set(bundle, "tensorrt")
        use_host_tensorrt(monkeypatch, emulated_kernels, tmp_path / "cache")
        opened = open_backend("tensorrt", bundle, StageTimes())
        opened.encode_source(*source(bundle))
        frames.append([array.tobytes() for array in opened.render_secc(*motion(bundle))])
        opened.close()
    assert frames[0] == frames[1]


def test_an_engine_of_another_generation_than_its_folder_says_is_refused(bundle: Bundle) -> None:
    folder = engines_of(bundle)
    write_sidecar(folder, "led", sidecar_of(folder, "led") | {"generation": "8.6"})
    with pytest.raises(HideNerfError, match=r"led\.plan: built by TensorRT's generation 8\.6, and this is 10; build"):
        find_engines(bundle, "tensorrt", VERSIONS["tensorrt"], SM)


@pytest.mark.usefixtures("log")
def test_auto_takes_tensorrt_and_says_nothing(bundle: Bundle) -> None:
    with log_lines() as lines:
        backend = open_backend("auto", bundle, StageTimes())
    backend.close()
    assert (backend.name, lines) == ("tensorrt", [])


@pytest.mark.usefixtures("log")
def test_auto_says_in_a_line_why_it_passes_over_each(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_backend, "gpu_sm", lambda: 75)
    monkeypatch.setattr(sm, "cuda_core", no_gpu)
    monkeypatch.setattr(backend_choice, "has_nvidia_gpu", lambda: True)
    with log_lines() as lines:
        backend = open_backend("auto", bundle, StageTimes())
    backend.close()
    assert backend.name == "onnxruntime-cpu"
    (line,) = lines
    taken, *passed_over = line.split(". Not on ")
    assert taken == "Running on the CPU"
    assert [reason.split(":")[0] for reason in passed_over] == ["TensorRT", "TensorRT-RTX", "CUDA"]
    assert "TensorRT 10.12.0.36 are for SM 86, not for this GPU's SM 75" in passed_over[0]
    assert "--backend tensorrt-rtx --sm 75" in passed_over[1]
    assert "\n" not in line


def test_auto_asks_no_library_where_the_bundle_has_no_engines(
    bundle_fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_backend, "load_library", lambda _: pytest.fail("asked"))
    monkeypatch.setattr(sm, "cuda_core", no_gpu)
    with log_lines() as lines:
        open_backend("auto", open_bundle(bundle_fp16), StageTimes()).close()
    assert len(lines) == 1


def no_gpu() -> Any:
    raise HideNerfError("No NVIDIA GPU is usable in this test.")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_library_is_said_with_the_pip_command(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    for name in ("tensorrt", "tensorrt_lean", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HideNerfError) as caught:
        load_library(backend)
    package = backend.replace("-", "_")
    install = f"install it with: pip install 'hidenerf[{backend}]'"
    assert str(caught.value) == f"--backend {backend} needs the Python package {package}; {install}"


def fake_module(name: str, version: str) -> Any:
    """As far as it is looked at when it is loaded."""
    severity = type("Severity", (), {"ERROR": 1, "INTERNAL_ERROR": 0})
    logger = type("ILogger", (), {"Severity": severity})
    return type(name, (), {"__name__": name, "__version__": version, "ILogger": logger})


def test_the_lean_runtime_serves_where_tensorrt_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", fake_module("tensorrt_lean", "11.1.0.106"))
    library = load_library("tensorrt")
    assert library.is_lean
    assert library.title == "TensorRT 11.1.0.106"
    library.logger.log(1, "first")
    library.logger.log(2, "a warning")
    assert library.logger.errors == ["first"]


def test_missing_cuda_packages_are_said_with_this_backends_pip_command(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("tensorrt", "10.12.0"))
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    monkeypatch.setitem(sys.modules, "cuda.core.experimental", None)
    with pytest.raises(HideNerfError) as caught:
        open_backend("tensorrt", bundle, StageTimes())
    assert str(caught.value).startswith("--backend tensorrt needs cuda-core and NVRTC (")
    assert str(caught.value).endswith("pip install 'hidenerf[tensorrt]'")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_ends_with_one_sentence(bundle: Bundle, tmp_path: Path, backend: str) -> None:
    """Here for want of the library or of a driver."""
    if runnable():
        pytest.skip("a GPU is here")
    arguments = ["--bundle", str(bundle.folder), "--backend", backend, "-o", str(tmp_path / "out.png")]
    result = subprocess.run(
        [sys.executable, "-m", "hidenerf.commands.run", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "out.png").exists()


def runnable() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.fixture
def installed() -> Library:
    try:
        return load_library("tensorrt-rtx")
    except HideNerfError as error:
        pytest.skip(f"{error}")


PROTOCOLS = {
    "Context": "IExecutionContext",
    "RuntimeCache": "IRuntimeCache",
    "RuntimeConfig": "IRuntimeConfig",
    "CudaEngine": "ICudaEngine",
    "PluginRegistry": "IPluginRegistry",
    "Runtime": "Runtime",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocols_are_the_installed_module_s(installed: Library, protocol: str) -> None:
    """Every method is there and takes as many arguments, every attribute is there."""
    described = getattr(api, protocol)
    real = getattr(installed.trt, PROTOCOLS[protocol])
    for attribute in inspect.get_annotations(described):
        assert isinstance(inspect.getattr_static(real, attribute), property)
    methods = {name: m for name, m in vars(described).items() if inspect.isfunction(m) and not name.startswith("_")}
    assert methods
    for name, method in methods.items():
        signatures = re.findall(rf"(?:^|\. ){name}\(self: [\w.]+(.*)\) ->", getattr(real, name).__doc__, re.MULTILINE)
        expected = len(inspect.signature(method).parameters) - 1
        assert expected in [len(re.findall(r", (\w+): ", signature)) for signature in signatures]


def test_the_installed_module_has_what_else_is_used(installed: Library) -> None:
    trt = installed.trt
    assert trt.ExecutionContextAllocationStrategy.USER_MANAGED
    assert {"DISABLED", "WHOLE_GRAPH_CAPTURE"} <= trt.CudaGraphStrategy.__members__.keys()
    assert [np.dtype(trt.nptype(kind)) for kind in (trt.float32, trt.float16, trt.uint8)] == [
        np.dtype(kind) for kind in (np.float32, np.float16, np.uint8)
    ]
    installed.logger.errors.clear()
    runtime = trt.Runtime(installed.logger)
    runtime.engine_host_code_allowed = True
    assert runtime.engine_host_code_allowed
    assert runtime.get_plugin_registry().load_library("/nowhere.so") is None
    assert "cannot open shared object file" in installed.reason()


def test_a_plan_that_the_installed_library_refuses_is_named(
    bundle: Bundle, installed: Library, monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, tmp_path: Path
) -> None:
    """The plan is a real one where it can be built here, then the reason is the missing driver."""
    use_host_tensorrt(monkeypatch, emulated_kernels, tmp_path / "cache")
    monkeypatch.setattr(tensorrt_backend, "load_library", lambda _: installed)
    folder = engines_of(bundle, "tensorrt-rtx")
    if folder.name != f"tensorrt-rtx-{installed.version}-sm86":
        pytest.skip(f"TensorRT-RTX {installed.version} is another than the test's")
    sentence = refusal(bundle, "tensorrt-rtx")
    assert sentence.startswith(f"{folder}/source_encoder.plan: TensorRT-RTX {installed.version} does not load it (")
    (folder / "source_encoder.plan").write_bytes(tiny_plan(installed))
    write_sidecar(folder, "source_encoder", sidecar_of(folder, "source_encoder"))
    if not runnable():
        assert "(CUDA driver version is insufficient" in refusal(bundle, "tensorrt-rtx")


def tiny_plan(library: Library) -> bytes:
    trt = library.trt
    builder = trt.Builder(library.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    sine = network.add_unary(network.add_input("x", trt.float32, (1, 4)), trt.UnaryOperation.SIN)
    network.mark_output(sine.get_output(0))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    return bytes(builder.build_serialized_network(network, config))


def test_sidecars_of_the_emulation_are_sidecars(bundle: Bundle) -> None:
    folder = engines_of(bundle)
    assert json.loads(read_sidecar(folder, "led").to_json()) == sidecar_of(folder, "led")
