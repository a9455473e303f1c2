"""TensorRT and TensorRT-RTX: the bundle's engines one after the other on one stream, a frame as one CUDA graph.

Engines are deserialised once, and their tensors are bound by name to addresses that stay. One engine runs at a time, so
all engines share one block of activation memory.

No call of the library's engines and contexts in this module has been run yet: this project's machines have no GPU that
TensorRT runs on. In tests, tests/support/host_tensorrt.py emulates TensorRT.
"""

from typing import Any

import numpy as np

from hidenerf.runtime.backends.gpu import SOURCE_INPUTS, GpuBackend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import cuda_core, nvrtc_version
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.sm import gpu_sm
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.api import Context, CudaEngine, Runtime, RuntimeCache, RuntimeConfig
from hidenerf.runtime.tensorrt.compiled_cache import CompiledCache
from hidenerf.runtime.tensorrt.engine_set import Engine, find_engines
from hidenerf.runtime.tensorrt.library import LEAN, Library, load_library, pip_command

STAGES = ("upload", "led", "renderer_refiner", "download")
FRAME_ENGINES = ("led", "renderer_refiner")


class TensorRtBackend(GpuBackend):
    """TensorRT; see `Backend`.

    Errors on opening: the library, cuda-core or NVRTC is missing, no usable GPU, no engines in the bundle for this
    version and SM, engines that the library does not load.
    """

    name = "tensorrt"
    stages = STAGES

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        self._library = load_library(self.name)
        _require_kernel_packages(self.name)
        super().__init__(bundle, times, Device())
        self._engines: dict[str, CudaEngine] = {}
        self._contexts: dict[str, Context] = {}
        with self._closing_on_error():
            self._open(find_engines(bundle, self.name, self._library.version, gpu_sm()))

    @classmethod
    def load_graphs(cls, bundle: Bundle) -> dict[str, CudaEngine]:
        """See `Backend.load_graphs`."""
        library = load_library(cls.name)
        found = find_engines(bundle, cls.name, library.version, gpu_sm())
        return {name: load_engine(library, engine) for name, engine in found.items()}

    def _open(self, found: dict[str, Engine]) -> None:
        for name, engine in found.items():
            self._engines[name] = load_engine(self._library, engine)
        self._allocate(t for engine in found.values() for t in (*engine.inputs.values(), *engine.outputs.values()))
        self._activation_bytes = max(map(self._library.generation.working_memory, self._engines.values()))
        self._activations = self._device.allocate(self._activation_bytes)
        self._open_contexts(found)
        self._warm_up()

    def _open_contexts(self, found: dict[str, Engine]) -> None:
        for name in found:
            self._open_context(name)

    def _open_context(self, name: str, config: RuntimeConfig | None = None) -> None:
        """Open an engine's context in place of the current one. config: of TensorRT-RTX."""
        self._contexts.pop(name, None)
        self._library.logger.errors.clear()
        engine = self._engines[name]
        generation = self._library.generation
        if config is None:
            context = generation.create_context(self._library.trt, engine)
        else:
            context = engine.create_execution_context(config)
        if context is None:
            raise self._failure(name)
        generation.give_memory(context, self._activations, self._activation_bytes)
        for index in range(engine.num_io_tensors):
            tensor = engine.get_tensor_name(index)
            if not context.set_tensor_address(tensor, self._addresses[tensor]):
                raise self._failure(name)
        self._contexts[name] = context

    def _encode(self) -> None:
        self._upload(SOURCE_INPUTS)
        self._enqueue("source_encoder")
        self._device.synchronize()

    def _enqueue(self, stage: str) -> None:
        self._library.logger.errors.clear()
        if not self._contexts[stage].execute_async_v3(self._device.stream):
            raise self._failure(stage)

    def _prepare_uncaptured(self) -> bool:
        return False

    def _failure(self, engine: str) -> HideNerfError:
        return HideNerfError(
            f"The engine {engine} fails on the GPU ({self._library.reason()}); run with another --backend."
        )

    def close(self) -> None:
        """See `Backend.close`."""
        self._contexts.clear()
        self._engines.clear()
        super().close()


