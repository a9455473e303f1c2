"""Graph runners: Polygraphy's view of one graph, in PyTorch, in ONNX Runtime, or as a TensorRT engine."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.common import TensorMetadata

from hidenerf.export.engines.builder_library import load_builder_library
from hidenerf.export.graph_modules import GraphModule
from hidenerf.runtime.backends.registry import backend_entry
from hidenerf.runtime.bundle import Bundle, GraphSpec

CPU = "onnxruntime-cpu"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class GraphRunner:
    """One graph that Polygraphy can run.

    name: of the graph. runner: Polygraphy's. inputs, outputs: names of the tensors. origin: where the graph comes from,
    for errors.
    """

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


def bundle_graphs(bundle: Bundle, backend: str) -> dict[str, GraphRunner]:
    """A bundle's graphs as a backend of the runtime runs them, each alone.

    bundle: whose graphs.
    backend: a name in the registry.
    Errors: as for opening that backend.
    """
    entry = backend_entry(backend)
    if entry.runs_engines:
        # Polygraphy's runner must use the backend's library.
        load_builder_library(backend)
    loaded = entry.load().load_graphs(bundle)
    runner = _engine_runner if entry.runs_engines else _session_runner
    return {name: runner(bundle.graphs[name], graph, backend) for name, graph in loaded.items()}


def _session_runner(spec: GraphSpec, session: Any, backend: str) -> GraphRunner:
    return GraphRunner(
        spec.name,
        OnnxrtRunner(session, name=f"{backend} {spec.path}"),
        frozenset(tensor.name for tensor in session.get_inputs()),
        frozenset(tensor.name for tensor in session.get_outputs()),
        str(spec.path),
    )


def _engine_runner(spec: GraphSpec, engine: Any, backend: str) -> GraphRunner:
    """A TensorRT engine. This project has not run it yet: its machines have no GPU that TensorRT runs on."""
    from polygraphy.backend.trt import TrtRunner

    # Given a loader in place of the engine, Polygraphy would deserialise it again for every frame.
    runner = TrtRunner(engine, name=f"{backend} {spec.name}")
    return GraphRunner(spec.name, runner, frozenset(spec.inputs), frozenset(spec.outputs), f"the {backend} engine")
