"""TensorRT 8.6's real Python module has every name that hidenerf uses of it.

Its wheel is the last with the library inside, and is for CPython 3.10:

    pip download --no-deps -d wheels --python-version 3.10 --only-binary=:all: tensorrt==8.6.0     # 820 MB
    HIDENERF_TENSORRT_8_6=wheels pytest tests/export/engines/test_tensorrt_8_6.py

A Python 3.10 imports it here without a GPU; cuBLAS and cuDNN, which its plugin library names, are empty libraries, and
it is bound lazily. Without a driver neither builder nor runtime can be made: what they do is for a GPU machine
(benchmarks/tensorrt_session.sh).
"""

import inspect
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hidenerf.export.engines.plugin import describe_plugin, plugin_library
from hidenerf.runtime.tensorrt import api
from tests.support.made_once import MadeOnce
from tests.support.plugin.library import only_for
from tests.support.plugin.sizes import SMALL
from tests.support.tensorrt_names import MEMBERS, names_in_the_recipe, names_in_the_sources

CHECKOUT = Path(__file__).resolve().parents[3]
GIVEN = os.environ.get("HIDENERF_TENSORRT_8_6")
# Of TensorRT 10 and newer, or of TensorRT-RTX; what 8.6 does in their place is in generations.py and recipe.py.
NOT_IN_8_6 = {
    *("ComputeCapability", "ComputeCapability.__members__", "IProgressMonitor", "IProgressMonitor.__init__"),
    *("IProgressMonitor.phase_start", "IProgressMonitor.step_complete", "IProgressMonitor.phase_finish"),
    *("IBuilderConfig.progress_monitor", "LayerType.PLUGIN_V3", "DataType.BF16", "DataType.INT64"),
    *("ParserError.node_name", "ParserError.node_operator"),
}
IN_8_6_ALONE = {
    *("ParserError.node", "ILayer.precision", "ILayer.set_output_type", "IBuilderConfig.set_tactic_sources"),
    *("ICudaEngine.create_engine_inspector", "EngineInspector.get_engine_information", "LayerInformationFormat.JSON"),
    *(f"LayerType.{name}" for name in ("ASSERTION", "CAST", "CONSTANT", "IDENTITY", "PLUGIN", "PLUGIN_V2", "SHAPE")),
}
PROTOCOLS = {
    "Context": "IExecutionContext",
    "Context86": "IExecutionContext",
    "CudaEngine": "ICudaEngine",
    "CudaEngine86": "ICudaEngine",
    "PluginRegistry": "IPluginRegistry",
    "Runtime": "Runtime",
}
NOT_IN_PROTOCOLS = {"set_device_memory", "device_memory_size_v2", "create_runtime_config"}
STAND_INS = ("libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.8")
# Prints of each name in argv[1] what it is and its docstring, or null where there is none.
LOOK = """
import json, os, sys
sys.setdlopenflags(os.RTLD_LAZY)
import tensorrt as trt
from hidenerf.runtime.tensorrt.library import error_logger
error_logger(trt).log(trt.ILogger.Severity.ERROR, "said")
assert error_logger(trt).errors == ["said"]
def look(name):
    there = trt
    for part in name.split("."):
        if not hasattr(there, part):
            return None
        there = getattr(there, part)
    return [type(there).__name__, there.__doc__ or ""]
print(json.dumps({name: look(name) for name in json.loads(sys.argv[1])}))
"""


# What the real registry makes of our plugin, argv[1]: null where it does not load it. It needs no GPU.
PLUGIN = """
import json, os, sys
sys.setdlopenflags(os.RTLD_LAZY)
import tensorrt as trt
registry = trt.get_plugin_registry()
loaded = [registry.load_library(sys.argv[1]) is not None for _ in range(2)]
creators = {c.name: c for c in registry.plugin_creator_list if c.plugin_namespace == "hidenerf"}
creator = registry.get_plugin_creator("GridSample3d", "1", "hidenerf")
made = creator.create_plugin("node", trt.PluginFieldCollection([]))
again = creator.deserialize_plugin("node", bytes(made.serialize()))
print(json.dumps({
    "loaded": loaded,
    "fields": {name: [field.name for field in c.field_names] for name, c in creators.items()},
    "made": [(p.plugin_type, p.plugin_version, p.plugin_namespace, p.num_outputs) for p in (made, again)],
    "refused": creators["TriplaneRender"].create_plugin("node", trt.PluginFieldCollection([])) is None,
}))
"""


