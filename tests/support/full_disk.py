"""Run a command whose output folder is a small file system of its own, so that the disk is really full."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@functools.cache
def _can_mount(folder: str) -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", folder]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def run_on_small_disk(folder: Path, kilobytes: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` with a tmpfs of this size mounted at `folder`, seen by it alone; skips where that is forbidden."""
    if not _can_mount(str(folder)):
        pytest.skip("mounting a small file system needs unshare and its permission")
    mount = f'mount -t tmpfs -o size={kilobytes}k tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, str(folder), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        cwd=CHECKOUT,
    )
