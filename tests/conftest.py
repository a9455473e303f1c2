"""Real media in `../shared/data` beside the checkout, without which tests that need it skip, and small bundles."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import made_once as made_once_module
from tests.support.exported_presets import Exported, export_preset
from tests.support.made_once import MadeOnce, make_once

# Started in the background by a shell, we ignore Ctrl-C, and so would the commands whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Of pytest-xdist, "gw0" and so on. Each has a processor of its own, children included: threads of two workers that
# wait for each other cost more than they bring, and TensorRT-RTX builds on the first processor that it may use.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER is not None and hasattr(os, "sched_setaffinity"):
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[int(WORKER.removeprefix("gw")) % len(processors)]})

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Fixtures that compile kernels, export a model, calibrate or build the wheel: tests that need one are slow.
# `bundle_fp32` is exported for the quick tests too.
BUILDS = {"bundle_aligned", "emulated_kernels", "exported_preset", "plan_path", "wheel"}

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function):
            # A parameter may be a fixture's name, or that of an aligned model's graph (tests/support/exported.py).
            parameters = [value for value in _parameters(item) if isinstance(value, str)]
            aligned = any(value.startswith("aligned ") for value in parameters)
            if aligned or BUILDS.intersection([*item.fixturenames, *parameters]):
                item.add_marker(pytest.mark.slow)


def _parameters(item: pytest.Function) -> list[object]:
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


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


@pytest.fixture(scope="session", autouse=True)
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    made_once_module.shared[:] = [own if WORKER is None else own.parent]
    return made_once_module.shared[0]


@pytest.fixture(scope="session")
def made_once(run_folder: Path) -> MadeOnce:
    """Folder `name`, filled by the first test process that asks for it, whole or not at all; the others wait."""
    return lambda name, fill: make_once(run_folder / name, fill)


@pytest.fixture(scope="session")
def emulated_kernels(run_folder: Path) -> Path:
    """Where the emulated kernels' libraries lie (tests/support/kernels/emulated.py), each compiled once a run."""
    folder = run_folder / "emulated-kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def bundle_fp32(made_once: MadeOnce) -> Path:
    """A bundle of a small untrained model with the shipped face model; not to be changed, copy it for that."""
    from tests.support.bundles import write_untrained
    from tests.support.tiny import TINY

    return made_once("bundle-fp32", lambda folder: write_untrained(TINY, folder))


@pytest.fixture(scope="session")
def bundle_fp16(made_once: MadeOnce, bundle_fp32: Path) -> Path:
    """The same in FP16."""
    from hidenerf.export.precision import FloatPrecision
    from tests.support.bundles import graphs_of, write_untrained
    from tests.support.tiny import TINY

    def fill(folder: Path) -> None:
        with graphs_of(bundle_fp32):
            write_untrained(TINY, folder, precision=FloatPrecision.FP16)

    return made_once("bundle-fp16", fill)


@pytest.fixture(scope="session")
def bundle_aligned(made_once: MadeOnce) -> Path:
    """The same in FP32 with an aligned identity path."""
    from tests.support.bundles import write_untrained
    from tests.support.tiny import TINY_ALIGNED

    return made_once("bundle-aligned", lambda folder: write_untrained(TINY_ALIGNED, folder))


@pytest.fixture(scope="session")
def exported_preset(made_once: MadeOnce) -> Callable[[str], Exported]:
    """Preset → what `hidenerf-export` makes of it."""
    return lambda preset: export_preset(preset, made_once)
