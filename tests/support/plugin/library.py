"""The plugin's test build: the library, the same with emulated kernels, and the harness; needs TensorRT's headers."""

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hidenerf.export.engines import plugin
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.scenes import ODD

HERE = Path(__file__).parent
# The model with `place` whose R AlignSource is compiled for.
ALIGNED = RendererSizes(16, samples=2, rendered=3, levels=1, channels=16, finest=8, width=8, octaves=1, place=1)
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined"


def only_for(patch: pytest.MonkeyPatch, sm: int) -> None:
    """From here on the product builds the plugin for one SM, which is quicker."""
    definitions = plugin._cmake_definitions
    one = {"HIDENERF_ARCHITECTURES": str(sm)}
    patch.setattr(plugin, "_cmake_definitions", lambda *arguments: definitions(*arguments) | one)


def sms() -> list[int]:
    """Two SMs, the GPU's own last if there is one."""
    major, minor = torch.cuda.get_device_capability() if torch.cuda.is_available() else (8, 6)
    return [75, 10 * major + minor]


def tensorrt_arguments(version: str) -> list[str]:
    """CMake's arguments for TensorRT's headers of a version, or the installed ones; skips where there are none."""
    if version == "installed":
        return []
    if "TENSORRT_REPOSITORY" not in os.environ:
        pytest.skip("TENSORRT_REPOSITORY names no clone or address of github.com/NVIDIA/TensorRT to take headers from")
    return [f"-DTENSORRT_VERSION={version}"]


class PluginBuild(NamedTuple):
    """log: what CMake printed while building."""

    library: Path
    emulated: Path
    harness: Path
    log: str

    def run_harness(self, *arguments: str, leaks: bool = True) -> "subprocess.CompletedProcess[str]":
        # CUDA wants the part of the address space that AddressSanitizer guards.
        options = f"protect_shadow_gap=0:detect_leaks={int(leaks)}"
        environment = {**os.environ, "ASAN_OPTIONS": options}
        command = [str(self.harness), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def enqueue(
        self, op: str, inputs: list[Tensor], folder: Path, device: bool, **fields: int
    ) -> dict[str, np.ndarray]:
        """Bytes of the outputs by file name, "output_0" and so on. fields: of the op."""
        names = {torch.float32: "fp32", torch.float16: "fp16"}
        lines = [f"{names[t.dtype]} {' '.join(map(str, t.shape))}\n" for t in inputs]
        (folder / "inputs.txt").write_text("".join(lines))
        for index, tensor in enumerate(inputs):
            tensor.contiguous().numpy().tofile(folder / f"input_{index}.bin")
        library, where = (self.library, "device") if device else (self.emulated, "host")
        values = ",".join(f"{name}={value}" for name, value in fields.items()) or "-"
        done = self.run_harness("run", str(library), op, values, where, str(folder), leaks=not device)
        assert done.returncode == 0, done.stderr
        written = [*folder.glob("output_*.bin"), *folder.glob("replayed_*.bin")]
        return {path.stem: np.fromfile(path, np.uint8) for path in written}


def build_plugin(version: str, folder: Path) -> PluginBuild:
    """Everything for ODD, with and without `place`, and ALIGNED; skips where a tool or header is missing.

    Warnings are errors. Our C++ is built with sanitizers.
    """
    for tool in ("cmake", "nvcc", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: the plugin cannot be built")
    models = (ODD, dataclasses.replace(ODD, place=1), ALIGNED)
    sizes = ";".join(",".join(str(value) for _, value in model.definitions()) for model in models)
    configure = [
        "cmake",
        *["-S", str(HERE), "-B", str(folder)],
        *tensorrt_arguments(version),
        f"-DHIDENERF_RENDERERS={sizes}",
        f"-DHIDENERF_ARCHITECTURES={';'.join(map(str, sms()))}",
        f"-DCMAKE_CXX_FLAGS=-Werror -O1 -g {SANITIZERS}",
        f"-DCMAKE_EXE_LINKER_FLAGS={SANITIZERS}",
        "-DCMAKE_CUDA_FLAGS=-Werror all-warnings -Xcompiler=-Werror",
    ]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if version == "installed" and "headers are not installed" in re.sub(r"\s+", " ", done.stderr):
        pytest.skip("TensorRT's headers are not installed, and TENSORRT_ROOT names none")
    assert done.returncode == 0, done.stderr
    made = subprocess.run(
        ["cmake", "--build", str(folder), "--parallel", "2"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    library = folder / "plugin" / "libhidenerf_plugin.so"
    return PluginBuild(
        library, folder / "libhidenerf_plugin_emulated.so", folder / "harness", made.stdout + made.stderr
    )
