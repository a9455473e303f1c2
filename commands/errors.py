"""Errors and exit codes that all commands share: one sentence on stderr, never a traceback for what a user can mend."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from hidenerf.runtime.errors import HideNerfError

EXIT_PARITY_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def fail(message: str) -> NoReturn:
    """Print `Error: message` to stderr and exit with code 2."""
    click.echo(f"Error: {message}", err=True)
    raise SystemExit(EXIT_USER_ERROR)


@contextmanager
def user_errors(extra: str | None = None) -> Iterator[None]:
    """For a command's body: what a user can mend ends as one sentence with exit code 2, Ctrl-C with exit code 130.

    These are `HideNerfError`, a full disk, and a package that is not installed. extra: the extra of hidenerf that
    brings what the command imports; None for a command that needs no extra, where a missing package is a bug.
    """
    try:
        yield
    except HideNerfError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        if extra is None or error.name is None or error.name.split(".")[0] == "hidenerf":
            raise
        fail(
            f"This command needs the package {error.name}, which is not installed; install it with: "
            f"pip install 'hidenerf[{extra}]'"
        )
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fail(f"The disk is full ({error.filename or 'while writing'}); free some space and run again.")
        raise
