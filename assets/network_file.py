"""Writes networks that are made from other projects' packages."""

from collections.abc import Callable
from pathlib import Path

import click
import onnx

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path


def write_network(package: Path, make: Callable[[], onnx.ModelProto], output: Path) -> None:
    """Make a network and write it; the file appears whole or not at all.

    package: what it is made from, which the errors of `make` get in front.
    """
    try:
        model = make()
    except HideNerfError as error:
        raise HideNerfError(f"{package}: {error}") from None
    with atomic_path(output) as partial:
        onnx.save(model, partial)
    click.echo(f"Network written to {output}.")
