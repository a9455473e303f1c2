"""Use of Triton: decides whether Triton kernels run in place of PyTorch's functions, and words their errors."""

import contextlib
import functools
import importlib.util
import os
import traceback
from collections.abc import Iterator

import torch
from torch import Tensor

from hidenerf.runtime.errors import HideNerfError

# False within `without_triton`.
_expected = True


@functools.cache
def triton_installed() -> bool:
    """Whether the package `triton` can be imported; it comes with PyTorch for CUDA."""
    return importlib.util.find_spec("triton") is not None


def kernels_fit(tensor: Tensor) -> bool:
    """Whether the Triton kernels run on this tensor: it is on a CUDA device, or Triton's interpreter is on.

    They do not run while torch.compile traces, since it generates kernels of its own, nor within `without_triton`.
    """
    if not _expected or torch.compiler.is_compiling():
        return False
    return triton_installed() and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")


@contextlib.contextmanager
def without_triton() -> Iterator[None]:
    """Context in which PyTorch's functions run in place of the kernels, in all threads."""
    global _expected
    before, _expected = _expected, False
    try:
        yield
    finally:
        _expected = before


@contextlib.contextmanager
def triton_errors(remedy: str) -> Iterator[None]:
    """Context that turns errors of Triton, when a kernel cannot be compiled or started, into a HideNerfError.

    remedy: what to do, as the end of the sentence.
    """
    try:
        yield
    except Exception as error:
        # Some of Triton's errors have no class of their own, such as a missing C compiler: look at the traceback.
        frames = traceback.walk_tb(error.__traceback__)
        if not any(str(frame.f_globals.get("__name__")).split(".")[0] == "triton" for frame, _ in frames):
            raise
        raise HideNerfError(f"A Triton kernel does not run on this GPU ({_cause(error)}); {remedy}.") from None


def _cause(error: BaseException) -> str:
    """The most useful line of the innermost error: the first with "error" or "fatal" in it, or else the first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return next(iter(telling + lines), type(error).__name__).rstrip(".")


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least count."""
    return 1 << (count - 1).bit_length()
