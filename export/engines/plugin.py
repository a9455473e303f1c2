"""The TensorRT plugin's library: built by CMake from `runtime/kernels/plugin` for given models, and kept.

Building it needs nvcc, a C++ compiler, CMake, and TensorRT's headers, which CMake finds or downloads.
"""

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import read_verified, write_verified
from hidenerf.runtime.kernels.compile import FOLDER, cache_folder
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.messages import OUR_OPS

logger = logging.getLogger(__name__)

SOURCES = FOLDER / "plugin"
# Namespace of the plugins, and of the nodes they take (`custom_ops.PLUGIN_ATTRIBUTES`).
NAMESPACE = "hidenerf"
# The environment variable that names a library that was built elsewhere, or NONE.
VARIABLE, NONE = "HIDENERF_PLUGIN", "none"
_MARK = b"hidenerf-plugin {"
_MOST_LEVELS = 10


class PluginDescription(NamedTuple):
    """What a library's file says of itself.

    tensorrt, cuda: versions it was built with.
    sms: SMs it has machine code for.
    renderers: models it was built for.
    """

    tensorrt: str
    cuda: str
    sms: tuple[int, ...]
    renderers: tuple[RendererSizes, ...]


def find_plugin(renderers: Sequence[RendererSizes], tensorrt_version: str) -> Path | None:
    """The library for these models, built if need be; None after a log record that says why there is none.

    The environment variable HIDENERF_PLUGIN may name a library that was built elsewhere; `none` means to build engines
    without it.

    renderers: sizes of the models.
    tensorrt_version: such as "10.12.0.36".
    Errors: the library that HIDENERF_PLUGIN names does not fit.
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        return plugin_library_or_none(renderers, tensorrt_version)
    if given == NONE:
        logger.info("%s is %s: the engine is built without the plugin, with TensorRT's own GridSample.", VARIABLE, NONE)
        return None
    check_plugin(Path(given), renderers, tensorrt_version)
    return Path(given)


def plugin_library(renderers: Sequence[RendererSizes], tensorrt_version: str) -> Path:
    """The library for these models and TensorRT's version, for every SM that nvcc knows; built if it is not cached.

    renderers: sizes of the models.
    tensorrt_version: such as "10.12.0.36".
    Errors: a tool or the headers are missing, a model that the kernels do not take, a build that fails.
    """
    for sizes in renderers:
        if sizes.channels % 16 != 0 or sizes.levels > _MOST_LEVELS:
            raise HideNerfError(
                f"The TensorRT plugin takes planes of 16, 32, … channels and up to {_MOST_LEVELS} levels; the "
                f"model has {sizes.channels} and {sizes.levels}."
            )
    tools = _tools()
    path = cache_folder() / f"plugin-{_digest(renderers, tensorrt_version, tools)}.so"
    if read_verified(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".plugin-", dir=path.parent) as folder:
            write_verified(path, _build(Path(folder), renderers, tensorrt_version, tools).read_bytes())
    except OSError as error:
        raise HideNerfError(
            f"The TensorRT plugin cannot be kept in {path.parent} ({error.strerror}); name another folder in "
            "HIDENERF_KERNEL_CACHE."
        ) from None
    return path


def plugin_library_or_none(renderers: Sequence[RendererSizes], tensorrt_version: str) -> Path | None:
    """`plugin_library`, or None after a log record that says why the engine is built without it."""
    try:
        return plugin_library(renderers, tensorrt_version)
    except HideNerfError as error:
        logger.info("%s The engine is built without it, with TensorRT's own GridSample.", error)
        return None


def describe_plugin(path: Path) -> PluginDescription:
    """Read a library's description from its file, without loading it; a `HideNerfError` if it is not our plugin's."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HideNerfError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        at = content.index(_MARK)
        said = json.loads(content[at + len(_MARK) - 1 : content.index(b"\0", at)])
        models = [RendererSizes(*map(int, sizes.split(","))) for sizes in said["renderers"].split()]
        sms = tuple(map(int, said["architectures"].split()))
        if missing := set(OUR_OPS) - set(said["ops"].split()):
            raise ValueError(missing)
        return PluginDescription(said["tensorrt"], said["cuda"], sms, tuple(models))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HideNerfError(
            f"{path} is no plugin library of this hidenerf; build one as docs/plugin.md says."
        ) from None


