"""Files: written whole or not at all, hashed, and caches that know when they are damaged."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError

_DIGEST_BYTES = hashlib.sha256().digest_size


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_verified(path: Path) -> bytes | None:
    """The content of a file that `write_verified` wrote; None if there is no file, or it was changed or cut off."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def write_verified(path: Path, content: bytes) -> None:
    """Write a file for `read_verified`: the content, then its SHA-256.

    The hash comes last, so that a shared library can still be loaded from the file. Errors: the file cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content + hashlib.sha256(content).digest())


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
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.part{path.suffix}")
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
