"""Imports run only down the table of DESIGN §2; the runtime starts without PyTorch, ONNX and other heavy imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LAYERS = ("assets", "calibration", "commands", "export", "model", "runtime", "training")

# The last column of DESIGN §2's table. A layer may also use what its layers may use. `model` takes the runtime's
# errors, files and cameras, for which the table has no other place.
MAY_IMPORT = {
    "runtime": set(),
    "model": {"runtime"},
    "training": {"model", "runtime"},
    "export": {"model", "runtime"},
    "calibration": {"export", "model", "runtime"},
    "assets": {"training", "model", "runtime"},
    "commands": {"assets", "calibration", "export", "model", "runtime", "training"},
}
NOT_IN_THE_RUNTIME = {"torch", "torchvision", "onnx", "onnxscript", "onnx_ir", "safetensors", "anny", "polygraphy"}
NOT_IN_THE_MODEL = {"onnx", "onnxscript", "onnx_ir", "onnxruntime", "cv2", "av", "mediapipe", "tensorrt"}


def modules(layer: str) -> list[Path]:
    return sorted((CHECKOUT / layer).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = ["hidenerf", *path.relative_to(CHECKOUT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Absolute names of everything imported anywhere in a module, inside functions and for type checking too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def forbidden_layers(path: Path) -> set[str]:
    layer = module_name(path).split(".")[1]
    others = {name.split(".")[1] for name in imported(path) if name.startswith("hidenerf.")} & set(LAYERS)
    return others - MAY_IMPORT[layer] - {layer}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_down_the_table(layer: str) -> None:
    found = {str(path.relative_to(CHECKOUT)): forbidden_layers(path) for path in modules(layer)}
    assert {path: others for path, others in found.items() if others} == {}
    assert found or layer in ("training", "calibration"), "this layer cannot be empty"


@pytest.mark.parametrize(("layer", "packages"), [("runtime", NOT_IN_THE_RUNTIME), ("model", NOT_IN_THE_MODEL)])
def test_layers_do_without_the_packages_of_others(layer: str, packages: set[str]) -> None:
    found = {
        str(path.relative_to(CHECKOUT)): {name.split(".")[0] for name in imported(path)} & packages
        for path in modules(layer)
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_product_does_not_import_its_tests(layer: str) -> None:
    assert not any(name.split(".")[0] in ("tests", "benchmarks") for path in modules(layer) for name in imported(path))


def test_this_test_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "CHECKOUT", tmp_path)
    (tmp_path / "runtime" / "video").mkdir(parents=True)
    path = tmp_path / "runtime" / "video" / "reader.py"
    path.write_text(
        "import torch.nn as nn\n"
        "from hidenerf import export\n"
        "def f():\n"
        "    from hidenerf.model.config import PRESETS\n"
        "    from ...calibration import plans\n"
        "    from .. import errors\n"
    )
    assert {name.split(".")[0] for name in imported(path)} & NOT_IN_THE_RUNTIME == {"torch"}
    assert forbidden_layers(path) == {"export", "model", "calibration"}


# Put before a script: every import of these packages, and of layers above the runtime, raises.
BLOCK = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxscript", "onnx_ir"} or name.startswith(
            ("hidenerf.assets", "hidenerf.calibration", "hidenerf.export", "hidenerf.model", "hidenerf.training")
        ):
            raise ImportError(f"{name} must not be imported by the runtime")
        return None
sys.meta_path.insert(0, Blocked())
"""


def run_blocked(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)


def test_the_block_blocks() -> None:
    for name in ("torch", "onnx", "hidenerf.model.config"):
        assert "must not be imported" in run_blocked(f"import {name}").stderr


def test_hidenerf_run_starts_where_torch_and_onnx_cannot_be_imported() -> None:
    result = run_blocked("from hidenerf.commands.run import main\nmain()", "--help")
    assert result.returncode == 0, result.stderr
    for option in ("--source", "--driving", "--output", "--bundle", "--backend", "--orbit", "--profile"):
        assert option in result.stdout


def test_every_runtime_module_imports_without_torch_and_onnx() -> None:
    names = [module_name(path) for path in modules("runtime")]
    assert "hidenerf.runtime.backends.onnxruntime_cpu" in names
    script = "import importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\nprint(len(sys.argv) - 1)"
    result = run_blocked(script, *names)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == len(names)


def test_the_public_names_come_without_torch_and_onnx() -> None:
    script = "from hidenerf.runtime import AnimatedFrame, Animator, HideNerfError, View\nprint(Animator.__name__)"
    result = run_blocked(script)
    assert result.stdout.strip() == "Animator", result.stderr


COMMANDS = sorted(path.stem for path in modules("commands") if "\ndef main(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_waits_for_no_heavy_import(command: str) -> None:
    script = (
        "import contextlib, io, sys\n"
        f"from hidenerf.commands.{command} import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "heavy = {'cv2', 'av', 'scipy', 'mediapipe', 'onnxruntime', 'pooch', 'numpy', 'polygraphy', 'flip_evaluator'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = run_blocked(script)
    assert result.returncode == 0, result.stderr
    # NumPy alone takes a tenth of a second and comes with the backends' names.
    assert set(ast.literal_eval(result.stdout)) <= {"numpy"}
