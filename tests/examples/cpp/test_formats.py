"""The C++ sample's reader of .npy files and writer of PNG files, alone."""

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.cpp_sample.build import build_formats
from tests.support.made_once import MadeOnce

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")]


@pytest.fixture
def formats(made_once: MadeOnce) -> Path:
    def fill(folder: Path) -> None:
        folder.mkdir()
        build_formats(folder)

    return made_once("cpp-formats", fill) / "formats"


def run(formats: Path, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([str(formats), *arguments], input=given, capture_output=True, check=False)


def require_error(formats: Path, path: Path, words: str) -> None:
    done = run(formats, "npy", str(path))
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"{path}: ")
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(("dtype", "title"), [("float32", "FP32"), ("float16", "FP16"), ("uint8", "UINT8")])
@pytest.mark.parametrize("shape", [(), (7,), (1, 3, 2, 5), (0, 4)], ids=str)
def test_arrays_are_read(
    formats: Path, tmp_path: Path, version: tuple[int, int], dtype: str, title: str, shape: tuple[int, ...]
) -> None:
    array = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, np.asarray(array), version=version)
    done = run(formats, "npy", str(tmp_path / "a.npy"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{title} {list(shape)}\n{np.asarray(array).tobytes().hex()}"


@pytest.mark.parametrize("dtype", ["float64", "int64", ">f4", "bool"])
def test_other_types_are_refused(formats: Path, tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, dtype))
    require_error(formats, tmp_path / "a.npy", f"has the type {np.dtype(dtype).str}")


def test_fortran_order_is_refused(formats: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(np.zeros((2, 3), np.float32)))
    require_error(formats, tmp_path / "a.npy", "is in Fortran order")


def test_every_cut_is_noticed(formats: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.float32))
    content = buffer.getvalue()
    for length in (0, 5, 9, 11, 40, 127, 128, len(content) - 1):
        (tmp_path / "a.npy").write_bytes(content[:length])
        require_error(formats, tmp_path / "a.npy", "bytes of data" if length >= 128 else "damaged or no .npy file")
    (tmp_path / "a.npy").write_bytes(content + b"\0")
    require_error(formats, tmp_path / "a.npy", "has 25 bytes of data where FP32 [2, 3] takes 24")


def test_foreign_and_missing_files_are_refused(formats: Path, tmp_path: Path) -> None:
    require_error(formats, tmp_path / "a.npy", "cannot be read")
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04" * 100)
    require_error(formats, tmp_path / "a.npy", "damaged or no .npy file")


def idat(content: bytes) -> bytes:
    """The pixels' chunk of a PNG; every chunk's checksum is right."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, chunk = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + chunk)
        chunks[kind] = chunk
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    return chunks[b"IDAT"]


# Rows of 4369 bytes: 15 of them are one stored block, and 16 are more.
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(1, 1, 1), (1, 1, 3), (5, 3, 3), (15, 4368, 1), (16, 4368, 1), (256, 256, 3)]
)
def test_pictures_are_read_by_others(formats: Path, tmp_path: Path, height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    path = tmp_path / "a.png"
    done = run(formats, "png", str(path), str(width), str(height), str(channels), given=pixels.tobytes())
    assert done.returncode == 0, done.stderr
    rows = np.frombuffer(zlib.decompress(idat(path.read_bytes())), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    np.testing.assert_array_equal(rows[:, 1:].reshape(pixels.shape), pixels)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    np.testing.assert_array_equal(picture.reshape(pixels.shape)[..., ::-1], pixels)
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_that_cannot_be_written_is_said(formats: Path, tmp_path: Path) -> None:
    done = run(formats, "png", str(tmp_path / "no" / "a.png"), "1", "1", "1", given=b"\0")
    assert done.returncode == 2
    assert b"a.png: cannot be written; choose another output folder" in done.stderr
