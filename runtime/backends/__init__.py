"""Backends by name."""

import ctypes
import sys
from collections.abc import Callable

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.engine_set import ENGINES_FOLDER, TITLES

BACKEND_NAMES = ("auto", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-cpu")


def open_backend(name: str, bundle: Bundle, times: StageTimes, report: Callable[[str], None]) -> Backend:
    """The backend `name` for `bundle`; `auto` takes the fastest one that is usable here: TensorRT, CUDA, the CPU.

    report is called with one line where `auto` passes over a faster one: what it takes, and why. Errors: an unknown
    name, and for a backend chosen by name whatever keeps it from running.
    """
    if name not in BACKEND_NAMES:
        raise HideNerfError(f"No backend is called {name!r}; choose one of {', '.join(BACKEND_NAMES)}.")
    if name != "auto":
        return _open(name, bundle, times)
    built = [key for key in TITLES if any((bundle.folder / ENGINES_FOLDER).glob(f"{key}-[0-9]*"))]
    reasons = []
    if not built:
        build = f"hidenerf-export {bundle.folder} --backend tensorrt"
        reasons.append(f"TensorRT: the bundle has no engines; build them with: {build} (or tensorrt-rtx).")
    for candidate, title in (*((key, TITLES[key]) for key in built), ("onnxruntime-cuda", "CUDA")):
        try:
            backend = _open(candidate, bundle, times)
        except HideNerfError as error:
            reasons.append(f"{title}: {str(error).rstrip('.')}.")
            continue
        if reasons:
            report(f"Running on {title}. Not on {' Not on '.join(reasons)}")
        return backend
    backend = _open("onnxruntime-cpu", bundle, times)
    if nvidia_gpu():
        report(f"Running on the CPU. Not on {' Not on '.join(reasons)}")
    else:
        report("Running on the CPU: no NVIDIA GPU is usable here.")
    return backend


def nvidia_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU is installed and finds one; no Python package is needed to ask it."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def _open(name: str, bundle: Bundle, times: StageTimes) -> Backend:
    if name in TITLES:
        from hidenerf.runtime.backends.tensorrt import TensorRtEngines

        return TensorRtEngines(name, bundle, times)
    if name == "onnxruntime-cuda":
        from hidenerf.runtime.backends.onnxruntime_cuda import OnnxRuntimeCuda

        return OnnxRuntimeCuda(bundle, times)
    from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, times)
