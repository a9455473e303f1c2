"""The registry of backends. docs/extending.md says how to add one.

This module imports no backend, so that a command's `--help` comes fast.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.runtime.backends.base import Backend

AUTO = "auto"


@dataclass(frozen=True)
class BackendEntry:
    """One backend.

    name: its name for `--backend`.
    title: its name in messages, as in "Running on CUDA".
    implementation: module and class of the `Backend`, as "module:Class"; imported when the backend is opened.
    runs_engines: it runs engines that `hidenerf-export --backend NAME` builds, instead of the ONNX graphs. `auto` takes
        it only for a bundle that has such engines.
    """

    name: str
    title: str
    implementation: str
    runs_engines: bool = False

    def load(self) -> "type[Backend]":
        """Import the backend's class."""
        module, _, name = self.implementation.partition(":")
        implementation: type[Backend] = getattr(importlib.import_module(module), name)
        return implementation


# `auto` takes the first that opens. The last must run everywhere.
BACKENDS = (
    BackendEntry("tensorrt", "TensorRT", "hidenerf.runtime.backends.tensorrt:TensorRtBackend", runs_engines=True),
    BackendEntry(
        "tensorrt-rtx", "TensorRT-RTX", "hidenerf.runtime.backends.tensorrt:TensorRtRtxBackend", runs_engines=True
    ),
    BackendEntry("onnxruntime-cuda", "CUDA", "hidenerf.runtime.backends.onnxruntime_cuda:OnnxRuntimeCudaBackend"),
    BackendEntry("onnxruntime-cpu", "the CPU", "hidenerf.runtime.backends.onnxruntime_cpu:OnnxRuntimeCpuBackend"),
)
BACKEND_NAMES = (AUTO, *(entry.name for entry in BACKENDS))
ENGINE_BACKEND_NAMES = tuple(entry.name for entry in BACKENDS if entry.runs_engines)


def backend_entry(name: str) -> BackendEntry:
    """The entry of the backend `name`; a `HideNerfError` lists the names if there is none."""
    for entry in BACKENDS:
        if entry.name == name:
            return entry
    raise HideNerfError(f"No backend is called {name!r}; choose one of {', '.join(BACKEND_NAMES)}.")
