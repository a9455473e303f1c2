"""Whether Triton kernels run in place of PyTorch's own functions, and what they share."""

import contextlib
import functools
import importlib.util
import os
import traceback
from collections.abc import Iterator

import torch
from torch import Tensor

from hidenerf.runtime.errors import HideNerfError

_expected = True


@functools.cache
def triton_installed() -> bool:
    """Whether the package `triton` can be imported; it comes with PyTorch for CUDA."""
    return importlib.util.find_spec("triton") is not None


def kernels_fit(tensor: Tensor) -> bool:
    """Whether the Triton kernels can take this tensor: on a CUDA device, or anywhere in Triton's interpreter.

    Not while torch.compile traces, which makes kernels of its own, nor within `without_triton`.
    """
    if not _expected or torch.compiler.is_compiling():
        return False
    return triton_installed() and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")


@contextlib.contextmanager
def without_triton() -> Iterator[None]:
    """Within, in all threads, PyTorch's own functions run: the definitions of what the kernels compute."""
    global _expected
    before, _expected = _expected, False
    try:
        yield
    finally:
        _expected = before


@contextlib.contextmanager
def triton_errors(remedy: str) -> Iterator[None]:
    """Tell of a kernel that cannot be compiled or started on this GPU in one sentence, which ends in the remedy."""
    try:
        yield
    except Exception as error:
        # Some of Triton's errors are of no class of its own, such as that there is no C compiler.
        frames = traceback.walk_tb(error.__traceback__)
        if not any(str(frame.f_globals.get("__name__")).split(".")[0] == "triton" for frame, _ in frames):
            raise
        raise HideNerfError(f"A Triton kernel does not run on this GPU ({_cause(error)}); {remedy}.") from None


def _cause(error: BaseException) -> str:
    """The line that says most of an error: of the innermost one's, the first that names an error, or the first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return next(iter(telling + lines), type(error).__name__).rstrip(".")


def power_of_two(count: int) -> int:
    """The least power of two that is not below count."""
    return 1 << (count - 1).bit_length()
