"""benchmarks/gpu_session.sh: what it packs is all that a GPU machine with PyTorch and ONNX's packages lacks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "benchmarks" / "gpu_session.sh"
# What the script says such a machine has; the others come with PyTorch and with ONNX's packages.
ON_THE_HOST = {"torch", "torchgen", "numpy", "cv2", "click", "packaging", "requests", "safetensors", "onnx", "onnx_ir"}
ON_THE_HOST |= {"onnxscript", "ml_dtypes", "typing_extensions", "sympy", "mpmath", "google", "triton", "functorch"}
ON_THE_HOST |= {"certifi", "charset_normalizer", "idna", "urllib3", "networkx", "jinja2", "filelock", "fsspec"}
MODULES_OF = {"onnxruntime-gpu": "onnxruntime", "cuda-core": "cuda"}

IMPORTS = """
import importlib.abc, sys
allowed = set(sys.argv[1].split(","))
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{name} is not on the GPU machine", name=name)
sys.meta_path.insert(0, Bare())
sys.path.insert(0, sys.argv[2])
import frame_on_gpu, pooch
import hidenerf.runtime.animator, hidenerf.runtime.backends.onnxruntime_cuda, hidenerf.runtime.video.reader
"""


def array_of(name: str) -> list[str]:
    found = re.search(rf"^{name}=\((.*?)\)", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].split()


@pytest.mark.slow
def test_frames_on_a_gpu_import_nothing_that_is_neither_there_nor_packed() -> None:
    packed = {MODULES_OF.get(package, package) for package in array_of("runtime_packages")}
    assert packed <= {name.split(".")[0] for name in array_of("runtime_modules")}
    allowed = ON_THE_HOST | packed | {"hidenerf", "tests", "benchmarks"}
    allowed |= {path.stem for path in SCRIPT.parent.glob("*.py")}
    command = [sys.executable, "-c", IMPORTS, ",".join(allowed), str(SCRIPT.parent)]
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(CHECKOUT)])
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=1200, env=os.environ | {"PYTHONPATH": path}
    )
    assert result.returncode == 0, result.stderr


def test_every_packed_package_has_a_pinned_version() -> None:
    pinned = {line.split("==")[0].lower() for line in (CHECKOUT / "constraints.txt").read_text().splitlines()}
    assert set(array_of("runtime_packages")) <= pinned


def test_missing_names_what_is_missing(tmp_path: Path) -> None:
    """A stand-in for python3 that finds all modules but pooch."""
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/bash\n[ "$1" = - ] || exit 0\nexec {sys.executable} -c \'\n'
        "import importlib, sys\n"
        "def fake(name):\n"
        '    if name == "pooch": raise ImportError("No module named pooch")\n'
        "importlib.import_module = fake\n"
        'exec(sys.stdin.read())\' "${@:2}"\n'
    )
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    command = ["bash", str(SCRIPT), "missing"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert result.stdout == "missing: pooch (No module named pooch)\n", result.stderr
    assert result.returncode == 1
