"""Writing files so that they appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def require_writable_parent(path: Path) -> None:
    """Make the parent folder of `path`; a `HideNerfError` if that or writing into it is impossible."""
    parent = path.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HideNerfError(f"{parent}: cannot make this folder ({error.strerror}); choose another output.") from None
    if not os.access(parent, os.W_OK):
        raise HideNerfError(f"{parent}: this folder is not writable; choose another output.")


def cannot_write(path: Path, number: int | None, reason: str | None) -> HideNerfError:
    """The sentence for an output that could not be written, from an error's `errno` and `strerror`."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return HideNerfError(f"{path}: the disk is full; free some space and run again.")
    return HideNerfError(f"{path}: cannot be written ({reason}); choose another output.")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; renamed to `path` on success, removed on any error."""
    require_writable_parent(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` to fill; it takes `path`'s place on success, and is removed on any error."""
    require_writable_parent(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    try:
        yield partial
        partial.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.absolute().parent))
            try:
                path.replace(old / path.name)
            except OSError:
                old.rmdir()
                raise
            partial.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
