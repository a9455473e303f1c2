"""Things that a test run makes once, whichever of its processes asks first."""

import fcntl
from collections.abc import Callable
from pathlib import Path

# Name of the folder, and what fills it.
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


# What the processes of the run share, for helpers that are no fixtures; set by tests/conftest.py.
shared: list[Path] = []


def make_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Return `folder`, filled by the first process that asks for it; other processes wait.

    folder: a place that all processes of the run share. fill: makes the folder, whole or not at all.
    """
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fill(folder)
    return folder
