"""Real media in `../shared/data` beside the checkout, without which tests that need it skip, and small bundles."""

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Started in the background by a shell, we ignore Ctrl-C, and so would the commands whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Of pytest-xdist, "gw0" and so on. Each has a processor of its own, children included: threads of two workers that
# wait for each other cost more than they bring, and TensorRT-RTX builds on the first processor that it may use.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER is not None and hasattr(os, "sched_setaffinity"):
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[int(WORKER.removeprefix("gw")) % len(processors)]})

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is absent: no real portraits and clips here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def face_landmarker(shared_data: Path) -> Path:
    path = shared_data / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the tracker's model is needed here")
    pytest.importorskip("mediapipe", reason="mediapipe is not installed (extra [track])")
    return path


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Folder `name`, filled by the first test process that asks for it, whole or not at all; the others wait."""
    own = tmp_path_factory.getbasetemp()
    shared = own if WORKER is None else own.parent

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / name).exists():
                fill(shared / name)
        return shared / name

    return folder_of


@pytest.fixture(scope="session")
def bundle_fp32(made_once: MadeOnce) -> Path:
    """A bundle of a small untrained model with the shipped face model; not to be changed, copy it for that."""
    from tests.support.bundles import SMALL, write_untrained

    return made_once("bundle-fp32", lambda folder: write_untrained(SMALL, folder))


@pytest.fixture(scope="session")
def bundle_fp16(made_once: MadeOnce, bundle_fp32: Path) -> Path:
    """The same in FP16."""
    from tests.support.bundles import SMALL, graphs_of, write_untrained

    def fill(folder: Path) -> None:
        with graphs_of(bundle_fp32):
            write_untrained(SMALL, folder, half=True)

    return made_once("bundle-fp16", fill)
