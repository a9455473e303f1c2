"""The part of TensorRT's Python interface that the backends use, as typed protocols.

TensorRT 10.1 to 11.1, its lean runtime, and TensorRT-RTX spell these names alike; what TensorRT 8.6 spells differently
has protocols of its own, and generations.py chooses. Only TensorRT-RTX has `RuntimeConfig` and `RuntimeCache`.
tests/runtime/backends/test_tensorrt.py compares the protocols with the installed module, and
tests/export/engines/test_tensorrt_8_6.py with the real one of 8.6.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class Context(Protocol):
    """`IExecutionContext`."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set the GPU address of an input or output; whether it was accepted."""
        ...

    def set_device_memory(self, memory: int, size: int) -> None:
        """Set the GPU address and the size, bytes, of the working memory."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Start the engine on a CUDA stream; whether it was started."""
        ...


class RuntimeCache(Protocol):
    """`IRuntimeCache`: kernels that TensorRT-RTX compiled for this GPU."""

    def deserialize(self, blob: bytes) -> bool:
        """Load a saved cache; whether it fits."""
        ...

    def serialize(self) -> Any:
        """The cache as a buffer, to be saved."""
        ...


class RuntimeConfig(Protocol):
    """`IRuntimeConfig`."""

    cuda_graph_strategy: Any

    def create_runtime_cache(self) -> RuntimeCache:
        """A new, empty cache."""
        ...

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        """Use a cache; whether it was accepted."""
        ...

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        """Choose who allocates the working memory."""
        ...


class Context86(Protocol):
    """What TensorRT 8.6's `IExecutionContext` has in place of `set_device_memory`: an address to be set."""

    device_memory: int


class CudaEngine86(Protocol):
    """What TensorRT 8.6's `ICudaEngine` has in place of `device_memory_size_v2` and an allocation strategy."""

    device_memory_size: int

    def create_execution_context_without_device_memory(self) -> Context | None:
        """A new context that waits for its working memory."""
        ...


class CudaEngine(Protocol):
    """`ICudaEngine`. create_execution_context takes an allocation strategy or a `RuntimeConfig`; None is a failure."""

    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str:
        """Name of input or output number `index`."""
        ...

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """Shape of an input or output."""
        ...

    def get_tensor_dtype(self, name: str) -> Any:
        """Data type of an input or output."""
        ...

    def create_execution_context(self, strategy: Any, /) -> Context | None:
        """A new context."""
        ...

    def create_runtime_config(self) -> RuntimeConfig:
        """A new config, only in TensorRT-RTX."""
        ...


class PluginRegistry(Protocol):
    """`IPluginRegistry`; load_library gives None where it fails."""

    def load_library(self, plugin_path: str) -> Any:
        """Load a plugin library."""
        ...


class Runtime(Protocol):
    """`IRuntime`; deserialize_cuda_engine gives None where it fails."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None:
        """Load an engine."""
        ...

    def get_plugin_registry(self) -> PluginRegistry:
        """The registry of plugins."""
        ...
