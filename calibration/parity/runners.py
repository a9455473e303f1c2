"""One graph of the model as Polygraphy runs it: in PyTorch, in ONNX Runtime, or as a TensorRT engine."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.common import TensorMetadata

from hidenerf.export.engines.libraries import load_library
from hidenerf.export.graph_modules import GraphModule
from hidenerf.runtime.backends.onnxruntime_cuda import PROVIDER, import_onnxruntime, load_libraries, provider_options
from hidenerf.runtime.backends.tensorrt import load_engine
from hidenerf.runtime.bundle import Bundle, GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import EXPORT_AGAIN
from hidenerf.runtime.tensorrt.api import gpu_sm
from hidenerf.runtime.tensorrt.engine_set import TITLES, build_command, find_engines

CPU, CUDA = "onnxruntime-cpu", "onnxruntime-cuda"
ERRORS_ONLY = 3

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class GraphRunner:
    """inputs, outputs: names of the tensors. origin: where the graph comes from, for errors."""

    name: str
    runner: BaseRunner
    inputs: frozenset[str]
    outputs: frozenset[str]
    origin: str


class TorchRunner(BaseRunner):
    """Polygraphy's view of one graph in PyTorch, FP32."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(name=f"PyTorch {graph.name}")
        self._graph = graph

    def get_input_metadata_impl(self) -> TensorMetadata:
        """Names, dtypes and shapes of the inputs."""
        metadata = TensorMetadata()
        for name, tensor in self._graph.inputs.items():
            metadata.add(name, dtype=tensor.numpy().dtype, shape=tuple(tensor.shape))
        return metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[Any]]) -> "OrderedDict[str, NDArray[Any]]":
        """Outputs by name; Polygraphy wants them contiguous."""
        start = time.perf_counter()
        outputs = self._graph.run({name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in feed_dict.items()})
        self.inference_time = time.perf_counter() - start
        return OrderedDict((name, np.ascontiguousarray(tensor.numpy())) for name, tensor in outputs.items())


def torch_graph(graph: GraphModule) -> GraphRunner:
    """A graph in PyTorch."""
    return GraphRunner(
        graph.name, TorchRunner(graph), frozenset(graph.inputs), frozenset(graph.outputs), "the PyTorch model"
    )


def onnx_graph(spec: GraphSpec, backend: str = CPU) -> GraphRunner:
    """A bundle's graph in ONNX Runtime, on the CPU or for the backend `CUDA` on the GPU.

    Errors: no GPU, a graph that ONNX Runtime does not load.
    """
    session = _session(spec, backend)
    return GraphRunner(
        spec.name,
        OnnxrtRunner(session, name=f"{backend} {spec.path}"),
        frozenset(tensor.name for tensor in session.get_inputs()),
        frozenset(tensor.name for tensor in session.get_outputs()),
        str(spec.path),
    )


def _session(spec: GraphSpec, backend: str) -> Any:
    providers: list[Any] = ["CPUExecutionProvider"]
    if backend == CUDA:
        load_libraries(import_onnxruntime())
        providers = [(PROVIDER, provider_options(spec))]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(spec.path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own types, one for each status code
        raise HideNerfError(f"{spec.path}: ONNX Runtime does not load it ({error}); {EXPORT_AGAIN}.") from None
    if backend == CUDA and session.get_providers()[0] != PROVIDER:
        raise HideNerfError(f"ONNX Runtime {onnxruntime.__version__} cannot start on the GPU; use another --backend.")
    return session


def bundle_graphs(bundle: Bundle, backend: str) -> dict[str, GraphRunner]:
    """A bundle's graphs as `backend`, one of the runtime's, runs them. Errors: as for opening that backend."""
    if backend in TITLES:
        return _engine_graphs(bundle, backend)
    return {name: onnx_graph(spec, backend) for name, spec in bundle.graphs.items()}


def _engine_graphs(bundle: Bundle, backend: str) -> dict[str, GraphRunner]:
    """TensorRT's engines for this machine's GPU. Not run by this project yet: its machines have none to run it on."""
    library = load_library(backend)
    sm = gpu_sm()
    engines = find_engines(bundle, backend, library.version, sm)
    from polygraphy.backend.trt import TrtRunner

    again = f"build it again with: {build_command(bundle.folder, backend, sm)}"
    runners = {}
    for name, engine in engines.items():
        # Deserialised here and once: Polygraphy would do it again for every frame.
        runner = TrtRunner(load_engine(library, engine, again), name=f"{backend} {name}")
        names = frozenset(engine.inputs), frozenset(engine.outputs)
        runners[name] = GraphRunner(name, runner, *names, str(engine.path))
    return runners
