"""The progress bar: with the time left, on a terminal only."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

import click

logger = logging.getLogger(__name__)

# From a number of frames (None where unknown) to a context that yields a function to call after each.
Progress = Callable[[int | None], contextlib.AbstractContextManager[Callable[[], None]]]


@contextlib.contextmanager
def progress_bar(length: int | None = None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each frame; it draws a bar on stderr.

    The bar is drawn only on a terminal, and only if notes are logged: not with `--quiet`.
    length: number of frames, None where unknown: then frames are counted without an estimate.
    """
    if not sys.stderr.isatty() or not logger.isEnabledFor(logging.INFO):
        yield lambda: None
        return
    if length is None:
        count = 0

        def advance() -> None:
            nonlocal count
            count += 1
            click.echo(f"\r{count} frames", nl=False, err=True)

        yield advance
        click.echo(err=True)
        return
    with click.progressbar(length=length, label="frames", show_pos=True, file=sys.stderr) as bar:
        yield lambda: bar.update(1)


@contextlib.contextmanager
def no_progress(_length: int | None) -> Iterator[Callable[[], None]]:
    """A `Progress` that shows nothing."""
    yield lambda: None
