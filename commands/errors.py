"""What every command line of ours shares: errors as one sentence with exit code 2, never a traceback."""

import errno
import functools
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import click

from hidenerf.runtime.errors import HideNerfError

P = ParamSpec("P")
T = TypeVar("T")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def fail(message: str) -> NoReturn:
    """Print `Error: message` to stderr and exit with code 2."""
    click.echo(f"Error: {message}", err=True)
    raise SystemExit(EXIT_USER_ERROR)


def user_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator for a command's body: `HideNerfError` and a full disk end as one sentence, Ctrl-C as exit code 130."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except HideNerfError as error:
            fail(str(error))
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                fail(f"The disk is full ({error.filename or 'while writing'}); free some space and run again.")
            raise

    return wrapper
