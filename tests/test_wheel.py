"""The wheel: built from a copy of the checkout, installed elsewhere, and every module imported from there."""

import configparser
import importlib.metadata
import json
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.extras import chosen, closure, missing, run_with_only
from tests.support.made_once import MadeOnce

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "package"
FOLDERS = ("assets", "calibration", "commands", "export", "model", "runtime", "training")
# Packages that only machines with a GPU have; a module that needs one of them may fail for that reason alone.
FOR_GPUS = {"triton", "cuda", "tensorrt", "tensorrt_rtx"}


def product_files(suffix: str) -> list[Path]:
    """Files of the top folders as they stand in the checkout."""
    return sorted(path.relative_to(CHECKOUT) for folder in FOLDERS for path in (CHECKOUT / folder).rglob(f"*{suffix}"))


@pytest.fixture(scope="session")
def wheel(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that what earlier builds left in the checkout gets neither in nor out."""
    pytest.importorskip("setuptools", reason="setuptools is not installed (extra [dev])")

    def build(target: Path) -> None:
        copy = tmp_path_factory.mktemp("copy")
        ignore = shutil.ignore_patterns("__pycache__")
        for folder in (PACKAGE, *FOLDERS):
            shutil.copytree(CHECKOUT / folder, copy / folder, ignore=ignore)
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            shutil.copy(CHECKOUT / name, copy / name)
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(target)]
        pip("wheel", *options, str(copy))

    (built,) = made_once("wheel", build).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(made_once: MadeOnce, wheel: Path) -> Path:
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet"]
    return made_once("installed-wheel", lambda target: pip("install", *options, "--target", str(target), str(wheel)))


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert result.returncode == 0, result.stderr + result.stdout


# `-S` leaves out the `.pth` files, and with them the editable install that leads to the checkout.
IMPORT = """
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
found, failed = {}, {}
for name in sys.argv[2:]:
    try:
        found[name] = importlib.import_module(name).__file__
    except Exception as error:
        failed[name] = [repr(error), getattr(error, "name", None)]
print(json.dumps([found, failed]))
"""


def import_from(installed: Path, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """File of each module that could be imported, and the error of each that could not."""
    path = json.dumps([str(installed), *site.getsitepackages()])
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT, path, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        cwd=installed,
    )
    assert result.returncode == 0, result.stderr
    found, failed = json.loads(result.stdout)
    return found, {name: error for name, (error, package) in failed.items() if package not in FOR_GPUS}


def module_name(path: Path) -> str:
    parts = ["hidenerf", *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_of_the_product_is_inside(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [str(path) for path in product_files(".py") if f"hidenerf/{path.as_posix()}" not in inside]
    assert missing == []


def test_nothing_but_the_product_is_inside(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"hidenerf"}
    product = {f"hidenerf/{path.as_posix()}" for path in product_files("")} | {"hidenerf/__init__.py"}
    strangers = [n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("hidenerf/") and n not in product]
    assert strangers == []
    assert not any("/tests/" in name or "__pycache__" in name for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("suffix", [".npz", ".onnx", ".cu", ".cuh", "py.typed"])
def test_data_sources_and_type_marks_are_inside(wheel: Path, suffix: str) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = product_files(suffix)
    assert files
    assert [str(path) for path in files if f"hidenerf/{path.as_posix()}" not in inside] == []


def test_the_shipped_face_model_is_inside_whole(installed: Path) -> None:
    name = "runtime/data/face_model.npz"
    assert (installed / "hidenerf" / name).read_bytes() == (CHECKOUT / name).read_bytes()


def test_every_module_imports_from_the_wheel_and_not_from_the_checkout(installed: Path) -> None:
    names = [module_name(path) for path in product_files(".py")]
    found, failed = import_from(installed, names)
    assert failed == {}
    strangers = {name: file for name, file in found.items() if not file.startswith(str(installed))}
    assert strangers == {}
    assert {"hidenerf.commands.run", "hidenerf.commands.export", "hidenerf.model.hidenerf"} <= found.keys()


def test_every_command_leads_to_a_module_of_the_wheel(installed: Path) -> None:
    (entries,) = installed.glob("hidenerf-*.dist-info/entry_points.txt")
    parser = configparser.ConfigParser()
    parser.read(entries)
    commands = dict(parser["console_scripts"])
    assert {
        "hidenerf-export",
        "hidenerf-run",
        "hidenerf-parity",
        "hidenerf-calibrate",
        "hidenerf-facemodel",
    } <= commands.keys()
    assert all(target.endswith(":main") for target in commands.values())
    _, failed = import_from(installed, [target.split(":")[0] for target in commands.values()])
    assert failed == {}


def test_the_version_is_the_one_that_the_package_states(installed: Path) -> None:
    found, failed = import_from(installed, ["hidenerf"])
    assert failed == {}
    assert found == {"hidenerf": str(installed / "hidenerf" / "__init__.py")}
    (metadata,) = installed.glob("hidenerf-*.dist-info/METADATA")
    stated = (CHECKOUT / PACKAGE / "__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]
    assert f"Version: {stated}\n" in metadata.read_text(encoding="utf-8")


def test_the_licence_is_inside(installed: Path) -> None:
    (folder,) = installed.glob("hidenerf-*.dist-info/licenses")
    assert {path.name for path in folder.iterdir()} == {"LICENSE", "NOTICE"}
    (metadata,) = installed.glob("hidenerf-*.dist-info/METADATA")
    assert "License-Expression: Apache-2.0\n" in metadata.read_text(encoding="utf-8")


def wheel_requirements(installed: Path, extra: str) -> list[Requirement]:
    """What `pip install 'hidenerf[extra]'` asks for; "" for no extra."""
    (package,) = importlib.metadata.distributions(name="hidenerf", path=[str(installed)])
    requires = package.requires or []
    return [*chosen(requires, ""), *(one for one in chosen(requires, extra) if one not in chosen(requires, ""))]


# Packages are imported inside of functions, so that a missing one is a sentence: import them here.
IMPORT_ALL = """
import ast, importlib, pathlib
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            importlib.import_module(node.module)
"""
# Makes a bundle's frame from the shipped portrait.
RUN_CPU = """
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
with Animator(sys.argv[1], "onnxruntime-cpu", allow_failed_parity=True) as animator:
    animator.set_source(demo_source_path())
    frame = next(iter(animator.animate(animator.open_driver(demo_motion_path()))))
print(frame.picture.shape)
"""
PROMISES = {
    "cpu": ("runtime/backends/onnxruntime_cpu.py",),
    "cuda": ("runtime/backends/onnxruntime_cuda.py", "runtime/kernels/*.py"),
    "tensorrt": ("runtime/backends/tensorrt.py", "runtime/tensorrt/*.py", "runtime/kernels/*.py"),
    "tensorrt-rtx": ("runtime/backends/tensorrt.py", "runtime/tensorrt/*.py", "runtime/kernels/*.py"),
    "export": ("export/*.py", "export/passes/*.py", "model/*.py"),
    "track": ("runtime/tracking/*.py", "runtime/drivers/*.py", "runtime/sources/*.py"),
    "facemodel": ("assets/face_model_*.py",),
}


def requirements_or_skip(installed: Path, extra: str) -> list[Requirement]:
    requirements = wheel_requirements(installed, extra)
    if absent := missing(requirements):
        pytest.skip(f"{', '.join(absent)} of the extra [{extra}] is not installed here")
    return requirements


@pytest.mark.parametrize("extra", PROMISES)
def test_an_extra_brings_all_that_its_modules_import(installed: Path, extra: str) -> None:
    requirements = requirements_or_skip(installed, extra)
    paths = [path.relative_to(CHECKOUT) for pattern in PROMISES[extra] for path in sorted(CHECKOUT.glob(pattern))]
    names = [module_name(path) for path in paths]
    assert names
    result = run_with_only(closure(requirements), installed, IMPORT_ALL, *names)
    assert result.returncode == 0, result.stderr


def test_without_an_extra_the_runtime_starts(installed: Path) -> None:
    packages = closure(wheel_requirements(installed, ""))
    names = ["hidenerf.runtime", *(module_name(path) for path in product_files(".py") if path.parts[0] == "runtime")]
    imports = "import importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    result = run_with_only(packages, installed, imports, *names)
    assert result.returncode == 0, result.stderr
    assert "No module named 'torch'" in run_with_only(packages, installed, "import torch").stderr


def test_the_extra_cpu_alone_makes_a_frame(installed: Path, bundle_fp32: Path) -> None:
    packages = closure(requirements_or_skip(installed, "cpu"))
    result = run_with_only(packages, installed, RUN_CPU, str(bundle_fp32))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(32, 32, 3)\n"


def test_the_extras_are_those_that_the_readme_and_the_errors_name(installed: Path) -> None:
    (package,) = importlib.metadata.distributions(name="hidenerf", path=[str(installed)])
    extras = {extra for extra in package.metadata.get_all("Provides-Extra") or [] if extra != "dev"}
    assert extras == set(PROMISES)
    files = [*(CHECKOUT / path for path in product_files(".py")), CHECKOUT / "README.md"]
    lists = [re.findall(r"hidenerf\[([a-z,-]+)\]", file.read_text(encoding="utf-8")) for file in files]
    assert {extra for found in lists for names in found for extra in names.split(",")} <= extras
