"""The kernels compiled for one GPU architecture by NVRTC, through `cuda.core`, and kept on disk."""

import hashlib
import importlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hidenerf.runtime.errors import HideNerfError

FOLDER = Path(__file__).parent
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120", "sm_121")
_DIGEST_BYTES = hashlib.sha256().digest_size
# Threads that import cuda.core at the same time can see half of it.
_IMPORTING = threading.Lock()

Definitions = Sequence[tuple[str, int]]


class Cubin(NamedTuple):
    """Machine code of one source file, and what the compiler said of it."""

    code: bytes
    log: str


def cuda_core() -> ModuleType:
    """The package `cuda.core`, whose names stood in `cuda.core.experimental` before version 1."""
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
    """Of the NVRTC that is installed, such as "13.0"; a `HideNerfError` if there is none."""
    try:
        status, major, minor = importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise HideNerfError(f"NVRTC is missing ({error}); install it with: pip install 'hidenerf[cuda]'") from None
    if int(status) != 0:
        raise HideNerfError(
            f"NVRTC does not start (error {int(status)}); install it with: pip install 'hidenerf[cuda]'"
        )
    return f"{major}.{minor}"


def compile_source(source: str, definitions: Definitions, architecture: str) -> Cubin:
    """Compile `source`, a .cu file of this folder, for an architecture such as "sm_90"; no GPU is needed."""
    core = cuda_core()
    nvrtc_version()
    options = core.ProgramOptions(
        name=source,
        arch=architecture,
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
            f"The kernels in {source} do not compile for {architecture} ({error}); update NVRTC with: "
            "pip install --upgrade nvidia-cuda-nvrtc"
        ) from error
    return Cubin(code, log.getvalue())


def cache_folder() -> Path:
    """Where compiled kernels are kept: HIDENERF_KERNEL_CACHE, or a folder in the user's cache."""
    if given := os.environ.get("HIDENERF_KERNEL_CACHE"):
        return Path(given)
    import pooch

    return Path(pooch.os_cache("hidenerf")) / "kernels"


def cached_cubin(source: str, definitions: Definitions, architecture: str, driver: str) -> bytes:
    """Machine code of `source` from the cache, compiled into it if it is not there or damaged.

    The entry's name is the hash of every source in this folder, the definitions, the architecture, and the versions of
    NVRTC and of the driver. An entry is the SHA-256 of the code, then the code.
    """
    described = repr((source, sorted(definitions), architecture, nvrtc_version(), driver, _sources_digest()))
    path = cache_folder() / f"{Path(source).stem}-{architecture}-{hashlib.sha256(described.encode()).hexdigest()}.cubin"
    try:
        entry = path.read_bytes()
    except OSError:
        entry = b""
    digest, code = entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]
    if code and hashlib.sha256(code).digest() == digest:
        return code
    code = compile_source(source, definitions, architecture).code
    try:
        _write_atomically(path, hashlib.sha256(code).digest() + code)
    except OSError as error:
        _say_once(f"Compiled kernels cannot be kept in {path.parent} ({error.strerror}): they compile at every start.")
    return code


@cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number, partial = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
        Path(partial).replace(path)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)
