"""Backends by name."""

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes

BACKEND_NAMES = ("auto", "onnxruntime-cpu")


def open_backend(name: str, bundle: Bundle, times: StageTimes) -> Backend:
    """The backend `name` for `bundle`; `auto` takes the fastest one that is usable here.

    Errors: an unknown name, a missing package.
    """
    if name not in BACKEND_NAMES:
        raise HideNerfError(f"No backend is called {name!r}; choose one of {', '.join(BACKEND_NAMES)}.")
    from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, times)
