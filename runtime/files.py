"""Files: written whole or not at all, hashed, and caches that know when they are damaged."""

import contextlib
import ctypes
import errno
import hashlib
import itertools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError

_DIGEST_BYTES = hashlib.sha256().digest_size
# Of what stands at an output's name and cannot be replaced by a file.
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Characters of an output's name in the name of the partial one, which must not be longer than a file system allows.
_OF_NAME = 32
_partial_number = itertools.count()
# Of Linux's renameat2: paths are as usual; both names stay, and lead to the other's content.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key to sort files by name in which numbers count as numbers: `frame2` comes before `frame10`."""
    parts = re.split(r"([0-9]+)", path.stem.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


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


def require_writable_parent(path: Path, fix: str = "choose another output") -> None:
    """Make the parent folder of `path`; a `HideNerfError` if that or writing into it is impossible.

    fix: what to do then, for the error's sentence.
    """
    parent = path.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HideNerfError(f"{parent}: cannot make this folder ({error.strerror}); {fix}.") from None
    if not os.access(parent, os.W_OK):
        raise HideNerfError(f"{parent}: this folder is not writable; {fix}.")


def cannot_write(path: Path, number: int | None, reason: str | None) -> HideNerfError:
    """The sentence for an output that could not be written, from an error's `errno` and `strerror`."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return HideNerfError(f"{path}: the disk is full; free some space and run again.")
    return HideNerfError(f"{path}: cannot be written ({reason}); choose another output.")


def output_target(path: Path) -> Path:
    """Where an output of this name is written: what a symbolic link leads to, else the name itself.

    Errors: "-", a device, a pipe, links that lead in a circle, a name that the file system refuses.
    """
    if str(path) == "-":
        raise HideNerfError("-: nothing is written to standard output; name a file.")
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if target.is_symlink():
            raise HideNerfError(f"{path}: this symbolic link leads in a circle; choose another output.")
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        # Of the folders above `require_writable_parent` says what is wrong.
        return target
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None
    for is_kind, kind in _SPECIAL:
        if is_kind(mode):
            raise HideNerfError(f"{path}: this is {kind}, and outputs appear as whole files; name a file.")
    return target


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the place of `path` on success, and is removed on any error.

    Where `path` is a symbolic link, what it leads to is replaced, and the link stays.
    """
    target = output_target(path)
    require_writable_parent(target)
    name = f".{path.stem[:_OF_NAME]}.{os.getpid()}-{next(_partial_number)}.part{path.suffix}"
    partial = target.with_name(name)
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; it takes the place of `path` on success, and is removed on any error.

    Where `path` is a symbolic link, what it leads to is replaced, and the link stays.
    """
    target = output_target(path)
    require_writable_parent(target)
    prefix, parent = f".{path.name[:_OF_NAME]}.", target.absolute().parent
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield partial
        partial.chmod(0o755)
        if not target.exists():
            partial.replace(target)
        elif not _exchanged(partial, target):
            old = Path(tempfile.mkdtemp(prefix=f"{prefix}old.", dir=parent))
            try:
                target.replace(old / "old")
            except OSError:
                old.rmdir()
                raise
            partial.replace(target)
            shutil.rmtree(old)
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders at one moment, so that a killed process leaves either; False where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    paths = (argument for path in (first, second) for argument in (_AT_FDCWD, os.fsencode(path.absolute())))
    return bool(library.renameat2(*paths, _RENAME_EXCHANGE) == 0)
