"""Every name that the builder takes from TensorRT's Python module is there, in each version at hand.

TensorRT's own libraries cannot be installed without a GPU machine's, but its Python bindings can: a wheel of a
megabyte. To check them too:

    pip download --no-deps -d wheels tensorrt-cu13-bindings==11.4.0.106 tensorrt-cu12-bindings==10.12.0.36
    HIDENERF_TENSORRT_BINDINGS=wheels pytest tests/export/engines/test_api.py

The bindings are loaded over empty libraries of the names they ask for, so that nothing of TensorRT runs: this compares
names, it builds nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.networks import rtx
from tests.support.tensorrt_names import MEMBERS, names_in_the_recipe, names_in_the_sources

WHEELS = os.environ.get("HIDENERF_TENSORRT_BINDINGS")
# TensorRT does not build ahead of time.
ONLY_RTX = {"ComputeCapability", "ComputeCapability.__members__"}
# In the package's own `__init__.py` and not in the compiled module.
IN_PYTHON = {"__version__"}
STUBS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins"),
)
# Prints which of the names in argv[4] a module lacks: argv[1] its file, argv[2] the libraries to load first.
CHECK = """
import ctypes, importlib.util, json, os, sys
for library in json.loads(sys.argv[2]):
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
sys.setdlopenflags(os.RTLD_LAZY)
spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
trt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trt)
from hidenerf.runtime.tensorrt.library import error_logger
from hidenerf.export.engines.progress import progress_monitor
error_logger(trt), progress_monitor(trt, lambda: False, lambda part: None)
def has(name):
    there = trt
    for part in name.split("."):
        if not hasattr(there, part):
            return False
        there = getattr(there, part)
    return True
print(json.dumps([name for name in json.loads(sys.argv[3]) if not has(name)]))
"""


def test_the_sources_are_read() -> None:
    assert {"OnnxParser", "Builder", "ComputeCapability"} <= names_in_the_sources()
    assert "BuilderFlag.TF32" in names_in_the_recipe("10")
    assert "BuilderFlag.OBEY_PRECISION_CONSTRAINTS" in names_in_the_recipe("8.6")


@pytest.mark.parametrize("name", sorted({*names_in_the_sources(), *names_in_the_recipe("rtx"), *MEMBERS}))
def test_tensorrt_rtx_has_every_name(name: str) -> None:
    there = rtx().trt
    for part in name.split("."):
        there = getattr(there, part)


@pytest.mark.skipif(WHEELS is None, reason="HIDENERF_TENSORRT_BINDINGS names no folder with wheels of the bindings")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc for the empty libraries")
def test_tensorrt_has_every_name(tmp_path: Path) -> None:
    wheels = sorted(Path(str(WHEELS)).glob("tensorrt_cu*_bindings-*.whl"))
    assert wheels
    code = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in STUBS)
    for number, wheel in enumerate(wheels):
        folder = tmp_path / str(number)
        zipfile.ZipFile(wheel).extractall(folder)
        major = wheel.name.split("-")[1].split(".")[0]
        libraries = [str(folder / f"lib{name}.so.{major}") for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin")]
        for library in libraries:
            options = ["-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{Path(library).name}", "-o", library]
            subprocess.run(["gcc", *options], input=code, text=True, check=True)
        module = str(folder / "tensorrt_bindings" / "tensorrt.so")
        names = sorted({*names_in_the_sources(), *names_in_the_recipe(major), *MEMBERS} - ONLY_RTX - IN_PYTHON)
        command = [sys.executable, "-c", CHECK, module, json.dumps(libraries), json.dumps(names)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == [], wheel.name
