"""`build_engine`: one engine built in a process of its own, with a progress bar. Ctrl-C ends it at its next step."""

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
from hidenerf.export.engines.worker import BuildResult, Job
from hidenerf.runtime.backends.registry import backend_entry
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path, cannot_write
from hidenerf.runtime.tensorrt.messages import plugin_refusal

# From <sys/personality.h>: no address randomisation.
ADDR_NO_RANDOMIZE = 0x0040000
# Variables that differ from call to call on one machine: the caller's folder, its terminal, the running test.
OWN_ENVIRONMENT = ("PWD", "OLDPWD", "PYTEST_CURRENT_TEST", "COLUMNS", "LINES")
WORKER = [sys.executable, "-m", "hidenerf.export.engines.worker"]


def build_engine(job: Job) -> BuildResult:
    """Build an engine and write it to `job.plan`.

    Errors: what the library refuses, `TargetError` where another SM might do, a crash of the library, a file that
    cannot be read or written.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hidenerf-engine-") as folder,
        tempfile.TemporaryFile() as errors,
        build_bar(f"SM {job.sm} {job.graph.name}") as advance,
    ):
        # Paths of one length for every caller: they are in memory among what the library orders by address.
        graph = dataclasses.replace(job.graph, path=Path(folder, "graph.onnx"))
        timings = None if job.timing_cache is None else Path(folder, "graph.timing")
        inner = dataclasses.replace(job, graph=graph, plan=Path(folder, "graph.plan"), timing_cache=timings)
        _copy(job.graph.path, inner.graph.path)
        if job.timing_cache is not None and timings is not None and job.timing_cache.is_file():
            _copy(job.timing_cache, timings)
        with subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Python looks for modules in the working folder first; this one has none.
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in OWN_ENVIRONMENT}
            | {"PYTHONHASHSEED": "0"},
            preexec_fn=_repeatable() if job.backend == "tensorrt-rtx" else None,
        ) as child:
            try:
                answer = _converse(child, inner, advance)
            except BaseException:
                inner.cancel_file.touch()
                raise
        if "result" in answer:
            _copy(inner.plan, job.plan)
            if job.timing_cache is not None and timings is not None and timings.is_file():
                with atomic_path(job.timing_cache) as partial:
                    _copy(timings, partial)
            return BuildResult.from_dict(answer["result"])
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
        if "error" in answer and (refused := plugin_refusal(job.graph.name, lines)):
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
    """What to run in the new process before it starts, so that TensorRT-RTX writes the same bytes every time.

    TensorRT-RTX orders a graph's outputs by address. Addresses depend on address randomisation and on the order in
    which threads run, so both are fixed: no randomisation, one CPU. Only Linux can do that. Elsewhere, and where a
    container forbids it, an engine may have its outputs in another order, which works as well.
    """
    if sys.platform != "linux":
        return None
    personality = ctypes.CDLL(None).personality
    cpu = min(os.sched_getaffinity(0))

    def before_start() -> None:
        os.sched_setaffinity(0, {cpu})
        personality(ADDR_NO_RANDOMIZE)

    return before_start


def _converse(child: "subprocess.Popen[str]", job: Job, advance: Callable[[float], None]) -> dict[str, Any]:
    """Give the worker its job. Returns its last answer, empty if it ended before it gave one."""
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
            advance(answer["done"])
    return answer


def _crash(job: Job, status: int, lines: list[str]) -> HideNerfError:
    how = f"signal {-status}" if status < 0 else f"exit code {status}"
    last_line = f" ({lines[-1].strip()})" if lines else ""
    return HideNerfError(
        f"{job.graph.name}: {backend_entry(job.backend).title} crashed with {how} while it built for SM {job.sm}"
        f"{last_line}; use another version of the library."
    )
