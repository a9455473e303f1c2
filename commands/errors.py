"""Errors and exit codes that all commands share: one sentence on stderr, never a traceback for what a user can mend."""

import errno
import importlib.metadata
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from hidenerf.commands.console import print_line
from hidenerf.commands.signals import TerminatedError
from hidenerf.runtime.errors import HideNerfError

EXIT_PARITY_FAILED = 1
EXIT_USER_ERROR = 2
# Plus the signal's number, as shells have it; Ctrl-C is SIGINT.
EXIT_BY_SIGNAL = 128
EXIT_INTERRUPTED = EXIT_BY_SIGNAL + signal.SIGINT

_OURS = "hidenerf"


def fail(message: str) -> NoReturn:
    """Print `Error: message` to stderr and exit with code 2."""
    print_line(f"Error: {message}", err=True)
    raise SystemExit(EXIT_USER_ERROR)


@contextmanager
def user_errors(extra: str | None = None) -> Iterator[None]:
    """For a command's body: what a user can mend ends as one sentence with exit code 2, Ctrl-C with exit code 130.

    These are `HideNerfError`, an error of OpenCV, a full disk, and a package that is not installed or does not load.
    extra: the extra of hidenerf that brings what the command imports; None for a command that needs no extra, where a
    missing package is a bug.
    """
    try:
        yield
    except HideNerfError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        if extra is None or error.name is None or error.name.split(".")[0] == _OURS:
            raise
        fail(
            f"This command needs the package {error.name}, which is not installed; install it with: "
            f"pip install 'hidenerf[{extra}]'"
        )
    except ImportError as error:
        package = _package_that_fails(error)
        if package is None or package == _OURS:
            raise
        _fail_to_load(package, error)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, TerminatedError) else signal.SIGINT
        print_line(f"Ended by {signal.Signals(number).name}." if number != signal.SIGINT else "Interrupted.", err=True)
        raise SystemExit(EXIT_BY_SIGNAL + number) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fail(f"The disk is full ({error.filename or 'while writing'}); free some space and run again.")
        # Of the dynamic loader, as `ctypes` passes it on.
        if error.errno is None and (package := _package_that_fails(error)) is not None:
            _fail_to_load(package, error)
        raise
    except Exception as error:
        # OpenCV is not imported here: --help must not wait for it.
        if type(error).__module__ != "cv2":
            raise
        what = " ".join(str(getattr(error, "err", None) or error).split())
        fail(f"OpenCV cannot process this input ({what}); try a smaller picture or another file.")


def _fail_to_load(package: str, error: ImportError | OSError) -> NoReturn:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    (distribution, *_) = importlib.metadata.packages_distributions().get(package, [package])
    fail(
        f"The package {package} is installed but does not load ({reason}); install what it lacks, or the package anew: "
        f"pip install --force-reinstall {distribution}"
    )


def _package_that_fails(error: ImportError | OSError) -> str | None:
    """The package that was being imported when its code or its library failed; None where it was not a package."""
    modules, trace = [], error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__")).split(".")[0])
        trace = trace.tb_next
    imported = modules[modules.index("importlib") :] if "importlib" in modules else []
    package = next((name for name in reversed(imported) if name not in sys.stdlib_module_names), _OURS)
    if package != _OURS:
        return package
    # An extension module that our own line imports. A name that a module lacks also has a path.
    if isinstance(error, ImportError) and error.path is not None and not str(error).startswith("cannot import name"):
        return str(error.name).split(".")[0]
    return None
