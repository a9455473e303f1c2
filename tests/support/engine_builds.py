"""Builds of engines: their jobs, where they go, and a progress bar that sends Ctrl-C."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hidenerf.export.engines.builder_library import load_builder_library
from hidenerf.export.engines.targets import choose_targets
from hidenerf.export.engines.worker import Job
from hidenerf.export.engines.writer import write_engines
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_folder
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.sm import gpu_sm
from hidenerf.runtime.tensorrt.engine_set import set_folder
from hidenerf.runtime.tensorrt.library import load_library
from tests.support.made_once import MadeOnce
from tests.support.networks import rtx


def job(graph: GraphSpec, folder: Path, sm: int = 86) -> Job:
    """The job of building `graph` with TensorRT-RTX into folder/out/net.plan."""
    (folder / "out").mkdir()
    return Job("tensorrt-rtx", sm, graph, reduced=False, plan=folder / "out" / "net.plan")


def set_of(bundle: Path, sm: int) -> Path:
    """Where a bundle's TensorRT-RTX engines for an SM lie."""
    return set_folder(bundle, "tensorrt-rtx", rtx().version, sm)


@contextmanager
def interrupting_bar(_label: str) -> Iterator[Callable[[float], None]]:
    """Stands for `build_bar`: at the first progress it interrupts this process."""
    sent: list[float] = []

    def interrupt(part: float) -> None:
        if not sent:
            sent.append(part)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    yield interrupt


def build_engines(bundle: Bundle, backend: str) -> None:
    """Build the engines for this machine's GPU; skips where the library does not run here."""
    try:
        load_library(backend)
        Device().close()
        sm = str(gpu_sm()) if backend == "tensorrt-rtx" else None
        write_engines(bundle.folder, choose_targets(load_builder_library(backend), sm))
    except HideNerfError as error:
        pytest.skip(f"{error}")


def with_engines(bundle: Path, made_once: MadeOnce, backend: str) -> Bundle:
    """A copy of a bundle with engines for this machine's GPU, built once a run: that takes TensorRT minutes."""

    def fill(folder: Path) -> None:
        with atomic_folder(folder) as partial:
            shutil.copytree(bundle, partial, dirs_exist_ok=True)
            build_engines(open_bundle(partial), backend)

    return open_bundle(made_once(f"engines-{backend}", fill))


def bundle_for_gpu(request: pytest.FixtureRequest) -> Path:
    """A bundle to build engines of: HIDENERF_GPU_BUNDLE, on a machine that cannot export one, or a small one."""
    given = os.environ.get("HIDENERF_GPU_BUNDLE")
    return Path(given) if given else Path(request.getfixturevalue("bundle_fp16"))
