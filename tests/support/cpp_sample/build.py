"""Builds of the C++ sample: on an emulation of CUDA and TensorRT (emulated/), and against TensorRT's real headers.

The emulation is no verification of either: it shows the sample's own doing, which tensor is where and what is said of
mistakes. What CUDA and TensorRT do is left to a GPU.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.plugin.library import SANITIZERS, tensorrt_arguments

HERE = Path(__file__).parent
SAMPLE = Path(__file__).resolve().parents[3] / "examples" / "cpp"
FLAGS = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *SANITIZERS.split()]
FORMATS = ("npy.cpp", "png.cpp", "tensor.cpp")
# All that the sample takes of libnvinfer by name.
STAND_IN = """
extern "C" void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }
extern "C" int getInferLibVersion() noexcept { return 0; }
"""


def checked(command: list[str], **options: str) -> str:
    """What a command that succeeds prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


def build_formats(folder: Path) -> Path:
    """formats.cpp with the sample's readers and writers."""
    sources = [str(SAMPLE / name) for name in FORMATS]
    checked(["g++", *FLAGS, f"-I{SAMPLE}", str(HERE / "formats.cpp"), *sources, "-o", str(folder / "formats")])
    return folder / "formats"


def build_emulated(folder: Path, major: int) -> Path:
    """The sample on the emulation of TensorRT's version `major`."""
    sources = sorted(map(str, SAMPLE.glob("*.cpp")))
    target = folder / f"hidenerf_sample_{major}"
    includes = [f"-I{HERE / 'emulated'}", f"-I{SAMPLE}", f"-DNV_TENSORRT_MAJOR={major}"]
    checked(["g++", *FLAGS, *includes, *sources, "-o", str(target)])
    return target


def build_with_headers(folder: Path, version: str) -> tuple[Path, str]:
    """The sample by CMake against real headers and a stand-in for libnvinfer, and what CMake printed while building.

    Skips where there are no headers, or no CUDA toolkit.
    """
    arguments = tensorrt_arguments(version)
    library = folder / "libnvinfer.so"
    checked(["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)], input=STAND_IN)
    configure = ["cmake", "-S", str(SAMPLE), "-B", str(folder / "build"), f"-DTENSORRT_LIBRARY={library}", *arguments]
    done = subprocess.run([*configure, "-DCMAKE_CXX_FLAGS=-Werror"], capture_output=True, text=True, check=False)
    if "CUDAToolkit" in done.stderr:
        pytest.skip("the CUDA toolkit is not installed")
    if version == "installed" and "headers are not installed" in " ".join(done.stderr.split()):
        pytest.skip("TensorRT's headers are not installed, and TENSORRT_ROOT names none")
    assert done.returncode == 0, done.stderr
    printed = checked(["cmake", "--build", str(folder / "build")])
    return folder / "build" / "hidenerf_sample", printed


# Name, type and shape of a tensor.
Tensor = tuple[str, str, tuple[int, ...]]


def plan_text(inputs: list[Tensor], outputs: list[Tensor], *more: str) -> str:
    """A plan of the emulation. more: lines of their own."""
    lines = [
        " ".join([kind, name, dtype, *map(str, shape)])
        for kind, tensors in (("in", inputs), ("out", outputs))
        for name, dtype, shape in tensors
    ]
    return "\n".join([*lines, *more]) + "\n"


def emulated_outputs(inputs: list[NDArray[np.generic]], outputs: list[Tensor]) -> dict[str, NDArray[np.generic]]:
    """What an engine of the emulation makes of its inputs, in the order of its plan."""
    total = 2166136261
    for array in inputs:
        for byte in array.tobytes():
            total = (total ^ byte) * 16777619 & 0xFFFFFFFF
    made: dict[str, NDArray[np.generic]] = {}
    for name, dtype, shape in outputs:
        for byte in name.encode():
            total = (total ^ byte) * 16777619 & 0xFFFFFFFF
        values = ((total + 31 * np.arange(np.prod(shape, dtype=int))) & 0xFF).astype(np.uint8).reshape(shape)
        if dtype == "float32":
            made[name] = values.astype(np.float32) / np.float32(255)
        else:
            made[name] = values.astype(np.uint16).view(np.float16) if dtype == "float16" else values
    return made
