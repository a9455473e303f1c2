"""Versions of hidenerf and of other packages, for the `generator` entries of the files that hidenerf writes."""

import importlib.metadata
from collections.abc import Iterable

from hidenerf import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """`hidenerf` and these installed packages, each with its version."""
    return {"hidenerf": __version__} | {name: importlib.metadata.version(name) for name in packages}
