"""`load_library`: the installed Python module of TensorRT or TensorRT-RTX, with its logger.

The builder (`hidenerf.export.engines`) and the backends that run engines load it here.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.backends.registry import backend_entry
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.generations import Generation, generation_of
from hidenerf.runtime.tensorrt.messages import first_cause, plain

LEAN = "tensorrt_lean"
# Modules of each backend: the first that is installed is taken. Only the first of each can build engines.
MODULES = {"tensorrt": ("tensorrt", LEAN), "tensorrt-rtx": ("tensorrt_rtx",)}


@dataclass(frozen=True)
class Library:
    """A loaded library.

    backend: "tensorrt" or "tensorrt-rtx".
    version: such as "10.12.0.36".
    trt: the Python module. Of what we use, `tensorrt` and `tensorrt_rtx` differ only in ComputeCapability.
    logger: TensorRT's logger; its list `errors` holds the errors reported since it was last cleared, and `listener` may
        be a function that is called with every message, however small.
    """

    backend: str
    version: str
    trt: Any
    logger: Any

    @property
    def title(self) -> str:
        """Name and version for messages, such as "TensorRT-RTX 1.7.1.116"."""
        return f"{backend_entry(self.backend).title} {self.version}"

    @property
    def generation(self) -> Generation:
        """What this version spells in its own way."""
        return generation_of(self.backend, self.version)

    @property
    def is_lean(self) -> bool:
        """Whether this is TensorRT's lean runtime, which cannot build and loads only version-compatible plans."""
        return bool(self.trt.__name__ == LEAN)

    def reason(self) -> str:
        """The first error since the logger was last cleared, without codes and source lines."""
        return plain(first_cause(self.logger.errors) or "it gives no reason")


def pip_command(backend: str) -> str:
    """The end of a sentence about a missing package of a backend."""
    return f"install it with: pip install 'hidenerf[{backend}]'"


def load_library(backend: str, *, builds: bool = False) -> Library:
    """Import the installed library of a backend.

    backend: "tensorrt" or "tensorrt-rtx".
    builds: whether it must be able to build engines; otherwise the lean runtime will do.
    Errors: the package is missing, does not load, or is too old; each names the pip command.
    """
    trt = _import(backend, MODULES[backend][:1] if builds else MODULES[backend])
    version = str(trt.__version__)
    try:
        generation_of(backend, version)
    except HideNerfError as error:
        raise HideNerfError(f"{error}, elsewhere {pip_command(backend)}") from None
    return Library(backend, version, trt, error_logger(trt))


@functools.cache
def error_logger(trt: Any) -> Any:
    """A logger of the module `trt` with a list `errors`. One per process: TensorRT keeps the first it is given."""

    class ErrorLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.listener: Callable[[str], None] | None = None

        def log(self, severity: Any, message: str) -> None:
            if self.listener is not None:
                self.listener(message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return ErrorLogger()


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
