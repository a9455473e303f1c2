import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.pictures import (
    exif_orientation,
    is_picture,
    read_picture,
    read_picture_with_alpha,
    write_picture,
)
from tests.support.media import numbered_picture, write_clip

RED_TO_BLUE = np.zeros((40, 60, 3), np.uint8)
RED_TO_BLUE[:20, :30] = (255, 0, 0)
RED_TO_BLUE[20:, 30:] = (0, 0, 255)


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF header and one directory with the orientation alone."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera held so stores an upright picture (the table of the EXIF standard, tag 274)."""
    return {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(np.swapaxes(p, 0, 1), 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](upright)


def write_with_exif(path: Path, bgr: np.ndarray, orientation: int) -> None:
    metadata = np.frombuffer(exif(orientation), np.uint8)
    _, data = cv2.imencodeWithMetadata(path.suffix, bgr, [cv2.IMAGE_METADATA_EXIF], [metadata])
    path.write_bytes(data.tobytes())


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"portrait{suffix}"
    stored = np.ascontiguousarray(as_stored(RED_TO_BLUE, orientation)[..., ::-1])
    write_with_exif(path, stored, orientation)
    picture = read_picture(path)
    assert picture.shape == RED_TO_BLUE.shape
    assert np.abs(picture.astype(int) - RED_TO_BLUE).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_transparency_turns_with_the_picture(tmp_path: Path, orientation: int) -> None:
    alpha = np.arange(40 * 60, dtype=np.int64).reshape(40, 60) % 251
    bgra = np.dstack([RED_TO_BLUE[..., ::-1], alpha.astype(np.uint8)])
    path = tmp_path / "cutout.png"
    write_with_exif(path, np.ascontiguousarray(as_stored(bgra, orientation)), orientation)
    picture, found = read_picture_with_alpha(path)
    np.testing.assert_array_equal(picture, RED_TO_BLUE)
    np.testing.assert_array_equal(found, alpha)


def test_transparency_in_sixteen_bits_and_where_there_is_none(tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    cv2.imwrite(str(deep), np.full((4, 5, 4), 0x8040, np.uint16))
    picture, alpha = read_picture_with_alpha(deep)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(alpha, np.full((4, 5), 0x80))
    opaque = tmp_path / "opaque.png"
    cv2.imwrite(str(opaque), np.full((4, 5, 4), 255, np.uint8))
    assert read_picture_with_alpha(opaque)[1] is None
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((4, 5), 7, np.uint8))
    picture, alpha = read_picture_with_alpha(grey)
    assert alpha is None
    np.testing.assert_array_equal(picture, np.full((4, 5, 3), 7))


@given(st.integers(1, 8), st.sampled_from("<>"), st.integers(0, 200))
def test_exif_orientation_of_whole_and_cut_blocks(orientation: int, order: str, length: int) -> None:
    block = exif(orientation, order)
    assert exif_orientation(block) == orientation
    assert exif_orientation(block[:length]) in (1, orientation)


@given(st.binary(max_size=64))
def test_exif_orientation_of_anything(block: bytes) -> None:
    assert 1 <= exif_orientation(block) <= 8
    assert 1 <= exif_orientation(b"II*\0" + block) <= 8


def test_png_comes_back_exactly_and_jpeg_nearly(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    write_picture(picture, tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), picture)
    write_picture(RED_TO_BLUE, tmp_path / "b.JPG")
    assert np.abs(read_picture(tmp_path / "b.JPG").astype(int) - RED_TO_BLUE).mean() < 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.JPG"]


def test_write_errors(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path, words in [
        (tmp_path / "a.bmp", "as .png or .jpg"),
        (tmp_path / "folder.png", "is a folder"),
        (Path("/proc/a.png"), "cannot be written"),
    ]:
        with pytest.raises(HideNerfError, match=words):
            write_picture(RED_TO_BLUE, path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_read_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole.png"
    write_picture(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8), whole)
    cut_png = tmp_path / "cut.png"
    cut_png.write_bytes(whole.read_bytes()[:-500])
    cut_jpg = tmp_path / "cut.jpg"
    write_picture(RED_TO_BLUE, cut_jpg)
    cut_jpg.write_bytes(cut_jpg.read_bytes()[:300])
    empty = tmp_path / "empty.png"
    empty.touch()
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    heic = tmp_path / "phone.jpg"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    for path, words in [
        (tmp_path / "absent.png", "no such file"),
        (tmp_path, "is a folder"),
        (cut_png, "not a readable picture"),
        (cut_jpg, "not a readable picture"),
        (empty, "not a readable picture"),
        (text, "not a readable picture"),
        (heic, "HEIC pictures are not supported"),
    ]:
        for read in (read_picture, read_picture_with_alpha):
            with pytest.raises(HideNerfError, match=words) as caught:
                read(path)
            assert str(path) in str(caught.value)
    assert capfd.readouterr().err == ""


def png_of_declared_size(width: int, height: int) -> bytes:
    """A small PNG whose header states another size."""
    data = bytearray(cv2.imencode(".png", numbered_picture(0))[1].tobytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_a_picture_beyond_opencv_s_limits_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gigapixel.png"
    for width, height in ((40000, 30000), (2_000_000, 2), (2, 2_000_000)):
        path.write_bytes(png_of_declared_size(width, height))
        for read in (read_picture, read_picture_with_alpha):
            with pytest.raises(HideNerfError, match=rf"of {width} × {height} pixels has more pixels .*[^\n]*\.$"):
                read(path)
    assert capfd.readouterr().err == ""


def test_pictures_are_told_by_content(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff"):
        _, data = cv2.imencode(suffix, numbered_picture(0))
        path = tmp_path / f"named{suffix}.mp4"
        path.write_bytes(data.tobytes())
        assert is_picture(path), suffix
    clip = write_clip(tmp_path / "clip.mp4", frames=1).rename(tmp_path / "clip.png")
    assert not is_picture(clip)
    assert not is_picture(tmp_path)
    assert not is_picture(tmp_path / "absent.png")


def test_real_portraits(shared_data: Path) -> None:
    assert read_picture(shared_data / "src_astronaut.png").shape == (512, 512, 3)
    assert read_picture(shared_data / "src_obama.jpg").shape == (1137, 910, 3)
    # The flag on the left of the astronaut and her suit: far more red than blue.
    mean = read_picture(shared_data / "src_astronaut.png").mean(axis=(0, 1))
    assert mean[0] > mean[2] + 15
