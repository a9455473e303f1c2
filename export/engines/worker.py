"""The worker: the process that builds one engine (started by `process.py`).

Each engine is built in a new process, because TensorRT-RTX orders a graph's outputs by address: in a process that has
built before, the same graph gives other bytes. A library that crashes ends only this process.

The job comes as a line of JSON on stdin. Answers go to stdout as lines of JSON: `{"done": 0.5}`, and last
`{"result": …}` or `{"error": …, "of_target": …}`. The parent cancels the build by making a file. If the parent dies,
writing the next line ends this process.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import onnx_ir as ir

from hidenerf.export.engines.audit import audit_layers, inspected_layers, lowered, summary, uses
from hidenerf.export.engines.build import TargetError, build_plan
from hidenerf.export.engines.builder_library import load_builder_library
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.export.passes.map_nodes import nodes_of_maps
from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import cannot_write
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.sidecar import Layer, PrecisionSummary, tensor_specs

FIRST_SM_WITH_FP8 = 89
# Fields of a job that are paths.
_PATHS = ("plan", "plugin", "timing_cache")


@dataclass(frozen=True)
class Job:
    """One engine to build.

    backend: "tensorrt" or "tensorrt-rtx".
    sm: SM to build for.
    graph: the graph, with the absolute path of its file.
    reduced: whether the graph is not meant to be FP32.
    plan: absolute path of the engine to write.
    plugin: absolute path of the library of the plugins that take nodes of the graph, if any do.
    timing_cache: absolute path of the timings to use and add to, if the library times kernels.
    """

    backend: str
    sm: int
    graph: GraphSpec
    reduced: bool
    plan: Path
    plugin: Path | None = None
    timing_cache: Path | None = None

    @property
    def cancel_file(self) -> Path:
        """The build ends once this file exists."""
        return self.plan.with_suffix(".cancel")

    def to_json(self) -> str:
        """The job as one line."""
        graph = {
            "name": self.graph.name,
            "path": str(self.graph.path),
            "inputs": [tensor.to_json() for tensor in self.graph.inputs.values()],
            "outputs": [tensor.to_json() for tensor in self.graph.outputs.values()],
        }
        paths = {name: getattr(self, name) for name in _PATHS}
        given = {name: None if path is None else str(path) for name, path in paths.items()}
        return json.dumps({**vars(self), "graph": graph, **given})

    @staticmethod
    def from_json(line: str) -> "Job":
        """The inverse of `to_json`."""
        content = json.loads(line)
        graph = content.pop("graph")
        tensors = (tensor_specs(graph[kind]) for kind in ("inputs", "outputs"))
        paths: dict[str, Any] = {name: content.pop(name) for name in _PATHS}
        given: dict[str, Any] = {name: None if path is None else Path(path) for name, path in paths.items()}
        return Job(graph=GraphSpec(graph["name"], Path(graph["path"]), *tensors), **given, **content)


@dataclass(frozen=True)
class BuildResult:
    """What the worker says of the engine it wrote.

    precision, layers: as in the sidecar.
    plugin_outside: whether the engine was to contain the plugin's library and does not.
    """

    precision: PrecisionSummary
    layers: list[Layer]
    plugin_outside: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "BuildResult":
        """The inverse of `to_dict`."""
        layers = [Layer(**layer) for layer in content["layers"]]
        return BuildResult(PrecisionSummary(**content["precision"]), layers, content["plugin_outside"])


def main() -> None:
    """Read the job, build its engine and write answers."""
    # Ctrl-C in a terminal also reaches this process, but the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _keep_stdout_for_answers()
    job = Job.from_json(sys.stdin.readline())

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        result = build(job, job.cancel_file.exists, lambda part: answer(done=part))
    except HideNerfError as error:
        answer(error=str(error), of_target=isinstance(error, TargetError))
    else:
        answer(result=result.to_dict())


def build(job: Job, cancelled: Callable[[], bool], advance: Callable[[float], None]) -> BuildResult:
    """Parse, audit and build a job's graph, and write the engine.

    job: what to build.
    cancelled: once it returns True, the build ends at its next step.
    advance: is called with the part done, from 0 to 1.
    Errors: what the library refuses, `TargetError` where another SM might do, an engine that cannot be written.
    """
    library = load_builder_library(job.backend)
    parsed = network_from_onnx(library, job.graph, job.graph.path.read_bytes(), job.plugin)
    layers = audit_layers(parsed.network, parsed.types)
    name = job.graph.name
    if uses(layers, "FP8") and job.sm < FIRST_SM_WITH_FP8:
        raise TargetError(
            f"{name}: it computes in FP8, which SM {job.sm} lacks; leave {job.sm} out of --sm, or export without FP8."
        )
    plan = build_plan(
        library,
        name,
        parsed,
        job.sm,
        precisions={layer.precision for layer in layers},
        plugin=job.plugin,
        timing_cache=job.timing_cache,
        cancelled=cancelled,
        advance=advance,
    )
    try:
        job.plan.write_bytes(plan)
    except OSError as error:
        raise cannot_write(job.plan, error.errno, error.strerror) from None
    outside = job.plugin is not None and job.plugin.read_bytes() not in plan
    in_fp32 = {str(node.name) for node in nodes_of_maps(ir.load(job.graph.path).graph)} if job.reduced else None
    if library.generation.strongly_typed:
        return BuildResult(summary(layers, in_fp32), layers, outside)
    found = inspect(library, name, plan, job.plugin if outside else None)
    counted = dataclasses.replace(summary(found, in_fp32), lowered=lowered(layers, found))
    return BuildResult(counted, found, outside)


def inspect(library: Library, graph: str, plan: bytes, plugin: Path | None) -> list[Layer]:
    """The layers of an engine, by TensorRT's inspector; on the GPU that it is for.

    library: what built it. graph: its name, for errors. plugin: its plugin's library, if it does not contain it.
    Errors: an engine that the library does not load.
    """
    runtime = library.trt.Runtime(library.logger)
    runtime.engine_host_code_allowed = True
    if plugin is not None:
        runtime.get_plugin_registry().load_library(str(plugin))
    library.logger.errors.clear()
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise HideNerfError(f"{graph}: {library.title} does not load the engine that it built ({library.reason()}).")
    inspector = engine.create_engine_inspector()
    return inspected_layers(inspector.get_engine_information(library.trt.LayerInformationFormat.JSON))


def _keep_stdout_for_answers() -> TextIO:
    """Return stdout, and send everything that libraries print to stderr from here on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
