"""TensorRT and TensorRT-RTX: the bundle's engines one after the other on one stream, a frame as one CUDA graph.

Engines are deserialised once, their tensors bound by name to addresses that stay. One engine runs at a time, so all of
them share one block of activation memory. What TensorRT-RTX compiles for the GPU is kept (`runtime_cache.py`); its own
CUDA graphs are off while we capture the frame, and on where that fails.

Nothing here that calls the library's engines and contexts has been run: this project's machines have none that it runs
on. tests/support/host_tensorrt.py stands for it in tests.
"""

from typing import Any

import numpy as np

from hidenerf.runtime.backends.gpu import SOURCE_INPUTS, DeviceBackend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.api import (
    Context,
    CudaEngine,
    Runtime,
    RuntimeCache,
    RuntimeConfig,
    gpu_sm,
    load_library,
)
from hidenerf.runtime.tensorrt.compiled_cache import KeptCache
from hidenerf.runtime.tensorrt.engine_set import Engine, build_command, find_engines
from hidenerf.runtime.tensorrt.library import LEAN, Library

STAGES = ("upload", "led", "renderer_refiner", "download")
FRAME_ENGINES = ("led", "renderer_refiner")


class TensorRtEngines(DeviceBackend):
    """See `Backend`. backend: "tensorrt" or "tensorrt-rtx".

    Errors on opening: the library is missing, no usable GPU, no engines in the bundle for this version and GPU, engines
    that the library refuses.
    """

    title = "TensorRT"
    stages = STAGES

    def __init__(self, backend: str, bundle: Bundle, times: StageTimes) -> None:
        self.name = backend
        self._library = load_library(backend)
        super().__init__(Device(), times)
        self._engines: dict[str, CudaEngine] = {}
        self._contexts: dict[str, Context] = {}
        # What contexts refer to: TensorRT-RTX's configurations, and the cache that they share.
        self._configs: dict[str, Any] = {}
        self._cache: RuntimeCache | None = None
        with self._opening():
            self._open(bundle)

    def _open(self, bundle: Bundle) -> None:
        library, sm = self._library, gpu_sm()
        found = find_engines(bundle, library.backend, library.version, sm)
        again = f"build it again with: {build_command(bundle.folder, library.backend, sm)}"
        for name, engine in found.items():
            self._engines[name] = load_engine(library, engine, again)
        self._allocate(t for engine in found.values() for t in (*engine.inputs.values(), *engine.outputs.values()))
        self._activation_bytes = max(engine.device_memory_size_v2 for engine in self._engines.values())
        self._activations = self._device.allocate(self._activation_bytes)
        kept = KeptCache([library.version, str(sm), *(engine.sha256 for engine in found.values())])
        for name in found:
            self._open_context(name, kept)
        self._warm_up()
        if self._cache is not None:
            kept.keep(self._cache)

    def _open_context(self, name: str, kept: KeptCache | None = None) -> None:
        """A context in place of the one that was there.

        kept: of TensorRT-RTX, for the first contexts; without it, it captures a CUDA graph of its own.
        """
        self._contexts.pop(name, None)
        self._library.logger.errors.clear()
        engine = self._engines[name]
        how: Any = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._library.backend == "tensorrt-rtx":
            how = self._configs[name] = self._configure(engine, kept)
            if not how.set_runtime_cache(self._cache):
                raise self._failure(name)
        context = engine.create_execution_context(how)
        if context is None:
            raise self._failure(name)
        context.set_device_memory(self._activations, self._activation_bytes)
        for index in range(engine.num_io_tensors):
            tensor = engine.get_tensor_name(index)
            if not context.set_tensor_address(tensor, self._addresses[tensor]):
                raise self._failure(name)
        self._contexts[name] = context

    def _configure(self, engine: CudaEngine, kept: KeptCache | None) -> RuntimeConfig:
        trt = self._library.trt
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        strategies = trt.CudaGraphStrategy
        config.cuda_graph_strategy = strategies.DISABLED if kept is not None else strategies.WHOLE_GRAPH_CAPTURE
        if self._cache is None and kept is not None:
            self._cache = config.create_runtime_cache()
            kept.fill(self._cache)
        return config

    def _encode(self) -> None:
        self._upload(SOURCE_INPUTS)
        self._start("source_encoder")
        self._device.synchronize()

    def _start(self, stage: str) -> None:
        self._library.logger.errors.clear()
        if not self._contexts[stage].execute_async_v3(self._device.stream):
            raise self._failure(stage)

    def _give_up_capture(self) -> bool:
        if self._library.backend != "tensorrt-rtx":
            return False
        for name in FRAME_ENGINES:
            self._open_context(name)
        return True

    def _failure(self, engine: str) -> HideNerfError:
        return HideNerfError(
            f"The engine {engine} fails on the GPU ({self._library.reason()}); run with another --backend."
        )

    def close(self) -> None:
        """See `Backend.close`."""
        self._contexts.clear()
        self._configs.clear()
        self._cache = None
        self._engines.clear()
        super().close()


def load_engine(library: Library, engine: Engine, again: str) -> CudaEngine:
    """Deserialise a verified plan. again: what to run for another one.

    Each has a runtime of its own, as a runtime's registry takes a plugin once and refuses it when it comes again.
    Errors: the plan needs code that this library does not load, the library refuses it, its tensors are others than the
    sidecar's.
    """
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
            f"{engine.path}: {LEAN} loads version-compatible plans only, and this is none; install TensorRT itself "
            "with: pip install 'hidenerf[tensorrt]'"
        )
    runtime.engine_host_code_allowed = engine.carries_code
    if engine.plugin is None:
        return
    library.logger.errors.clear()
    if runtime.get_plugin_registry().load_library(str(engine.plugin)) is None:
        raise HideNerfError(f"{engine.plugin}: {library.title} does not load this plugin ({library.reason()}); {again}")
