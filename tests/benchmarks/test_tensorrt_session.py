"""benchmarks/tensorrt_session.sh, as far as it goes without TensorRT 8.6: what it packs, parts, and its own help."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "benchmarks" / "tensorrt_session.sh"
TEXT = SCRIPT.read_text()
# A transfer is 64 MiB, of which the checkout takes 23 MB.
MOST_BYTES = 64 * 2**20 - 24_000_000
MODULES_OF = {"onnx-ir": "onnx_ir", "opencv-python-headless": "cv2"}
# Of these nothing is imported by name alone.
ONLY_FOR_OTHERS = {"packaging", "safetensors"}


def array_of(name: str) -> list[str]:
    found = re.search(rf"^{name}=\((.*?)\)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].split()


def session(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "OUT"} | {"HOME": str(home)}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_packages_are_pinned_and_looked_for() -> None:
    pinned = {line.split("==")[0].lower() for line in (CHECKOUT / "constraints.txt").read_text().splitlines()}
    packages = array_of("packages")
    assert {name.lower() for name in packages} <= pinned
    modules = set(array_of("modules"))
    assert {MODULES_OF.get(name, name) for name in packages} - ONLY_FOR_OTHERS <= modules


def test_a_part_fits_a_transfer_beside_the_checkout() -> None:
    found = re.search(r"^part_bytes=(\d+)$", TEXT, re.MULTILINE)
    assert found is not None
    assert int(found[1]) < MOST_BYTES


def test_steps_are_explained(tmp_path: Path) -> None:
    result = session(home=tmp_path)
    assert result.returncode == 2
    for step in ("pack", "pack-bundles", "try", "keep", "join", "plugin", "build", "frames", "cpp", "tests", "all"):
        assert re.search(rf"tensorrt_session\.sh {step}\b", result.stdout), step


def test_parts_are_joined(tmp_path: Path) -> None:
    """Bundles alone, which are packed as TensorRT is."""
    if shutil.which("zstd") is None or shutil.which("gcc") is None:
        pytest.skip("zstd or gcc is not installed")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "manifest.json").write_text("{}")
    function = re.search(r"^split_into\(\) \{.*?^\}", TEXT, re.MULTILINE | re.DOTALL)
    assert function is not None
    parts = tmp_path / "parts"
    split = f"{function[0]}\npart_bytes=40\ntar -C {tmp_path} -c demo | zstd -q | split_into {parts} bundles"
    subprocess.run(["bash", "-eo", "pipefail", "-c", split], check=True, capture_output=True)
    assert len(list(parts.iterdir())) > 1
    for part in parts.iterdir():
        assert session("keep", str(part), home=tmp_path).returncode == 0
    result = session("join", home=tmp_path)
    # TensorRT itself was not among the parts.
    assert result.returncode != 0
    assert (tmp_path / "hidenerf-tensorrt" / "bundles" / "demo" / "manifest.json").read_text() == "{}"
