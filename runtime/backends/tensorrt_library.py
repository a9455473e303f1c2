"""TensorRT's Python module, whichever serves a bundle's engines, and the part of its interface that the backend uses.

The protocols below are spelt alike by TensorRT 10.1 to 11.1, its lean runtime, and TensorRT-RTX; `RuntimeConfig` and
`RuntimeCache` are used with TensorRT-RTX alone. tests/runtime/test_backends_tensorrt.py holds them against the module
that is installed.
"""

import functools
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hidenerf.runtime.engines import TITLES
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import cuda_core, nvrtc_version

LEAN = "tensorrt_lean"
# In the order in which they are taken if several are installed.
MODULES = {"tensorrt": ("tensorrt", LEAN), "tensorrt-rtx": ("tensorrt_rtx",)}
# The first whose contexts are told the size of the memory they are given.
OLDEST_TENSORRT = (10, 1)


class Context(Protocol):
    """`IExecutionContext`."""

    def set_tensor_address(self, name: str, memory: int) -> bool: ...

    def set_device_memory(self, memory: int, size: int) -> None: ...

    def execute_async_v3(self, stream_handle: int) -> bool: ...


class RuntimeCache(Protocol):
    """`IRuntimeCache`: kernels that TensorRT-RTX compiled for this GPU."""

    def deserialize(self, blob: bytes) -> bool: ...

    def serialize(self) -> Any: ...


class RuntimeConfig(Protocol):
    """`IRuntimeConfig`."""

    cuda_graph_strategy: Any

    def create_runtime_cache(self) -> RuntimeCache: ...

    def set_runtime_cache(self, cache: RuntimeCache) -> bool: ...

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None: ...


class CudaEngine(Protocol):
    """`ICudaEngine`. create_execution_context takes an allocation strategy or a `RuntimeConfig`; None is a failure."""

    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str: ...

    def get_tensor_shape(self, name: str) -> Sequence[int]: ...

    def get_tensor_dtype(self, name: str) -> Any: ...

    def create_execution_context(self, strategy: Any, /) -> Context | None: ...

    def create_runtime_config(self) -> RuntimeConfig: ...


class PluginRegistry(Protocol):
    """`IPluginRegistry`; load_library gives None where it fails."""

    def load_library(self, plugin_path: str) -> Any: ...


class Runtime(Protocol):
    """`IRuntime`; deserialize_cuda_engine gives None where it fails."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None: ...

    def get_plugin_registry(self) -> PluginRegistry: ...


@dataclass(frozen=True)
class Library:
    """trt: the module. logger: TensorRT's, one for the process, since the library keeps the first it is given.

    The logger's list `errors` holds what the library reported since it was last cleared.
    """

    backend: str
    module: str
    version: str
    trt: Any
    logger: Any

    @property
    def title(self) -> str:
        """As in "TensorRT-RTX 1.7.1.116"."""
        return f"{TITLES[self.backend]} {self.version}"

    def runtime(self) -> Runtime:
        """What deserialises engines."""
        runtime: Runtime = self.trt.Runtime(self.logger)
        return runtime

    def reason(self) -> str:
        """The first error since the logger was last cleared, without codes and source lines."""
        return plain(self.logger.errors[0]) if self.logger.errors else "it gives no reason"


@functools.cache
def load_library(backend: str) -> Library:
    """Import what serves the engines of `backend`, "tensorrt" or "tensorrt-rtx", and what draws the SECC.

    Errors: a package is missing, does not load, or is too old; each names the pip command.
    """
    install = f"install it with: pip install 'hidenerf[{backend}]'"
    trt = _import(backend, install)
    version = str(trt.__version__)
    if backend == "tensorrt" and tuple(map(int, version.split(".")[:2])) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise HideNerfError(f"TensorRT {version} is too old, {oldest} or newer is needed; {install}")
    try:
        cuda_core()
        nvrtc_version()
    except HideNerfError as error:
        reason = str(error).partition(" (")[2].rpartition(");")[0]
        raise HideNerfError(f"--backend {backend} needs cuda-core and NVRTC ({reason}); {install}") from None
    return Library(backend, str(trt.__name__), version, trt, error_logger(trt))


def error_logger(trt: Any) -> Any:
    """A logger of the module `trt` whose list `errors` holds what the library reported as errors."""

    class ErrorLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return ErrorLogger()


def gpu_sm() -> int:
    """Architecture of the GPU in use, 86 for compute capability 8.6."""
    major, minor = cuda_core().Device().compute_capability
    return 10 * int(major) + int(minor)


def plain(message: str) -> str:
    """One of the library's messages without its codes and source lines.

    >>> plain("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (no plan. In parse at /_src/a.cpp:780)")
    'no plan'
    """
    line = message.strip().partition("\n")[0]
    if found := re.search(r"Error Code \d+: [\w ]+ \((.*)\)$", line):
        line = found[1]
    # What CUDA says stands behind the place in the sources.
    line = re.sub(r"\s*\bIn \w+ at \S+", "", line).strip()
    if found := re.fullmatch(r"\(cudaError \d+: (.*)\)", line):
        line = found[1]
    return line.rstrip(" .;")


def _import(backend: str, install: str) -> Any:
    for name in MODULES[backend]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise HideNerfError(f"The Python package {name} needs {error.name}; {install}") from None
        except (ImportError, OSError, RuntimeError) as error:
            raise HideNerfError(f"The Python package {name} does not load ({error}); {install}") from None
    raise HideNerfError(f"--backend {backend} needs the Python package {MODULES[backend][0]}; {install}")
