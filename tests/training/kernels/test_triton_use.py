"""Where Triton kernels run, and what is said where they cannot."""

import threading
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from hidenerf.commands.train import main
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.kernels import triton_use
from hidenerf.training.kernels.triton_use import kernels_fit, power_of_two, triton_errors, without_triton


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


def in_triton(code: str) -> types.FunctionType:
    """A function `fail` as Triton's modules could have it."""
    module: dict[str, Any] = {"__name__": "triton.backends.nvidia.compiler"}
    exec(code, module)
    fail: types.FunctionType = module["fail"]
    return fail


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "def fail(): raise RuntimeError('Failed to find C compiler. Please specify via CC.')",
            "Failed to find C compiler. Please specify via CC",
        ),
        (
            "def fail():\n raise Exception('PTXAS error: exit code 255\\n`ptxas` stderr:\\nptxas fatal\\nRepro')",
            "PTXAS error: exit code 255",
        ),
        (
            "def fail():\n"
            " try: raise ValueError('shapes do not fit')\n"
            " except ValueError as error: raise Exception('at 3:4:\\n  x = f(y)\\n      ^') from error",
            "shapes do not fit",
        ),
    ],
)
def test_an_error_within_triton_is_one_sentence(code: str, told: str) -> None:
    with pytest.raises(HideNerfError) as caught, triton_errors("train with --no-triton"):
        in_triton(code)()
    assert str(caught.value) == f"A Triton kernel does not run on this GPU ({told}); train with --no-triton."


def test_errors_from_elsewhere_pass() -> None:
    with pytest.raises(ValueError, match="mine"), triton_errors("train with --no-triton"):
        raise ValueError("mine")


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(("options", "used", "message"), [([], True, "--no-triton"), (["--no-triton"], False, "mine")])
def test_the_option_of_hidenerf_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], used: bool, message: str
) -> None:
    found: list[bool] = []

    def trainer(*_: object) -> None:
        found.append(kernels_fit(torch.zeros(1)))
        if used:
            in_triton("def fail(): raise RuntimeError('no compiler')")()
        raise HideNerfError("mine")

    monkeypatch.setattr("hidenerf.training.loop.run.Trainer", trainer)
    arguments = ["--out", str(tmp_path / "out"), "--steps", "1", "--device", "cpu", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert found == [used]


def test_powers_of_two() -> None:
    assert [power_of_two(count) for count in (1, 2, 3, 32, 33)] == [1, 2, 4, 32, 64]
