"""Presets exported by `hidenerf-export`, once a run."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from hidenerf.runtime.files import atomic_folder
from tests.support.made_once import MadeOnce


class Exported(NamedTuple):
    """An FP32 bundle of untrained weights from seed 0, not to be changed, and what the command printed."""

    bundle: Path
    printed: str


def export_preset(preset: str, made_once: MadeOnce) -> Exported:
    """Export a preset by the command, in a process of its own as users start it; the gate has tests of its own."""

    def fill(folder: Path) -> None:
        with atomic_folder(folder) as partial:
            command = [sys.executable, "-m", "hidenerf.commands.export", "--random-init", "0", "--no-parity"]
            output = ["--preset", preset, "-o", str(partial / "bundle")]
            result = subprocess.run([*command, *output], capture_output=True, text=True, timeout=1800, check=False)
            assert result.returncode == 0, result.stderr
            assert "Traceback" not in result.stderr
            assert [path.name for path in partial.iterdir()] == ["bundle"]
            (partial / "printed.txt").write_text(result.stdout + result.stderr)

    folder = made_once(f"exported-{preset}", fill)
    return Exported(folder / "bundle", (folder / "printed.txt").read_text())
