"""An emulation of TensorRT, not a verification of it: the part of its interface that the backend uses, on the host.

A plan is an ONNX graph that ONNX Runtime executes on the CPU, from and to the addresses its context was given. What is
tested with it is the backend's own doing: which tensor is where, in which order engines run, what they share, what is
said where a call fails. What TensorRT does is left to a GPU that has it.
"""

import ctypes
import hashlib
import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hidenerf.runtime.backends import gpu
from hidenerf.runtime.backends import tensorrt as tensorrt_backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.tensorrt.api import Runtime
from hidenerf.runtime.tensorrt.engine_set import set_folder
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.sidecar import SCHEMA, SCHEMA_VERSION
from tests.support.host_gpu import EmulatedSeccDrawer, HostDevice

VERSIONS = {"tensorrt": "10.12.0.36", "tensorrt-rtx": "1.7.1.116"}
SM = 86
# Of activation memory: another size for each engine.
ACTIVATION_UNIT = 1024


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class GraphStrategy(Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class EmulatedCache:
    """Takes and gives blobs that begin with "emulated "."""

    def __init__(self) -> None:
        self.taken = b""
        self.compiled = b"emulated kernels"

    def deserialize(self, blob: bytes) -> bool:
        if blob.startswith(b"emulated "):
            self.taken = blob
        return bool(self.taken)

    def serialize(self) -> bytes:
        return self.compiled


class EmulatedConfig:
    def __init__(self) -> None:
        self.cuda_graph_strategy = GraphStrategy.DISABLED
        self.allocation = Strategy.STATIC
        self.cache: EmulatedCache | None = None

    def create_runtime_cache(self) -> EmulatedCache:
        return EmulatedCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self.cache = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.allocation = strategy


class EmulatedContext:
    def __init__(self, engine: "EmulatedEngine", config: EmulatedConfig | None) -> None:
        self.engine, self.config = engine, config
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)
        engine.log.contexts.append(self)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.memory = memory, size

    def give(self, size: int, memory: int) -> None:
        """Working memory as TensorRT 8.6 takes it, without its size."""
        self.memory = memory, size

    def execute_async_v3(self, stream_handle: int) -> bool:
        log, session = self.engine.log, self.engine.session
        assert stream_handle == HostDevice.stream
        assert self.addresses.keys() == self.engine.tensors.keys()
        if self.engine.name in log.failing:
            log.errors.append("IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal address)")
            return False
        log.executed.append(self.engine.name)
        # Another engine finds nothing of use here.
        host_array(self.memory[0], (self.memory[1],), np.dtype(np.uint8))[:] = len(log.executed) % 256
        tensors = {name: host_array(self.addresses[name], *spec) for name, spec in self.engine.tensors.items()}
        outputs = [output.name for output in session.get_outputs()]
        results = session.run(outputs, {node.name: tensors[node.name] for node in session.get_inputs()})
        for name, result in zip(outputs, results, strict=True):
            tensors[name][...] = result
        return True


class EmulatedEngine:
    def __init__(self, plan: bytes, log: "Log") -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.log = log
        # Not in the manifest's order.
        nodes = [*reversed(self.session.get_outputs()), *reversed(self.session.get_inputs())]
        self.tensors = {node.name: (tuple(node.shape), onnx_dtype(node.type)) for node in nodes}
        produced = {"planes_0": "source_encoder", "deformation": "led", "frame": "renderer_refiner"}
        outputs = {node.name for node in self.session.get_outputs()}
        self.name = next(name for tensor, name in produced.items() if tensor in outputs)
        self.num_io_tensors = len(self.tensors)
        self.device_memory_size_v2 = ACTIVATION_UNIT * (1 + list(produced.values()).index(self.name))

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> np.dtype[Any]:
        return self.tensors[name][1]

    def create_runtime_config(self) -> EmulatedConfig:
        return EmulatedConfig()

    def create_execution_context(self, strategy: Any, /) -> EmulatedContext | None:
        config = strategy if isinstance(strategy, EmulatedConfig) else None
        assert (config.allocation if config is not None else strategy) is Strategy.USER_MANAGED
        if "context" in self.log.failing:
            self.log.errors.append("ICudaEngine::createExecutionContext: Error Code 2: OutOfMemory (no memory)")
            return None
        return EmulatedContext(self, config)


class EmulatedContext86:
    """As TensorRT 8.6 spells it: working memory is an address to be set."""

    def __init__(self, context: EmulatedContext) -> None:
        self._context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "device_memory":
            self._context.give(self._context.engine.device_memory_size_v2, value)
        super().__setattr__(name, value)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        return self._context.set_tensor_address(name, memory)

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self._context.execute_async_v3(stream_handle)


