"""The progress bar: with the time left, on a terminal only."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def progress_bar(length: int | None, quiet: bool) -> Iterator[Callable[[], None]]:
    """Yield a function to call once per frame; it draws on stderr, and nothing if `quiet` or not a terminal.

    length: number of frames, None where unknown: then frames are counted without an estimate.
    """
    if quiet or not sys.stderr.isatty():
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
