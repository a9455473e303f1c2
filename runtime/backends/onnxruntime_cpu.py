"""ONNX Runtime on the CPU: the backend that runs everywhere, and the reference for the others."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Backend, Float, Frame
from hidenerf.runtime.backends.onnxruntime_session import open_session
from hidenerf.runtime.bundle import Bundle, GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes

PROVIDER = "CPUExecutionProvider"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime; a `HideNerfError` with the pip command if it is not installed."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise HideNerfError(
            "Running on the CPU needs onnxruntime; install it with: pip install 'hidenerf[cpu]'"
        ) from None
    return onnxruntime


class OnnxRuntimeCpuBackend(Backend):
    """Three sessions whose tensors are bound once at fixed addresses. Outputs of one graph are inputs of the next."""

    name = "onnxruntime-cpu"

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        super().__init__(bundle, times)
        onnxruntime = import_onnxruntime()
        self._value = onnxruntime.OrtValue
        self._encoded = False
        self._tensors: dict[str, Any] = {}
        self._sessions = {}
        self._bindings = {}
        for name, graph in bundle.graphs.items():
            self._sessions[name] = open_session(onnxruntime, graph, PROVIDER, threads=_usable_cpus())
            self._bindings[name] = self._bind(self._sessions[name], graph)

    @classmethod
    def load_graphs(cls, bundle: Bundle) -> dict[str, Any]:
        """See `Backend.load_graphs`."""
        onnxruntime = import_onnxruntime()
        return {name: open_session(onnxruntime, graph, PROVIDER) for name, graph in bundle.graphs.items()}

    def _bind(self, session: Any, graph: GraphSpec) -> Any:
        binding = session.io_binding()
        for name, spec in graph.outputs.items():
            self._tensors[name] = self._value.ortvalue_from_shape_and_type(list(spec.shape), spec.dtype.type, "cpu")
            binding.bind_ortvalue_output(name, self._tensors[name])
        for name, spec in graph.inputs.items():
            if name not in self._tensors:
                self._tensors[name] = self._value.ortvalue_from_shape_and_type(list(spec.shape), spec.dtype.type, "cpu")
            binding.bind_ortvalue_input(name, self._tensors[name])
        return binding

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """See `Backend.encode_source`."""
        self._set("source_image", source_image)
        self._set("source_camera", source_camera)
        self._set("secc_canonical", secc_canonical)
        self._run("source_encoder")
        self._encoded = True

    def render_secc(self, secc_driving: Float, camera: Float, face_sight: Float | None = None) -> Frame:
        """See `Backend.render_secc`."""
        if not self._encoded:
            raise HideNerfError("No source has been encoded yet; set one before rendering.")
        for name, array in self._named_inputs(secc_driving, camera, face_sight).items():
            self._set(name, array)
        self._run("led")
        self._run("renderer_refiner")
        return self._tensors["frame"].numpy().copy(), self._tensors["alpha"].numpy().copy()

    def _set(self, name: str, value: NDArray[Any]) -> None:
        tensor = self._tensors[name]
        if list(value.shape) != tensor.shape():
            raise HideNerfError(f"{name} has shape {list(value.shape)} where the bundle needs {tensor.shape()}.")
        tensor.update_inplace(np.ascontiguousarray(value, np.float32))

    def _run(self, graph: str) -> None:
        with self._times.measure(graph):
            self._sessions[graph].run_with_iobinding(self._bindings[graph])

    def close(self) -> None:
        """See `Backend.close`."""
        self._bindings.clear()
        self._sessions.clear()
        self._tensors.clear()


def _usable_cpus() -> int:
    """How many CPUs this process may use; 0 where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
