"""The GPU's SM, and the SM that kernels are compiled for."""

from typing import Any

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels import launch, sm
from hidenerf.runtime.kernels.launch import kernel_sm
from hidenerf.runtime.kernels.sm import NoGpuError, gpu_sm


class FakeCore:
    """`cuda.core` with a GPU of this compute capability, or with none."""

    def __init__(self, capability: tuple[int, int] | None) -> None:
        self.capability = capability

    def Device(self) -> Any:  # noqa: N802 (cuda.core's name)
        if self.capability is None:
            raise RuntimeError("CUDA driver is not installed")
        return type("Device", (), {"compute_capability": self.capability, "set_current": lambda _: None})()


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), 75), ((8, 6), 86), ((9, 0), 90), ((12, 1), 121)])
def test_the_sm_is_the_compute_capability_as_a_number(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: int
) -> None:
    monkeypatch.setattr(sm, "cuda_core", lambda: FakeCore(capability))
    assert gpu_sm() == expected


def test_no_gpu_is_one_sentence_with_cuda_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm, "cuda_core", lambda: FakeCore(None))
    with pytest.raises(
        NoGpuError, match=r"^No NVIDIA GPU is usable \(CUDA driver is not installed\); run with"
    ) as caught:
        gpu_sm()
    assert caught.value.reason == "CUDA driver is not installed"


@pytest.mark.parametrize(("here", "expected"), [(75, 75), (86, 86), (88, 87), (103, 100), (122, 121), (130, 130)])
def test_kernels_are_compiled_for_the_newest_sm_whose_code_runs_here(
    monkeypatch: pytest.MonkeyPatch, here: int, expected: int
) -> None:
    """Machine code runs on later minor versions of its major version."""
    monkeypatch.setattr(launch, "gpu_sm", lambda: here)
    assert kernel_sm() == expected


def test_too_old_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "gpu_sm", lambda: 70)
    with pytest.raises(HideNerfError, match=r"compute capability 7\.0, below 7\.5; run with --backend onnxruntime-cpu"):
        kernel_sm()
