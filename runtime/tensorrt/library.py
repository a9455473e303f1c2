"""Which TensorRT is this: the installed Python module of a backend, its logger, and what its errors say.

Asked by the builder (`hidenerf.export.engines`) and by the backend that runs engines.
"""

import functools
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.engine_set import TITLES

# In the order in which they are taken if several are installed. The first of each builds engines too.
LEAN = "tensorrt_lean"
MODULES = {"tensorrt": ("tensorrt", LEAN), "tensorrt-rtx": ("tensorrt_rtx",)}
# The first whose contexts are told the size of the memory they are given, and whose parser knows IPluginV3.
OLDEST_TENSORRT = (10, 1)

# On a machine without a driver TensorRT-RTX reports this after every other error.
_NO_DRIVER = "cudaError 35"


@dataclass(frozen=True)
class Library:
    """trt: the Python module; `tensorrt` and `tensorrt_rtx` spell what is used of them alike, but ComputeCapability.

    logger: TensorRT's, whose list `errors` holds what the library reported as errors since it was last cleared.
    """

    backend: str
    version: str
    trt: Any
    logger: Any

    @property
    def title(self) -> str:
        """As in "TensorRT-RTX 1.7.1.116"."""
        return f"{TITLES[self.backend]} {self.version}"

    @property
    def is_lean(self) -> bool:
        """Whether this is TensorRT's lean runtime, which builds nothing and loads version-compatible plans only."""
        return bool(self.trt.__name__ == LEAN)

    def reason(self) -> str:
        """The first error since the logger was last cleared, without codes and source lines."""
        return plain(first_cause(self.logger.errors) or "it gives no reason")


def pip_command(backend: str) -> str:
    """As the end of a sentence about a missing package."""
    return f"install it with: pip install 'hidenerf[{backend}]'"


def import_library(backend: str, *, builds: bool) -> Library:
    """The installed library of `backend`, "tensorrt" or "tensorrt-rtx". builds: to build engines, else to run them.

    Errors: the package is missing, does not load, or is too old; each names the pip command.
    """
    trt = _import(backend, MODULES[backend][:1] if builds else MODULES[backend])
    version = str(trt.__version__)
    if backend == "tensorrt" and tuple(map(int, version.split(".")[:2])) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise HideNerfError(f"TensorRT {version} is too old, {oldest} or newer is needed; {pip_command(backend)}")
    return Library(backend, version, trt, error_logger(trt))


@functools.cache
def error_logger(trt: Any) -> Any:
    """A logger of the module `trt` with a list `errors`; one a process, since TensorRT keeps the first it is given."""

    class ErrorLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return ErrorLogger()


def first_cause(errors: Sequence[str]) -> str | None:
    """The first error, which is the cause of the others; None if there is none."""
    return next((error for error in errors if _NO_DRIVER not in error), errors[0] if errors else None)


def plain(message: str) -> str:
    """One of the library's messages without source lines, error codes and consequences of a missing driver.

    >>> plain("IBuilder::build: Error Code 4: API Usage Error (no outputs. In validate at /_src/network.cpp:3810)")
    'no outputs'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    lines = [line for line in lines if _NO_DRIVER not in line] or lines
    lines = [line for line in lines if not line.startswith("Invalid Node - ")] or lines
    text = lines[0] if lines else ""
    # "…: Error Code 1: Myelin ([pass.cpp:337: check] … In compileGraph at /_src/…)"
    if found := re.search(r"Error Code \d+: [\w ]+ \((.*)\)$", text):
        text = found[1]
    # What CUDA says stands behind the place in the sources.
    text = re.sub(r"\s*\bIn \w+ at \S+", "", text).strip()
    if found := re.fullmatch(r"\(cudaError \d+: (.*)\)", text):
        text = found[1]
    text = re.sub(r"^\[[\w./]+:\d+: \w+\] ", "", text)
    text = re.sub(r"^Assertion failed: .*?: ", "", text)
    if found := re.fullmatch(r'.* && "(.*)"', text):
        text = found[1]
    return text.rstrip(".;?! ")


def _import(backend: str, names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise HideNerfError(f"The Python package {name} needs {error.name}; {pip_command(backend)}") from None
        except (ImportError, OSError, RuntimeError) as error:
            raise HideNerfError(f"The Python package {name} does not load ({error}); {pip_command(backend)}") from None
    raise HideNerfError(f"--backend {backend} needs the Python package {names[0]}; {pip_command(backend)}")
