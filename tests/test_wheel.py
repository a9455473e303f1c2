"""The wheel: built from a copy of the checkout, installed elsewhere, and every module imported from there."""

import configparser
import json
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "package"
FOLDERS = ("assets", "calibration", "commands", "export", "model", "runtime", "training")
# Packages that only machines with a GPU have; a module that needs one of them may fail for that reason alone.
FOR_GPUS = {"triton", "cuda", "tensorrt", "tensorrt_rtx"}


def product_files(suffix: str) -> list[Path]:
    """Files of the top folders as they stand in the checkout."""
    return sorted(path.relative_to(CHECKOUT) for folder in FOLDERS for path in (CHECKOUT / folder).rglob(f"*{suffix}"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that what earlier builds left in the checkout gets neither in nor out."""
    pytest.importorskip("setuptools", reason="setuptools is not installed (extra [dev])")
    copy = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in (PACKAGE, *FOLDERS):
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(CHECKOUT / name, copy / name)
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(target)]
    pip("wheel", *options, str(copy))
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--no-compile", "--quiet", "--target", str(target), str(wheel))
    return target


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


@pytest.mark.parametrize("suffix", [".npz", ".cu", ".cuh", "py.typed"])
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
