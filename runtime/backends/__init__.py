"""Backends by name."""

from collections.abc import Callable

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes

BACKEND_NAMES = ("auto", "onnxruntime-cpu", "onnxruntime-cuda")


def open_backend(name: str, bundle: Bundle, times: StageTimes, report: Callable[[str], None]) -> Backend:
    """The backend `name` for `bundle`; `auto` takes the fastest one that is usable here.

    report is called with one line if `auto` does without the GPU: why. Errors: an unknown name, a missing package, and
    for a backend chosen by name whatever keeps it from running.
    """
    if name not in BACKEND_NAMES:
        raise HideNerfError(f"No backend is called {name!r}; choose one of {', '.join(BACKEND_NAMES)}.")
    from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
    from hidenerf.runtime.backends.onnxruntime_cuda import OnnxRuntimeCuda

    if name == "onnxruntime-cpu":
        return OnnxRuntimeCpu(bundle, times)
    try:
        return OnnxRuntimeCuda(bundle, times)
    except HideNerfError as error:
        if name == "onnxruntime-cuda":
            raise
        reason = str(error)
    backend = OnnxRuntimeCpu(bundle, times)
    report(f"Not on a GPU: {reason}")
    return backend
