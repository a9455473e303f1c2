"""Whether there is an NVIDIA GPU, and that a backend of the user's own opens like ours.

What `auto` takes and says is tested with each backend: test_onnxruntime_cuda.py, test_tensorrt.py.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from hidenerf.runtime.backends import open as backend_choice
from hidenerf.runtime.backends import registry
from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpuBackend
from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.backends.registry import BACKENDS, BackendEntry
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.profiling import StageTimes
from tests.support.log_lines import log_lines


class OwnBackend(OnnxRuntimeCpuBackend):
    """One file..."""

    name = "own"


def test_one_entry_adds_a_backend_and_auto_takes_the_first(bundle_fp16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(bundle_fp16)
    monkeypatch.setattr(BackendEntry, "load", lambda _: OwnBackend)
    own = BackendEntry("own", "our own", "hidenerf.own:OwnBackend")
    for module in (registry, backend_choice):
        monkeypatch.setattr(module, "BACKENDS", (own, *BACKENDS))
    with log_lines() as lines:
        for name in ("own", "auto"):
            backend = open_backend(name, bundle, StageTimes())
            assert backend.name == "own"
            backend.close()
    (line,) = lines
    assert line.startswith("Running on our own. Not on TensorRT: the bundle has no engines")


@pytest.mark.parametrize(("status", "devices", "found"), [(0, 2, True), (0, 0, False), (100, 1, False)])
def test_the_driver_is_asked_for_gpus(monkeypatch: pytest.MonkeyPatch, status: int, devices: int, found: bool) -> None:
    """status: what the driver's initialisation says, 100 being that there is no device."""

    class Driver:
        def cuInit(self, _flags: int) -> int:  # noqa: N802 (the driver's name)
            return status

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 (the driver's name)
            count._obj.value = devices
            return 0

    monkeypatch.setattr(backend_choice.ctypes, "CDLL", lambda _name: Driver())
    assert backend_choice.has_nvidia_gpu() == found


@pytest.mark.gpu
@pytest.mark.skipif(torch.version.cuda is None, reason="PyTorch without CUDA")
def test_a_gpu_is_found_without_any_package() -> None:
    assert backend_choice.has_nvidia_gpu() == torch.cuda.is_available()