def check_plugin(path: Path, renderers: Sequence[RendererSizes], tensorrt_version: str) -> PluginDescription:
    """Describe a library that was built elsewhere; a `HideNerfError` if it does not fit the models or TensorRT."""
    found = describe_plugin(path)
    if found.tensorrt.split(".")[0] != tensorrt_version.split(".")[0]:
        raise HideNerfError(
            f"{path} was built for TensorRT {found.tensorrt}, and this is {tensorrt_version}; build it again with "
            f"-DTENSORRT_VERSION={tensorrt_version}."
        )
    for sizes in renderers:
        if sizes not in found.renderers:
            raise HideNerfError(
                f"{path} was not built for this model; build it again with -DHIDENERF_RENDERERS={_text(sizes)}."
            )
    return found


def _text(sizes: RendererSizes) -> str:
    numbers = astuple(sizes)
    # Of models without `place` as it was before there was this output, so that their libraries stay valid.
    return ",".join(map(str, numbers if sizes.place else numbers[:-1]))


class _Tools(NamedTuple):
    cmake: str
    nvcc: str


def _tools() -> _Tools:
    if sys.platform != "linux":
        raise HideNerfError("The TensorRT plugin is built on Linux only.")
    cmake, compiler = shutil.which("cmake"), os.environ.get("CXX") or shutil.which("c++")
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        raise HideNerfError(
            "The TensorRT plugin is not built, as there is no nvcc; install the CUDA toolkit and add its bin to PATH."
        )
    if cmake is None or compiler is None:
        missing = "CMake" if cmake is None else "C++ compiler"
        raise HideNerfError(
            f"The TensorRT plugin is not built, as there is no {missing}; install it, such as with: apt-get install "
            "cmake g++"
        )
    return _Tools(cmake, nvcc)


def _digest(renderers: Sequence[RendererSizes], tensorrt_version: str, tools: _Tools) -> str:
    version = subprocess.run([tools.nvcc, "--version"], capture_output=True, text=True, check=False).stdout
    described = repr((list(map(_text, renderers)), tensorrt_version, version, platform.machine()))
    digest = hashlib.sha256(described.encode())
    for path in sorted([*FOLDER.glob("*.cuh"), *SOURCES.iterdir()]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _build(folder: Path, renderers: Sequence[RendererSizes], tensorrt_version: str, tools: _Tools) -> Path:
    configure = [tools.cmake, "-S", str(SOURCES), "-B", str(folder / "build")]
    definitions = _cmake_definitions(renderers, tensorrt_version, tools)
    configure += [f"-D{name}={value}" for name, value in definitions.items()]
    for command in (configure, [tools.cmake, "--build", str(folder / "build"), "--parallel"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            log = folder.parent / "plugin-build.log"
            log.write_text(done.stdout)
            raise HideNerfError(f"The TensorRT plugin is not built ({_reason(done.stdout)}); see {log}.")
    return folder / "build" / "libhidenerf_plugin.so"


def _cmake_definitions(renderers: Sequence[RendererSizes], tensorrt_version: str, tools: _Tools) -> dict[str, str]:
    return {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CUDA_COMPILER": tools.nvcc,
        "HIDENERF_RENDERERS": ";".join(map(_text, renderers)),
        "TENSORRT_VERSION": tensorrt_version,
    }


def _reason(output: str) -> str:
    """Our CMake's own sentence, which CMake wraps over lines, or the first error."""
    if own := re.search(r"^ *hidenerf: (.*?)(?:\n\s*\n|\n *Call Stack|\Z)", output, re.DOTALL | re.MULTILINE):
        return " ".join(own[1].split())
    errors = [line.strip() for line in output.splitlines() if re.search(r"\berror\b", line, re.IGNORECASE)]
    return errors[0] if errors else "CMake gives no reason"
