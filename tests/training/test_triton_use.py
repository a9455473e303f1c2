"""Where Triton kernels run, and what is said where they cannot."""

import threading

import pytest
import torch

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training import triton_use
from hidenerf.training.triton_use import kernels_fit, power_of_two, triton_errors, without_triton


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Triton were there and interpreted."""
    monkeypatch.setattr(triton_use, "triton_installed", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.mark.usefixtures("interpreted")
def test_without_triton_holds_in_every_thread_and_ends() -> None:
    one = torch.zeros(1)
    assert kernels_fit(one)
    with without_triton():
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(kernels_fit(one)))
        thread.start()
        thread.join()
        with without_triton():
            pass
        assert found == [False]
        assert not kernels_fit(one)
    assert kernels_fit(one)


def test_tensors_of_a_cpu_are_not_for_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_use, "triton_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not kernels_fit(torch.zeros(1))


def test_an_error_of_triton_is_one_sentence_and_others_pass() -> None:
    error = type("OutOfResources", (Exception,), {"__module__": "triton.runtime.errors"})
    with pytest.raises(HideNerfError) as caught, triton_errors("train with --no-triton"):
        raise error("at 3:4:\nout of resource: shared memory, Required: 300000\n")
    assert str(caught.value) == (
        "A Triton kernel does not run on this GPU (out of resource: shared memory, Required: 300000); "
        "train with --no-triton."
    )
    with pytest.raises(ValueError, match="mine"), triton_errors("train with --no-triton"):
        raise ValueError("mine")


def test_powers_of_two() -> None:
    assert [power_of_two(count) for count in (1, 2, 3, 32, 33)] == [1, 2, 4, 32, 64]
