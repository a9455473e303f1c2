"""One engine built in a process of its own, with a progress bar; Ctrl-C ends the build at its next step."""

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hidenerf.export.engines.build import TargetError
from hidenerf.export.engines.progress import build_bar
from hidenerf.export.engines.worker import Job
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import cannot_write
from hidenerf.runtime.tensorrt.engine_set import TITLES
from hidenerf.runtime.tensorrt.messages import plugin_refusal

# From <sys/personality.h>: the process gets the same addresses every time.
ADDR_NO_RANDOMIZE = 0x0040000
# What differs from call to call on one machine: where the caller stands, and the test that runs.
OWN_ENVIRONMENT = ("PWD", "OLDPWD", "PYTEST_CURRENT_TEST", "COLUMNS", "LINES")
WORKER = [sys.executable, "-m", "hidenerf.export.engines.worker"]


def build_engine(job: Job) -> dict[str, Any]:
    """Write the plan `job.plan`; returns what the network says for the sidecar (`worker.build`).

    Errors: what the library refuses, `TargetError` where another architecture might do, the library's crash, or a file
    that cannot be written.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hidenerf-engine-") as folder,
        tempfile.TemporaryFile() as errors,
        build_bar(f"SM {job.sm} {job.graph}") as moved,
    ):
        # Paths of the same length whoever builds: the process keeps them among what the library orders by address.
        inner = dataclasses.replace(job, source=f"{folder}/graph.onnx", plan=f"{folder}/graph.plan")
        _copy(Path(job.source), Path(inner.source))
        with subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Python looks for modules in the working folder first, and this one has none.
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in OWN_ENVIRONMENT}
            | {"PYTHONHASHSEED": "0"},
            preexec_fn=_repeatable() if job.backend == "tensorrt-rtx" else None,
        ) as child:
            try:
                answer = _converse(child, inner, moved)
            except BaseException:
                inner.cancel_file.touch()
                raise
        if "result" in answer:
            _copy(Path(inner.plan), Path(job.plan))
            return dict(answer["result"])
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
        if "error" in answer and (refused := plugin_refusal(job.graph, lines)):
            raise HideNerfError(refused)
        if "error" in answer:
            raise TargetError(answer["error"]) if answer["of_target"] else HideNerfError(answer["error"])
        raise _crash(job, child.returncode, lines)


def _copy(source: Path, target: Path) -> None:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise HideNerfError(f"{source}: cannot be read ({error.strerror}); check the file.") from None
    try:
        target.write_bytes(content)
    except OSError as error:
        raise cannot_write(target, error.errno, error.strerror) from None


def _repeatable() -> Callable[[], None] | None:
    """What makes TensorRT-RTX write the same bytes every time, to be done in the new process before it starts.

    It orders a graph's outputs by addresses, which follow from the system's dice and from the order in which its
    threads run: fixed addresses and one CPU leave no choice. Only Linux can; elsewhere, and where a container forbids
    it, a plan with several outputs may come out in another order, which is as good.
    """
    if sys.platform != "linux":
        return None
    personality = ctypes.CDLL(None).personality
    cpu = min(os.sched_getaffinity(0))

    def before_start() -> None:
        os.sched_setaffinity(0, {cpu})
        personality(ADDR_NO_RANDOMIZE)

    return before_start


def _converse(child: "subprocess.Popen[str]", job: Job, moved: Any) -> dict[str, Any]:
    """The worker's last answer, empty if it ended before it gave one."""
    assert child.stdin is not None
    assert child.stdout is not None
    answer: dict[str, Any] = {}
    try:
        child.stdin.write(job.to_json() + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        return answer
    for line in child.stdout:
        answer = json.loads(line)
        if "done" in answer:
            moved(answer["done"])
    return answer


def _crash(job: Job, status: int, lines: list[str]) -> HideNerfError:
    how = f"signal {-status}" if status < 0 else f"exit code {status}"
    said = f" ({lines[-1].strip()})" if lines else ""
    return HideNerfError(
        f"{job.graph}: {TITLES[job.backend]} crashed with {how} while it built for SM {job.sm}{said}; use another "
        "version of the library."
    )
