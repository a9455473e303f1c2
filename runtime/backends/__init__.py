"""Backends by name."""

from collections.abc import Callable

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.engines import ENGINES_FOLDER, TITLES
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes

BACKEND_NAMES = ("auto", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-cpu")


def open_backend(name: str, bundle: Bundle, times: StageTimes, report: Callable[[str], None]) -> Backend:
    """The backend `name` for `bundle`; `auto` takes the fastest one that is usable here: TensorRT, CUDA, the CPU.

    report is called with one line for each that `auto` passes over: why. Errors: an unknown name, and for a backend
    chosen by name whatever keeps it from running.
    """
    if name not in BACKEND_NAMES:
        raise HideNerfError(f"No backend is called {name!r}; choose one of {', '.join(BACKEND_NAMES)}.")
    if name != "auto":
        return _open(name, bundle, times)
    built = [key for key in TITLES if any((bundle.folder / ENGINES_FOLDER).glob(f"{key}-[0-9]*"))]
    reasons = []
    if not built:
        build = f"build them with: hidenerf-export {bundle.folder} --backend tensorrt (or tensorrt-rtx)"
        reasons.append(f"Not with TensorRT: {bundle.folder}: it has no engines; {build}")
    backend = None
    for candidate, title in (*((key, TITLES[key]) for key in built), ("onnxruntime-cuda", "CUDA")):
        try:
            backend = _open(candidate, bundle, times)
            break
        except HideNerfError as error:
            reasons.append(f"Not with {title}: {error}")
    backend = backend or _open("onnxruntime-cpu", bundle, times)
    for reason in reasons:
        report(reason)
    return backend


def _open(name: str, bundle: Bundle, times: StageTimes) -> Backend:
    if name in TITLES:
        from hidenerf.runtime.backends.tensorrt_engines import TensorRtEngines

        return TensorRtEngines(name, bundle, times)
    if name == "onnxruntime-cuda":
        from hidenerf.runtime.backends.onnxruntime_cuda import OnnxRuntimeCuda

        return OnnxRuntimeCuda(bundle, times)
    from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, times)
