"""TensorFlow.js packages as downloaded: their files and weights."""

import functools
import json
import math
import tarfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError

# Of a weight by its dtype in the file, which for a quantised weight is that of the quantisation.
_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "uint16": "<u2"}

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def package_files(path: Path, names: Collection[str], instead: str) -> dict[str, bytes]:
    """Contents of the files of these names in a folder or .tgz, at any depth.

    instead: what to give, for errors.
    Errors: a name is not there once.
    """
    found: list[tuple[str, bytes]] = []
    try:
        if path.is_dir():
            found = [(one.name, one.read_bytes()) for one in path.rglob("*") if one.name in names and one.is_file()]
        else:
            with tarfile.open(path) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if Path(member.name).name in names else None
                    if stream is not None:
                        found.append((Path(member.name).name, stream.read()))
    except (tarfile.TarError, EOFError, zlib.error):
        raise HideNerfError(f"neither a folder nor a whole .tgz; {instead} as downloaded.") from None
    except OSError as error:
        raise HideNerfError(f"cannot be read ({error.strerror or error}); {instead}, as a folder or .tgz.") from None
    for name in names:
        count = sum(one == name for one, _ in found)
        if count != 1:
            raise HideNerfError(f"holds {count} files {name}, not one; {instead}, as a folder or .tgz.")
    return dict(found)


def manifest_weights(path: Path, manifest: Sequence[Mapping[str, Any]], instead: str) -> dict[str, NDArray[Any]]:
    """Weights by name.

    path: of the package.
    manifest: groups of files (paths) and of the weights in them, as in the JSON.
    instead: what to give, for errors.
    Errors: a file is missing or damaged, or a weight is stored in a way that is not known here.
    """
    weights: dict[str, NDArray[Any]] = {}
    for group in manifest:
        files = package_files(path, group["paths"], instead)
        weights |= _weights(b"".join(files[one] for one in group["paths"]), group["weights"], instead)
    return weights


def _weights(content: bytes, entries: Sequence[Mapping[str, Any]], instead: str) -> dict[str, NDArray[Any]]:
    """Weights by name. content: their bytes, one after the other. entries: of the manifest."""
    weights, at = {}, 0
    for entry in entries:
        kind = entry.get("quantization", entry)["dtype"]
        if kind not in _DTYPES:
            raise HideNerfError(f"the weight {entry['name']} is stored as {kind}, which cannot be read; {instead}.")
        dtype, count = np.dtype(_DTYPES[kind]), math.prod(entry["shape"])
        size = count * dtype.itemsize
        if at + size > len(content):
            raise HideNerfError(f"the weights end before {entry['name']} does; {instead}, downloaded anew.")
        values = np.frombuffer(content, dtype, count, at).reshape(entry["shape"])
        if dtype.kind == "u":
            # Stored as steps from the least value.
            stored = entry["quantization"]
            values = values * np.float32(stored["scale"]) + np.float32(stored["min"])
        weights[entry["name"]] = values.astype(np.dtype(_DTYPES[entry["dtype"]]))
        at += size
    if at != len(content):
        raise HideNerfError(f"{len(content) - at} bytes are left after the last weight; {instead}, downloaded anew.")
    return weights


def read_manifest(path: Path, name: str, instead: str) -> dict[str, NDArray[Any]]:
    """Weights by name of a package whose manifest is a file of its own.

    path: folder or .tgz that holds the manifest and its weights, at any depth.
    name: of the manifest's file.
    instead: what to give, for errors.
    Errors: those of `manifest_weights`; the manifest is malformed.
    """
    try:
        manifest = json.loads(package_files(path, [name], instead)[name])
        return manifest_weights(path, manifest, instead)
    except (ValueError, KeyError, TypeError) as error:
        raise HideNerfError(f"{path}: {name} is no manifest of TensorFlow.js ({error!r}); {instead}.") from None
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None


class _UserError(click.ClickException):
    exit_code = 2


def user_errors(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A command whose user's errors end as one sentence with exit code 2."""

    @functools.wraps(command)
    def run(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            return command(*arguments, **named)
        except HideNerfError as error:
            raise _UserError(str(error)) from None

    return run


class UserErrorGroup(click.Group):
    """Commands whose user's errors end as one sentence with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        return user_errors(super().invoke)(ctx)
