"""The console: a command's result on stdout, log records on stderr, and what `--verbose` and `--quiet` change."""

import logging
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
            click.echo(self.format(record), err=True)
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
        click.echo(text)
