"""Animated pictures, written by OpenCV, by FFmpeg and byte by byte."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video import animation
from hidenerf.runtime.video.animation import UNSTATED, AnimationReader, is_animation
from hidenerf.runtime.video.pictures import is_picture
from tests.support.media import Picture, number_of, numbered_picture

SUFFIXES = (".webp", ".png", ".avif")
MILLISECONDS = [40, 120, 80, 40, 200, 40, 40]


def write_animation(path: Path, pictures: Sequence[Picture], milliseconds: Sequence[int]) -> Path:
    """An animated picture of pictures [H, W, 3] RGB or [H, W, 4] RGBA, each shown so long."""
    drawn = cv2.Animation()
    drawn.frames = [
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
        for picture in pictures
    ]
    drawn.durations = list(milliseconds)
    written, data = cv2.imencodeanimation(path.suffix, drawn)
    assert written
    path.write_bytes(data.tobytes())
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_frame_comes_at_its_own_time(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_animation(tmp_path / f"a{suffix}", [numbered_picture(index) for index in range(7)], MILLISECONDS)
    assert is_animation(path)
    assert not is_picture(path)
    starts = [Fraction(sum(MILLISECONDS[:index]), 1000) for index in range(7)]
    # All at once, and three at a time.
    for at_once in (1 << 28, 3 * 4 * 48 * 64):
        monkeypatch.setattr(animation, "_BYTES_AT_ONCE", at_once)
        with AnimationReader(path) as reader:
            assert (reader.length, reader.size, reader.has_audio) == (7, (48, 64), False)
            assert reader.fps == Fraction(7000, sum(MILLISECONDS))
            frames = list(reader)
        assert [number_of(picture) for picture, _ in frames] == list(range(7))
        assert [time for _, time in frames] == starts


def test_parts_of_frames_are_put_together_and_exact_times_kept(tmp_path: Path) -> None:
    # FFmpeg writes what has changed only, and times as fractions of a second.
    path = tmp_path / "a.png"
    with av.open(str(path), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for index in range(5):
            picture = numbered_picture(0)
            picture[10 + 5 * index : 20 + 5 * index, 40:60] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with AnimationReader(path) as reader:
        frames = list(reader)
    assert [time for _, time in frames] == [index * Fraction(1001, 30000) for index in range(5)]
    for index, (picture, _) in enumerate(frames):
        expected = numbered_picture(0)
        expected[10 + 5 * index : 20 + 5 * index, 40:60] = 200
        np.testing.assert_array_equal(picture, expected)


def test_a_frame_without_duration_is_shown_as_browsers_do(tmp_path: Path) -> None:
    data = bytearray(
        write_animation(tmp_path / "a.webp", [numbered_picture(1), numbered_picture(2)], [0, 50]).read_bytes()
    )
    first = data.index(b"ANMF")
    data[first + 20 : first + 23] = bytes(3)
    (tmp_path / "a.webp").write_bytes(data)
    with AnimationReader(tmp_path / "a.webp") as reader:
        assert [time for _, time in reader] == [0, UNSTATED]


def test_transparent_pixels_are_grey(tmp_path: Path) -> None:
    clear = np.zeros((48, 64, 4), np.uint8)
    clear[:, 32:] = (250, 0, 0, 255)
    path = write_animation(tmp_path / "a.png", [clear, clear[:, ::-1]], [40, 40])
    with AnimationReader(path) as reader:
        (first, _), (second, _) = reader
    np.testing.assert_allclose(first[24, 10], 128, atol=2)
    np.testing.assert_allclose(second[24, 50], 128, atol=2)
    np.testing.assert_allclose(first[24, 50], (250, 0, 0), atol=8)


def test_stills_and_clips_are_no_animations(tmp_path: Path) -> None:
    for suffix in (".png", ".webp", ".avif", ".jpg", ".gif"):
        _, data = cv2.imencode(suffix, numbered_picture(0))
        (tmp_path / f"a{suffix}").write_bytes(data.tobytes())
        assert not is_animation(tmp_path / f"a{suffix}"), suffix
    moving = write_animation(tmp_path / "moving.gif", [numbered_picture(0), numbered_picture(3)], [40, 40])
    assert not is_animation(moving)
    assert not is_picture(moving)
    (tmp_path / "empty").touch()
    assert not is_animation(tmp_path / "empty")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_animation_is_one_sentence(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(6)]
    data = write_animation(tmp_path / f"a{suffix}", noise, [40] * 6).read_bytes()
    path = tmp_path / f"cut{suffix}"
    sentences = []
    for length in np.linspace(40, len(data) - 1, 12).astype(int):
        path.write_bytes(data[:length])
        if is_animation(path):
            try:
                with AnimationReader(path) as reader:
                    assert all(picture.shape == (48, 64, 3) for picture, _ in reader)
            except HideNerfError as error:
                sentences.append(str(error))
    assert len(sentences) > 3
    assert all(one.startswith(f"{path}: ") and "\n" not in one and one.endswith(".") for one in sentences)
    assert capfd.readouterr().err == ""


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"absent\.webp: cannot be read \(No such file"):
        AnimationReader(tmp_path / "absent.webp")
