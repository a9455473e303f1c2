"""The installed TensorRT or TensorRT-RTX: its Python module, version, and the logger that keeps its errors."""

import functools
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.backends.tensorrt_library import error_logger
from hidenerf.runtime.engines import TITLES
from hidenerf.runtime.errors import HideNerfError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
OLDEST_TENSORRT = 10


@dataclass(frozen=True)
class Library:
    """trt: the Python module, `tensorrt` or `tensorrt_rtx`; their names are the same but for `ComputeCapability`.

    logger: TensorRT's, one for the process since the library keeps the first it is given. Its list `errors` holds
    what the library reported since it was last cleared.
    """

    backend: str
    version: str
    trt: Any
    logger: Any

    @property
    def title(self) -> str:
        """As in "TensorRT-RTX 1.7.1.116"."""
        return f"{TITLES[self.backend]} {self.version}"


@functools.cache
def load_library(backend: str) -> Library:
    """Import the library of `backend`; a `HideNerfError` names the pip command where it or Polygraphy is missing."""
    name = MODULES[backend]
    install = f"install it with: pip install 'hidenerf[{backend}]'"
    try:
        trt = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise HideNerfError(f"--backend {backend} needs the Python package {error.name}; {install}") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise HideNerfError(f"The Python package {name} does not load ({error}); {install}") from None
    version = str(trt.__version__)
    if backend == "tensorrt" and int(version.split(".")[0]) < OLDEST_TENSORRT:
        raise HideNerfError(f"TensorRT {version} is too old, {OLDEST_TENSORRT} or newer is needed; {install}")
    try:
        _point_polygraphy_at(backend)
    except ModuleNotFoundError as error:
        raise HideNerfError(f"Building engines needs the Python package {error.name}; {install}") from None
    return Library(backend, version, trt, error_logger(trt))


def _point_polygraphy_at(backend: str) -> None:
    """Polygraphy decides once per process, from the environment, which of the two modules it imports."""
    rtx = backend == "tensorrt-rtx"
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = str(int(rtx))
    config: Any = importlib.import_module("polygraphy.config")
    if "polygraphy.backend.trt" in sys.modules and rtx != config.USE_TENSORRT_RTX:
        raise HideNerfError("This process built engines for the other TensorRT before; use one process for each.")
    config.USE_TENSORRT_RTX = rtx
