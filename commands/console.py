"""The console: a command's result on stdout, log records on stderr, and what `--verbose` and `--quiet` change.

Whoever reads the output may go away (`… | head -1`, a closed terminal) or be unable to show a character (cp437).
Neither ends a command.
"""

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

LIBRARY = logging.getLogger("hidenerf")
# Of all commands. `__name__` would not do: it is "__main__" in a module that is run with `python -m`.
logger = LIBRARY.getChild("commands")


class _StderrHandler(logging.Handler):
    """Writes each record as one line to what `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print_line(self.format(record), err=True)
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Within the block, log records of hidenerf from `level` on go to stderr.

    level: `logging.DEBUG` also shows the name of each record's logger; other levels show plain messages.
    """
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s" if level <= logging.DEBUG else "%(message)s"))
    before = LIBRARY.level, LIBRARY.propagate
    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(level)
    # A package that configures the root logger, as absl does, would print each record a second time.
    LIBRARY.propagate = False
    try:
        yield
    finally:
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(before[0])
        LIBRARY.propagate = before[1]


def is_quiet() -> bool:
    """Whether notes and results are switched off: `--quiet` was given."""
    return not LIBRARY.isEnabledFor(logging.INFO)


def verbosity() -> list[str]:
    """The options that make another command of ours as verbose or quiet as this one."""
    return ["--quiet"] if is_quiet() else ["--verbose"] if LIBRARY.isEnabledFor(logging.DEBUG) else []


def print_result(text: str) -> None:
    """Print a command's result to stdout; nothing with `--quiet`."""
    if not is_quiet():
        print_line(text)


def print_line(text: str, *, err: bool = False) -> None:
    """Print a line to stdout, or to stderr; once nobody reads that stream, it goes nowhere."""
    try:
        click.echo(text, err=err)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        _discard(sys.stderr if err else sys.stdout)


def show_any_character() -> None:
    """Characters that a terminal's encoding lacks are shown as question marks from now on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _discard(stream: object) -> None:
    """Send what a stream still holds, and what comes later, nowhere: Python would complain at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
