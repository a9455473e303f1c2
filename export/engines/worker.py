"""The process that builds one engine (started by `process.py`).

Each engine is built in a new process because TensorRT-RTX orders a graph's outputs by address: in one that has built
before, the same graph gives other bytes. A library that crashes takes only this process with it.

The job comes as a line of JSON on stdin. Lines of JSON go out on stdout: `{"done": 0.5}`, and last `{"result": …}` or
`{"error": …, "of_target": …}`. The build is cancelled by a file that the parent makes; when the parent dies,
writing the next line ends the process.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from hidenerf.export.engines.audit import as_dicts, audit_layers, summary, uses
from hidenerf.export.engines.build import TargetError, plan_from_network
from hidenerf.export.engines.libraries import load_library
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import cannot_write
from hidenerf.runtime.tensorrt.engine_set import tensor_specs

FIRST_SM_WITH_FP8 = 89


@dataclass(frozen=True)
class Job:
    """One engine to build. source, plan: absolute paths. inputs, outputs: as in the manifest. reduced: not FP32.

    plugin: absolute path of the library of the plugins that are to take the graph's nodes, if any.
    """

    backend: str
    sm: int
    graph: str
    source: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    reduced: bool
    plan: str
    plugin: str | None = None

    @property
    def cancel_file(self) -> Path:
        """The build ends once this exists."""
        return Path(self.plan).with_suffix(".cancel")

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    """Read the job from stdin, build the engine, and answer on stdout, as the module says."""
    # Ctrl-C in a terminal reaches this process too; the parent is to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _keep_stdout_for_answers()
    job = Job(**json.loads(sys.stdin.readline()))

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        result = build(job, job.cancel_file.exists, lambda part: answer(done=part))
    except HideNerfError as error:
        answer(error=str(error), of_target=isinstance(error, TargetError))
    else:
        answer(result=result)


def build(job: Job, cancelled: Callable[[], bool], moved: Callable[[float], None]) -> dict[str, Any]:
    """Parse, audit, build and write the plan; returns the sidecar's `inputs`, `outputs`, `precision`, `layers`.

    And `plugin_outside`: whether the plan was to carry the plugin's library and does not.
    """
    library = load_library(job.backend)
    graph = GraphSpec(job.graph, Path(job.source), tensor_specs(job.inputs), tensor_specs(job.outputs))
    plugin = Path(job.plugin) if job.plugin else None
    parsed = network_from_onnx(library, graph, graph.path.read_bytes(), plugin)
    layers = audit_layers(parsed.network)
    if uses(layers, "FP8") and job.sm < FIRST_SM_WITH_FP8:
        raise TargetError(
            f"{job.graph}: it computes in FP8, which SM {job.sm} lacks; leave {job.sm} out of --sm, or export without "
            "FP8."
        )
    plan = plan_from_network(library, job.graph, parsed, job.sm, plugin=plugin, cancelled=cancelled, moved=moved)
    try:
        Path(job.plan).write_bytes(plan)
    except OSError as error:
        raise cannot_write(Path(job.plan), error.errno, error.strerror) from None
    return {
        "inputs": as_dicts(parsed.inputs),
        "outputs": as_dicts(parsed.outputs),
        "precision": summary(layers, job.reduced),
        "layers": as_dicts(layers),
        "plugin_outside": plugin is not None and plugin.read_bytes() not in plan,
    }


def _keep_stdout_for_answers() -> TextIO:
    """What libraries print goes to stderr from here on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
