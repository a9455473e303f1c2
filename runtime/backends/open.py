"""Opening a backend by name, and the choice that `auto` makes."""

import ctypes
import logging
import sys

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.backends.registry import AUTO, BACKENDS, backend_entry
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.engine_set import has_engines

logger = logging.getLogger(__name__)


def open_backend(name: str, bundle: Bundle, times: StageTimes) -> Backend:
    """Open a backend for a bundle.

    name: one of `BACKEND_NAMES`. "auto" takes the first backend of the registry that opens here; where that is not the
        first, one log record says which it takes, and why not the others.
    bundle: an opened bundle.
    times: gets the time of every stage.
    Errors: an unknown name; for a backend chosen by name, whatever keeps it from running.
    """
    if name != AUTO:
        return backend_entry(name).load()(bundle, times)
    reasons = []
    candidates = [entry for entry in BACKENDS if not entry.runs_engines or has_engines(bundle.folder, entry.name)]
    if not any(entry.runs_engines for entry in candidates):
        build = f"hidenerf-export {bundle.folder} --backend tensorrt"
        reasons.append(f"TensorRT: the bundle has no engines; build them with: {build} (or tensorrt-rtx).")
    for entry in candidates[:-1]:
        try:
            backend = entry.load()(bundle, times)
        except HideNerfError as error:
            reasons.append(f"{entry.title}: {str(error).rstrip('.')}.")
            continue
        if reasons:
            logger.info("Running on %s. Not on %s", entry.title, " Not on ".join(reasons))
        return backend
    last = candidates[-1]
    backend = last.load()(bundle, times)
    if has_nvidia_gpu():
        logger.warning("Running on %s. Not on %s", last.title, " Not on ".join(reasons))
    else:
        logger.info("Running on %s: no NVIDIA GPU is usable here.", last.title)
    return backend


def has_nvidia_gpu() -> bool:
    """Whether the GPU driver of NVIDIA is installed and finds a GPU. No Python package is needed for this."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False
