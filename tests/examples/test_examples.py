"""The scripts of examples/, each run as its first line says, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import av

from tests.support.media import read_bgr

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def frames(path: Path) -> int:
    with av.open(path) as video:
        return sum(1 for _ in video.decode(video=0))


def test_every_example_is_run_here_and_listed() -> None:
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    here = Path(__file__).read_text(encoding="utf-8")
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert names
    assert [name for name in names if f'run("{name}"' not in here or name not in listed] == []


def test_a_portrait_is_animated(bundle_fp32: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert run("01_animate_portrait.py", bundle_fp32, output).strip() == str(output)
    assert frames(output) == 125


def test_expressions_are_set_by_code(bundle_fp32: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    run("02_drive_by_code.py", bundle_fp32, output)
    height, width, _ = read_bgr(output).shape
    assert width == 4 * height


def test_a_driver_of_ones_own_moves_the_portrait(bundle_fp32: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    run("03_own_driver.py", bundle_fp32, output)
    assert frames(output) == 50


def test_two_bundles_are_compared(bundle_fp32: Path) -> None:
    printed = run("04_compare_bundles.py", bundle_fp32, bundle_fp32)
    assert printed.endswith("worst: inf dB\n")
    assert printed.count("frame") == 13