class TensorRtRtxBackend(TensorRtBackend):
    """TensorRT-RTX; see `TensorRtBackend`.

    TensorRT-RTX compiles engines for the GPU when they first run; what it compiles is kept on disk. Its own CUDA graphs
    are off while we capture the frame, and on where capturing fails.
    """

    name = "tensorrt-rtx"

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        # Contexts refer to these objects: each engine's configuration, and the cache that all of them share.
        self._configs: dict[str, RuntimeConfig] = {}
        self._cache: RuntimeCache | None = None
        super().__init__(bundle, times)

    def _open(self, found: dict[str, Engine]) -> None:
        plans = (engine.sha256 for engine in found.values())
        self._compiled = CompiledCache([self._library.version, str(gpu_sm()), *plans])
        super()._open(found)
        if self._cache is not None:
            self._compiled.save(self._cache)

    def _open_contexts(self, found: dict[str, Engine]) -> None:
        for name in found:
            self._open_context(name, self._configure(name, self._library.trt.CudaGraphStrategy.DISABLED))

    def _configure(self, name: str, cuda_graphs: Any) -> RuntimeConfig:
        """Configure an engine's next context. cuda_graphs: the `CudaGraphStrategy`."""
        self._library.logger.errors.clear()
        config = self._configs[name] = self._engines[name].create_runtime_config()
        strategy = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        config.set_execution_context_allocation_strategy(strategy)
        config.cuda_graph_strategy = cuda_graphs
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._compiled.load_into(self._cache)
        if not config.set_runtime_cache(self._cache):
            raise self._failure(name)
        return config

    def _prepare_uncaptured(self) -> bool:
        for name in FRAME_ENGINES:
            # The context refers to its configuration, which `_configure` replaces.
            self._contexts.pop(name, None)
            self._open_context(name, self._configure(name, self._library.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE))
        return True

    def close(self) -> None:
        """See `Backend.close`."""
        self._contexts.clear()
        self._configs.clear()
        self._cache = None
        super().close()


def load_engine(library: Library, engine: Engine) -> CudaEngine:
    """Deserialise a verified plan.

    Each engine gets a runtime of its own, because a runtime's registry takes a plugin once and refuses it afterwards.

    library: what built the engine.
    engine: the engine as `find_engines` gives it.
    Errors: the plan needs code that this library does not load, the library refuses it, or its tensors are not those of
    its sidecar.
    """
    again = f"build it again with: {engine.build_command}"
    runtime: Runtime = library.trt.Runtime(library.logger)
    _admit_code(library, runtime, engine, again)
    library.logger.errors.clear()
    loaded = runtime.deserialize_cuda_engine(engine.path.read_bytes())
    if loaded is None:
        raise HideNerfError(f"{engine.path}: {library.title} does not load it ({library.reason()}); {again}")
    expected = {spec.name: (spec.shape, spec.dtype) for spec in (*engine.inputs.values(), *engine.outputs.values())}
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    actual = {
        name: (tuple(loaded.get_tensor_shape(name)), np.dtype(library.trt.nptype(loaded.get_tensor_dtype(name))))
        for name in names
    }
    if actual != expected:
        wrong = sorted(name for name in {*actual, *expected} if actual.get(name) != expected.get(name))
        raise HideNerfError(f"{engine.path}: its tensors {', '.join(wrong)} are not those of its sidecar; {again}")
    return loaded


def _admit_code(library: Library, runtime: Runtime, engine: Engine, again: str) -> None:
    """Let the runtime load the code that the plan needs, and no other."""
    if library.is_lean and not engine.version_compatible:
        raise HideNerfError(
            f"{engine.path}: {LEAN} loads only version-compatible plans, and this is none; install TensorRT itself "
            "with: pip install 'hidenerf[tensorrt]'"
        )
    runtime.engine_host_code_allowed = engine.carries_code
    if engine.plugin is None:
        return
    library.logger.errors.clear()
    if runtime.get_plugin_registry().load_library(str(engine.plugin)) is None:
        raise HideNerfError(f"{engine.plugin}: {library.title} does not load this plugin ({library.reason()}); {again}")


def _require_kernel_packages(backend: str) -> None:
    """A `HideNerfError` with the backend's pip command unless our kernel that draws the SECC can be compiled."""
    try:
        cuda_core()
        nvrtc_version()
    except HideNerfError as error:
        reason = str(error).partition(" (")[2].rpartition(");")[0]
        raise HideNerfError(
            f"--backend {backend} needs cuda-core and NVRTC ({reason}); {pip_command(backend)}"
        ) from None
