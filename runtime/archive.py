"""Archives: our `.npz` files, each with a format name and a version, read without pickle."""

import contextlib
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import DTypeLike, NDArray

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.files import atomic_path

# What zipfile, zlib, NumPy and the conversion of their values raise on damaged bytes.
_DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, ArithmeticError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError, MemoryError),
)

# Of all arrays together, unpacked: more is no file of ours, but one that packs to almost nothing.
MAX_UNPACKED_BYTES = 1 << 30
# Of the format's name and of its version, which are read before the rest is measured.
MAX_LABEL_BYTES = 1 << 16


def save_archive(
    path: Path, file_format: str, version: int, content: Mapping[str, object], *, compressed: bool = True
) -> None:
    """Write an archive; the file appears whole or not at all.

    file_format, version: stored under the keys `format` and `version`.
    content: arrays, strings and numbers by key.
    compressed: False where a reader needs to find an array's bytes in the file.
    """
    arrays: dict[str, Any] = {"format": file_format, "version": version, **content}
    write = np.savez_compressed if compressed else np.savez
    with atomic_path(path) as partial, partial.open("wb") as stream:
        write(stream, **arrays)


def load_archive(
    path: Path, file_format: str, version: int, kind: str, *, oldest: int | None = None
) -> dict[str, NDArray]:
    """All arrays of an archive by key.

    Arguments and errors: as for `open_archive`; more than `MAX_UNPACKED_BYTES`.
    """
    with open_archive(path, file_format, version, kind, oldest=oldest) as archive:
        unpacked = sum(member.file_size for member in archive.zip.infolist()) if archive.zip else 0
        if unpacked > MAX_UNPACKED_BYTES:
            raise HideNerfError(
                f"{path}: the {kind} file unpacks to {unpacked} bytes, more than {MAX_UNPACKED_BYTES}; divide it."
            )
        return {key: _sound(archive[key]) for key in archive.files}


def of_kind(archive: Mapping[str, NDArray], key: str, kinds: str) -> NDArray[Any]:
    """An archive's array whose dtype is of one of these kinds (NumPy's letters).

    archive: of `load_archive`. Errors: `KeyError` without such an array, `ValueError` where it is of another kind.
    """
    array = archive[key]
    if array.dtype.kind not in kinds:
        raise ValueError(f"{key} is {array.dtype}")
    return array


def numbers(archive: Mapping[str, NDArray], key: str, dtype: DTypeLike) -> NDArray[Any]:
    """An archive's array as numbers of a type that holds them.

    archive: of `load_archive`. dtype: of floating point, or of integers.
    Errors: `KeyError` without such an array; `ValueError` where it is of another kind, has values that are not finite,
    or that do not fit.
    """
    wanted = np.dtype(dtype)
    array = of_kind(archive, key, "biuf" if wanted.kind == "f" else "biu")
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    if wanted.kind == "f" and not np.isfinite(converted).all():
        raise ValueError(f"{key} has values that are not finite")
    if wanted.kind != "f" and not np.array_equal(converted, array):
        raise ValueError(f"{key} has values that are not {wanted}")
    return converted


def text(archive: Mapping[str, NDArray], key: str) -> str:
    """An archive's text. Errors: `KeyError` without it, `ValueError` where it is something else."""
    array = archive[key]
    if array.dtype.kind != "U" or array.ndim:
        raise ValueError(f"{key} is {array.dtype} {list(array.shape)}")
    return str(array)


def texts(archive: Mapping[str, NDArray], key: str) -> tuple[str, ...]:
    """An archive's list of texts. Errors: `KeyError` without it, `ValueError` where it is something else."""
    array = archive[key]
    if array.size == 0:  # NumPy stores no names as numbers
        return ()
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ValueError(f"{key} is {array.dtype} {list(array.shape)}")
    return tuple(map(str, array))


def _sound(array: NDArray) -> NDArray:
    """The array itself. Errors: `ValueError` where it is none, or its text has characters that do not exist."""
    if not isinstance(array, np.ndarray):  # NumPy gives the bytes of a file in the archive that is no array
        raise ValueError("it holds a file that is no array")
    if array.dtype.kind == "U" and array.dtype.itemsize and array.size:
        native = np.ascontiguousarray(np.atleast_1d(array), array.dtype.newbyteorder("="))
        if native.view(np.uint32).max() > sys.maxunicode:
            raise ValueError("its text has characters that do not exist")
    return array


def _version(array: NDArray) -> int:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise TypeError(f"its version is {getattr(array, 'dtype', 'no array')}")
    return int(array)


@contextlib.contextmanager
def open_archive(
    path: Path, file_format: str, version: int, kind: str, *, oldest: int | None = None
) -> Iterator[NpzFile]:
    """Open an archive whose arrays are read one by one.

    file_format, version: what the file must say of itself.
    kind: of the file in errors, such as "motion".
    oldest: version from which on files are read, too; None reads `version` alone.
    Errors: no such file, another format or version, damage, also where the body of the `with` block meets it.
    """
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file; give the path of a {kind} file (.npz).")
    try:
        with path.open("rb") as stream, NpzFile(stream, allow_pickle=False) as archive:
            for member in archive.zip.infolist() if archive.zip else ():
                if member.filename in ("format.npy", "version.npy") and member.file_size > MAX_LABEL_BYTES:
                    raise ValueError(f"its {member.filename} unpacks to {member.file_size} bytes")
            found_format = str(_sound(archive["format"])) if "format" in archive else "not stated"
            if found_format != file_format:
                raise HideNerfError(
                    f"{path}: not a {kind} file (its format is {shown(found_format)}, not {file_format}); it "
                    f"holds {shown(', '.join(archive.files)) or 'nothing'}, give a {kind} file of hidenerf."
                )
            found = _version(archive["version"]) if "version" in archive else 0
            if not (version if oldest is None else oldest) <= found <= version:
                read = f"version {version}" if oldest in (None, version) else f"versions {oldest} to {version}"
                raise HideNerfError(
                    f"{path}: {kind} file of version {found}, but this hidenerf reads {read}; make it anew."
                )
            yield archive
    except _DAMAGE as error:
        raise HideNerfError(
            f"{path}: not a readable {kind} file ({shown(error, 120)}); it may be damaged, make it anew."
        ) from None
