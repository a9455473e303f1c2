"""`load_builder_library`: the installed TensorRT or TensorRT-RTX, together with Polygraphy, to build engines with."""

import importlib
import os
import sys
from typing import Any

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library, load_library, pip_command

# What building needs beside the library and Polygraphy.
PACKAGES = ("onnx", "onnx_ir", "onnxscript")


def load_builder_library(backend: str) -> Library:
    """Import a backend's library to build engines, and make Polygraphy use it.

    backend: "tensorrt" or "tensorrt-rtx".
    Errors: the library, Polygraphy or ONNX's packages are missing, with the pip command; this process uses the other
    library already.
    """
    library = load_library(backend, builds=True)
    try:
        for name in PACKAGES:
            importlib.import_module(name)
        _point_polygraphy_at(backend)
    except ModuleNotFoundError as error:
        raise HideNerfError(f"Building engines needs the Python package {error.name}; {pip_command(backend)}") from None
    return library


def _point_polygraphy_at(backend: str) -> None:
    """Polygraphy decides once per process, from the environment, which of the two modules it imports."""
    rtx = backend == "tensorrt-rtx"
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = str(int(rtx))
    config: Any = importlib.import_module("polygraphy.config")
    if "polygraphy.backend.trt" in sys.modules and rtx != config.USE_TENSORRT_RTX:
        raise HideNerfError("This process built engines for the other TensorRT before; use one process for each.")
    config.USE_TENSORRT_RTX = rtx