def unpack(folder: Path) -> None:
    """The wheel's module, and the stand-ins."""
    wheels = sorted(Path(str(GIVEN)).glob("tensorrt-8.6.*-cp310-*.whl"))
    assert wheels, f"{GIVEN} has no wheel of TensorRT 8.6 for CPython 3.10"
    folder.mkdir()
    with zipfile.ZipFile(wheels[0]) as wheel:
        # The library of kernels is 990 MB, and nothing is built here.
        wheel.extractall(folder, [name for name in wheel.namelist() if "builder_resource" not in name])
    for name in STAND_INS:
        options = ["-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run(["gcc", *options], input="void hidenerf_stand_in(void) {}", text=True, check=True)


Run = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def run(made_once: MadeOnce) -> Run:
    """Runs a script with an argument in a Python that has the real module, and gives the JSON that it prints."""
    if GIVEN is None:
        pytest.skip("HIDENERF_TENSORRT_8_6 names no folder with the wheel of TensorRT 8.6")
    python = os.environ.get("PYTHON310") or shutil.which("python3.10")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("there is no Python 3.10; PYTHON310 may name one")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc for the empty libraries")
    folder = made_once("tensorrt-8.6", unpack)
    environment = {
        "LD_LIBRARY_PATH": f"{folder}:{folder / 'tensorrt'}",
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "PATH": os.environ["PATH"],
    }

    def run_script(script: str, argument: str) -> Any:
        command = [python, "-c", script, argument]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run_script


@pytest.fixture(scope="module")
def look(run: Run) -> Callable[[list[str]], dict[str, Any]]:
    """From names to what the real module has under them."""
    return lambda names: dict(run(LOOK, json.dumps(names)))


def test_its_registry_loads_our_plugin_and_makes_and_reads_nodes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("cmake", "nvcc", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: the plugin cannot be built")
    if "TENSORRT_REPOSITORY" not in os.environ:
        pytest.skip("TENSORRT_REPOSITORY names no clone or address of github.com/NVIDIA/TensorRT to take headers from")
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(tmp_path))
    only_for(monkeypatch, 75)
    library = plugin_library([SMALL], "8.6.0")
    assert describe_plugin(library).tensorrt == "8.6.0"
    assert run(PLUGIN, str(library)) == {
        "loaded": [True, False],
        "fields": {
            "TriplaneRender": ["octaves", "place"],
            "GridSample3d": [],
            "AlignSource": ["maps", "picture", "enlarged"],
            "RaySamples": ["samples", "stride"],
        },
        "made": [["GridSample3d", "1", "hidenerf", 1]] * 2,
        "refused": True,
    }


def test_it_has_every_name_that_the_builder_uses_of_it(look: Any) -> None:
    used = {*names_in_the_sources(), *MEMBERS, *names_in_the_recipe("8.6"), *IN_8_6_ALONE} - {"__version__"}
    found = look(sorted(used))
    assert {name for name, there in found.items() if there is None} == NOT_IN_8_6 & used


def test_it_has_what_the_runtime_uses_and_methods_take_as_many_arguments(look: Any) -> None:
    wanted: dict[str, int | None] = {"nptype": 1, "float32": None, "float16": None, "uint8": None, "Runtime": None}
    for protocol, real in PROTOCOLS.items():
        described = getattr(api, protocol)
        wanted |= {f"{real}.{name}": None for name in inspect.get_annotations(described)}
        for name, method in vars(described).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                wanted[f"{real}.{name}"] = len(inspect.signature(method).parameters) - 1
    wanted = {name: count for name, count in wanted.items() if name.split(".")[-1] not in NOT_IN_PROTOCOLS}
    found = look(sorted(wanted))
    assert [name for name, there in found.items() if there is None] == []
    for name, count in wanted.items():
        kind, documentation = found[name]
        if count is None or "." not in name:
            continue
        assert kind == "function" or "method" in kind, (name, kind)
        method = name.split(".")[-1]
        signatures = re.findall(rf"(?:^|\. ){method}\(self: [\w.]+(.*)\) ->", documentation, re.MULTILINE)
        # An argument with a default may be left out; `create_execution_context` takes no strategy yet.
        possible = {len(re.findall(r", (\w+): ", signature)) for signature in signatures}
        possible |= {len(re.findall(r", (\w+): (?![^,]*=)", signature)) for signature in signatures}
        assert count in possible or method == "create_execution_context", (name, documentation)


def test_memory_and_progress_are_spelt_as_generations_says(look: Any) -> None:
    absent = ["IExecutionContext.set_device_memory", "ICudaEngine.device_memory_size_v2", "IProgressMonitor"]
    absent += ["NetworkDefinitionCreationFlag.STRONGLY_TYPED", "ExecutionContextAllocationStrategy"]
    assert set(look(absent).values()) == {None}
