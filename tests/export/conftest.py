"""The presets, exported once by the command for all tests of this folder."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hidenerf.runtime.files import atomic_folder
from tests.conftest import MadeOnce


class Exported(NamedTuple):
    """An FP32 bundle of untrained weights from seed 0, not to be changed, and what the command printed."""

    bundle: Path
    printed: str


@pytest.fixture(scope="session")
def exported_preset(made_once: MadeOnce) -> Callable[[str], Exported]:
    """Preset → what `hidenerf-export` makes of it, in a process of its own as users start it."""

    def export(preset: str) -> Exported:
        def fill(folder: Path) -> None:
            with atomic_folder(folder) as partial:
                command = [sys.executable, "-m", "hidenerf.commands.export", "--random-init", "0", "--preset", preset]
                output = ["-o", str(partial / "bundle")]
                result = subprocess.run([*command, *output], capture_output=True, text=True, timeout=300, check=False)
                assert result.returncode == 0, result.stderr
                assert "Traceback" not in result.stderr
                assert [path.name for path in partial.iterdir()] == ["bundle"]
                (partial / "printed.txt").write_text(result.stdout)

        folder = made_once(f"exported-{preset}", fill)
        return Exported(folder / "bundle", (folder / "printed.txt").read_text())

    return export