class EmulatedEngine86:
    """As TensorRT 8.6 spells it: no strategy of allocation, and another name for the size of the working memory."""

    def __init__(self, engine: EmulatedEngine) -> None:
        self._engine = engine
        self.num_io_tensors = engine.num_io_tensors
        self.device_memory_size = engine.device_memory_size_v2
        self.get_tensor_name = engine.get_tensor_name
        self.get_tensor_shape = engine.get_tensor_shape
        self.get_tensor_dtype = engine.get_tensor_dtype

    def create_execution_context_without_device_memory(self) -> EmulatedContext86 | None:
        context = self._engine.create_execution_context(Strategy.USER_MANAGED)
        return None if context is None else EmulatedContext86(context)


class EmulatedRuntime:
    def __init__(self, log: "Log") -> None:
        self.engine_host_code_allowed = False
        self.log = log
        self.plugins: set[str] = set()

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        self.log.host_code.append(self.engine_host_code_allowed)
        try:
            engine = EmulatedEngine(serialized_engine, self.log)
            return EmulatedEngine86(engine) if self.log.spells_8_6 else engine
        except Exception:
            self.log.errors.append("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (not a plan)")
            return None

    def get_plugin_registry(self) -> "EmulatedRuntime":
        return self

    def load_library(self, plugin_path: str) -> object:
        if "plugin" in self.log.failing:
            self.log.errors.append("IPluginRegistry::loadLibrary: Error Code 6: API Usage Error (no creators)")
            return None
        if plugin_path in self.plugins:
            self.log.errors.append("IPluginRegistry::loadLibrary: Error Code 4: API Usage Error (exists already)")
            return None
        self.plugins.add(plugin_path)
        self.log.plugins.append(Path(plugin_path).name)
        return object()


class Log:
    """What was asked of the emulation, its logger's `errors`, and which of its calls shall fail."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.executed: list[str] = []
        self.contexts: list[EmulatedContext] = []
        self.host_code: list[bool] = []
        self.plugins: list[str] = []
        self.failing: set[str] = set()
        self.spells_8_6 = VERSIONS["tensorrt"].startswith("8.6")


def use_host_tensorrt(monkeypatch: pytest.MonkeyPatch, kernels: Path, cache: Path, module: str = "tensorrt") -> Log:
    """From here on `TensorRtBackend` runs on the emulation.

    kernels: the fixture `emulated_kernels`. cache: the folder that stands for the user's cache of compiled kernels.
    """
    log = Log()
    emulated = SimpleNamespace(
        __name__=module,
        Runtime=lambda logger: EmulatedRuntime(logger),
        ExecutionContextAllocationStrategy=Strategy,
        CudaGraphStrategy=GraphStrategy,
        nptype=lambda dtype: dtype,
    )

    def load_library(backend: str) -> Library:
        return Library(backend, VERSIONS[backend], emulated, log)

    monkeypatch.setattr(EmulatedSeccDrawer, "folder", kernels, raising=False)
    monkeypatch.setattr(gpu, "SeccDrawer", EmulatedSeccDrawer)
    monkeypatch.setattr(tensorrt_backend, "Device", HostDevice)
    monkeypatch.setattr(tensorrt_backend, "gpu_sm", lambda: SM)
    monkeypatch.setattr(tensorrt_backend, "load_library", load_library)
    monkeypatch.setattr(tensorrt_backend, "_require_kernel_packages", lambda _: None)
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(cache))
    return log


def write_emulated_set(
    bundle: Bundle, backend: str, build: dict[str, Any] | None = None, plan: dict[str, Any] | None = None
) -> Path:
    """The engines of a bundle for the emulation: each graph's ONNX file as its plan. plan: more of that key."""
    folder = set_folder(bundle.folder, backend, VERSIONS[backend], SM)
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in bundle.graphs.items():
        (folder / f"{name}.plan").write_bytes(graph.path.read_bytes())
        described = bundle.manifest.graphs[name].to_json()
        sidecar = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "graph": name,
            "source": {"file": graph.path.name, "sha256": bundle.manifest.files[graph.path.name]},
            "backend": backend,
            "sm": SM,
            "versions": {backend: VERSIONS[backend]},
            "build": build or {},
            "inputs": described["inputs"],
            "outputs": described["outputs"],
            "precision": {"layers": {}, "convolutions": {}, "stray": []},
            "plan": plan or {},
            "layers": [],
        }
        write_sidecar(folder, name, sidecar)
    return folder


def write_sidecar(folder: Path, graph: str, sidecar: dict[str, Any]) -> None:
    """With the size and hash of the plan as it lies there."""
    plan = (folder / f"{graph}.plan").read_bytes()
    described = {"file": f"{graph}.plan", "bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}
    (folder / f"{graph}.json").write_text(json.dumps(sidecar | {"plan": sidecar["plan"] | described}))


def sidecar_of(folder: Path, graph: str) -> dict[str, Any]:
    """What `write_sidecar` wrote."""
    content: dict[str, Any] = json.loads((folder / f"{graph}.json").read_text())
    return content


def host_array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address)).view(dtype).reshape(shape)


def onnx_dtype(kind: str) -> np.dtype[Any]:
    names = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    return np.dtype(names[kind])


def satisfies(runtime: EmulatedRuntime) -> Runtime:
    """For the type checker: the emulation is spelt as the protocols are."""
    return runtime
