"""Compiling the kernels for one SM with NVRTC, through `cuda.core`, and keeping them on disk."""

import hashlib
import importlib
import io
import logging
import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import read_verified, write_verified

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# SMs that the kernels are compiled and tested for, ascending.
SMS = (75, 80, 86, 87, 89, 90, 100, 120, 121)
# Without it, a thread that imports cuda.core while another does can see a partly initialised module.
_IMPORTING = threading.Lock()

Definitions = Sequence[tuple[str, int]]


class Cubin(NamedTuple):
    """Machine code of one source file, and the compiler's log."""

    code: bytes
    log: str


def cuda_core() -> ModuleType:
    """Import `cuda.core`, or `cuda.core.experimental` before version 1; a `HideNerfError` if it is not installed."""
    try:
        with _IMPORTING:
            core = importlib.import_module("cuda.core")
            if not hasattr(core, "Program"):
                core = importlib.import_module("cuda.core.experimental")
    except ImportError as error:
        raise HideNerfError(
            f"The CUDA backend needs cuda-core and NVRTC ({error}); install them with: pip install 'hidenerf[cuda]'"
        ) from None
    return core


def nvrtc_version() -> str:
    """The version of the installed NVRTC, such as "13.0"; a `HideNerfError` if there is none."""
    try:
        status, major, minor = importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise HideNerfError(f"NVRTC is missing ({error}); install it with: pip install 'hidenerf[cuda]'") from None
    if int(status) != 0:
        raise HideNerfError(
            f"NVRTC does not start (error {int(status)}); install it with: pip install 'hidenerf[cuda]'"
        )
    return f"{major}.{minor}"


def compile_source(source: str, definitions: Definitions, sm: int) -> Cubin:
    """Compile a source file; no GPU is needed.

    source: name of a .cu file in this folder.
    definitions: macros and their values.
    sm: SM to compile for, such as 90.
    Errors: cuda-core or NVRTC is missing, the source does not compile.
    """
    core = cuda_core()
    nvrtc_version()
    options = core.ProgramOptions(
        name=source,
        arch=f"sm_{sm}",
        std="c++17",
        include_path=str(FOLDER),
        define_macro=[(name, str(value)) for name, value in definitions] or None,
        ptxas_options="-v",
    )
    log = io.StringIO()
    try:
        program = core.Program((FOLDER / source).read_text(encoding="utf-8"), "c++", options)
        code = bytes(program.compile("cubin", logs=log).code)
    except Exception as error:
        raise HideNerfError(
            f"The kernels in {source} do not compile for SM {sm} ({error}); update NVRTC with: "
            "pip install --upgrade nvidia-cuda-nvrtc"
        ) from error
    return Cubin(code, log.getvalue())


def cache_folder() -> Path:
    """The folder of compiled kernels: HIDENERF_KERNEL_CACHE in the environment, or one in the user's cache."""
    if given := os.environ.get("HIDENERF_KERNEL_CACHE"):
        return Path(given)
    import pooch

    return Path(pooch.os_cache("hidenerf")) / "kernels"


def cached_cubin(source: str, definitions: Definitions, sm: int, driver: str) -> bytes:
    """Machine code of a source file from the cache; compiled and added if it is not there or damaged.

    source, definitions, sm: as for `compile_source`.
    driver: version of the GPU driver. It is part of the entry's name, as are the hash of every source in this folder
        and the version of NVRTC.
    Errors: those of `compile_source`.
    """
    described = repr((source, sorted(definitions), sm, nvrtc_version(), driver, _sources_digest()))
    path = cache_folder() / f"{Path(source).stem}-sm{sm}-{hashlib.sha256(described.encode()).hexdigest()}.cubin"
    if kept := read_verified(path):
        return kept
    code = compile_source(source, definitions, sm).code
    try:
        write_verified(path, code)
    except HideNerfError as error:
        _warn_once(
            f"Compiled kernels cannot be kept: they compile at every start ({str(error).partition(';')[0]}); name "
            "another folder in HIDENERF_KERNEL_CACHE."
        )
    return code


@cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
