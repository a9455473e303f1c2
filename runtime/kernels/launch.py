"""`Kernels`: the compiled kernels of one source file on the current GPU, launched on any stream."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import SMS, Definitions, cached_cubin, cuda_core
from hidenerf.runtime.kernels.sm import gpu_sm

# Bits that the kernels set in the word `flags` (ray_march.cuh). The caller clears it.
NON_FINITE_DEFORMATION = 1
PLANES_OUT_OF_RANGE = 2

# Bytes of shared memory that a block may have without asking for more.
_SHARED_WITHOUT_ASKING = 48 * 1024
# Of the driver API's enumeration.
_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


def kernel_sm() -> int:
    """SM to compile for: the current GPU's, or the newest in `SMS` whose machine code runs on it.

    Errors: `NoGpuError` without a usable GPU, a `HideNerfError` for one older than all of `SMS`.
    """
    sm = gpu_sm()
    if sm < SMS[0]:
        raise HideNerfError(
            f"The GPU has compute capability {sm // 10}.{sm % 10}, below {SMS[0] // 10}.{SMS[0] % 10}; run with "
            "--backend onnxruntime-cpu."
        )
    # Machine code also runs on later minor versions of its major version.
    older = [known for known in SMS if known // 10 == sm // 10 and known <= sm]
    return older[-1] if older else sm


def driver_version() -> str:
    """CUDA version of the installed GPU driver, such as "13000"; "unknown" if the driver does not say."""
    status, version = importlib.import_module("cuda.bindings.driver").cuDriverGetVersion()
    return str(version) if int(status) == 0 else "unknown"


class Kernels:
    """The kernels of one source file, compiled for the current GPU and loaded."""

    def __init__(self, source: str, definitions: Definitions = ()) -> None:
        """Compile the kernels, or take them from the cache.

        source: name of a .cu file in this folder.
        definitions: macros and their values.
        Errors: no usable GPU, and those of `compile_source`.
        """
        self._core = cuda_core()
        code = cached_cubin(source, definitions, kernel_sm(), driver_version())
        self._module = self._core.ObjectCode.from_cubin(code)
        self._kernels: dict[str, Any] = {}

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: int,
        stream: int,
        arguments: Sequence[int | np.generic],
        shared: int = 0,
    ) -> None:
        """Launch a kernel; asynchronous.

        name: the kernel's name.
        grid: how many blocks, in x, y, z.
        block: how many threads a block has.
        stream: the stream's handle, 0 for the default stream.
        arguments: device addresses as int, numbers as NumPy scalars of the kernel's own types.
        shared: bytes of shared memory that a block has besides what the kernel declares; at every launch the same.
        """
        if name not in self._kernels:
            self._kernels[name] = self._module.get_kernel(name)
            if shared > _SHARED_WITHOUT_ASKING:
                _allow_shared(self._kernels[name], shared)
        config = self._core.LaunchConfig(grid=grid, block=block, shmem_size=shared)
        # 1 is the default stream's own handle. Some versions of cuda-core take 0 as "no stream".
        handle = self._core.Stream.from_handle(stream or 1)
        self._core.launch(handle, config, self._kernels[name], *arguments)


def _allow_shared(kernel: Any, size: int) -> None:
    """Let a kernel's blocks have so many bytes of shared memory on the current GPU."""
    driver = importlib.import_module("cuda.bindings.driver")
    attribute = driver.CUfunction_attribute(_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    # Before version 1 cuda-core has the handle under another name.
    handle = kernel.handle if hasattr(kernel, "handle") else kernel._handle
    status, device = driver.cuCtxGetDevice()
    if int(status) == 0:
        (status,) = driver.cuKernelSetAttribute(attribute, size, handle, device)
    if int(status) != 0:
        raise HideNerfError(
            f"The GPU's driver gives a kernel no {size} bytes of shared memory (error {int(status)}); run with "
            "--backend onnxruntime-cpu."
        )
