"""Compiled kernels on the current GPU: loaded once, launched with device addresses on any stream."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import ARCHITECTURES, Definitions, cached_cubin, cuda_core

# Set in the word `flags` by the kernels (ray_march.cuh); the caller clears it.
NON_FINITE_DEFORMATION = 1
PLANES_OUT_OF_RANGE = 2


def current_architecture() -> str:
    """Of the GPU made current for this thread, such as "sm_90"; a `HideNerfError` if there is none or it is too old."""
    core = cuda_core()
    try:
        device = core.Device()
        device.set_current()
        major, minor = device.compute_capability
    except Exception as error:
        raise HideNerfError(f"No NVIDIA GPU is usable ({error}); run with --backend onnxruntime-cpu.") from None
    if (major, minor) < (7, 5):
        raise HideNerfError(
            f"The GPU has compute capability {major}.{minor}, below 7.5; run with --backend onnxruntime-cpu."
        )
    known = [a for a in ARCHITECTURES if a == f"sm_{major}{minor}"]
    # Machine code also runs on later minor versions of its major version.
    fallback = [a for a in ARCHITECTURES if int(a[3:]) // 10 == major and int(a[3:]) % 10 <= minor]
    return known[0] if known else fallback[-1] if fallback else f"sm_{major}{minor}"


def driver_version() -> str:
    """CUDA version of the installed driver, as the driver says it."""
    status, version = importlib.import_module("cuda.bindings.driver").cuDriverGetVersion()
    return str(version) if int(status) == 0 else "unknown"


class Kernels:
    """The kernels of one source file, compiled with some definitions for the current GPU."""

    def __init__(self, source: str, definitions: Definitions = ()) -> None:
        self._core = cuda_core()
        code = cached_cubin(source, definitions, current_architecture(), driver_version())
        self._module = self._core.ObjectCode.from_cubin(code)
        self._kernels: dict[str, Any] = {}

    def launch(
        self, name: str, grid: tuple[int, int, int], block: int, stream: int, arguments: Sequence[int | np.generic]
    ) -> None:
        """Start kernel `name`. stream: its handle, 0 for the default. arguments: device addresses as int, numbers as
        NumPy scalars of the kernel's own types."""
        if name not in self._kernels:
            self._kernels[name] = self._module.get_kernel(name)
        config = self._core.LaunchConfig(grid=grid, block=block)
        # The default stream's own handle, for wrappers that take 0 for none.
        handle = self._core.Stream.from_handle(stream or 1)
        self._core.launch(handle, config, self._kernels[name], *arguments)
