"""ONNX Runtime on the CPU: the backend that runs everywhere, and the reference for the others."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Float
from hidenerf.runtime.bundle import Bundle, GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.profiling import StageTimes

ERRORS_ONLY = 3


class OnnxRuntimeCpu:
    """Three sessions whose tensors are bound once at fixed addresses; outputs of one graph are inputs of the next."""

    name = "onnxruntime-cpu"

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise HideNerfError(
                "Running on the CPU needs onnxruntime; install it with: pip install 'hidenerf[cpu]'"
            ) from None
        self._times = times
        self._value = onnxruntime.OrtValue
        self._encoded = False
        self._tensors: dict[str, Any] = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        options.log_severity_level = ERRORS_ONLY
        self._sessions = {}
        self._bindings = {}
        for name, graph in bundle.graphs.items():
            try:
                session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
                self._bindings[name] = self._bind(session, graph)
            except Exception as error:  # ONNX Runtime raises its own types, one for each status code
                raise HideNerfError(
                    f"{graph.path}: ONNX Runtime does not load it ({error}); export the bundle again."
                ) from None
            self._sessions[name] = session

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

    def render(self, secc_driving: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """See `Backend.render`."""
        if not self._encoded:
            raise HideNerfError("No source has been encoded yet; set one before rendering.")
        self._set("secc_driving", secc_driving)
        self._set("camera", camera)
        self._run("led")
        self._run("renderer_refiner")
        return self._tensors["frame"].numpy().copy(), self._tensors["alpha"].numpy().copy()

    def _set(self, name: str, value: NDArray) -> None:
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
