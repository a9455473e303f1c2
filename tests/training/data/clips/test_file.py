"""A prepared clip's file: what goes in comes out frame by frame, whole or not at all, and damage is named."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.clips.file import Clip, ClipFrame, decode_frame, encode_frame, open_clip, save_clip
from tests.support.clips import make_clip, write_clip_file
from tests.support.media import read_bgr


def test_a_clip_comes_back_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    clip, frames = write_clip_file(path)
    file = open_clip(path)
    for field in dataclasses.fields(Clip):
        np.testing.assert_array_equal(getattr(file.clip, field.name), getattr(clip, field.name))
    for index in (3, 0, 4, 1, 2):
        found = file.frame(index).read()
        np.testing.assert_array_equal(found.mask, frames[index].mask)
        np.testing.assert_array_equal(found.region, frames[index].region)
        np.testing.assert_allclose(found.picture, frames[index].picture.astype(int), atol=12)
        assert not found.picture[found.mask == 0].any()


def test_a_photograph_loses_little(shared_data: Path) -> None:
    picture = read_bgr(shared_data / "src_astronaut.png")[:256, 100:356, ::-1]
    full = np.full((256, 256), 255, np.uint8)
    found = decode_frame(*encode_frame(ClipFrame(picture, full, full))).picture
    assert np.abs(found.astype(int) - picture).mean() < 2


def test_interrupted_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    before = path.read_bytes()
    clip, frames = make_clip(seed=1)

    def interrupted(stream: Any, **_: object) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_clip(clip, [encode_frame(frame) for frame in frames], path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.npz"]
    assert path.read_bytes() == before


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with some arrays changed, or left out where they are None."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_another_version_and_kind_are_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    with pytest.raises(HideNerfError, match=r"version 2, but this hidenerf reads version 1"):
        open_clip(rewritten(path, version=2))
    with pytest.raises(HideNerfError, match=r"clip\.npz: not a prepared clip"):
        open_clip(rewritten(path, format="hidenerf-motion"))
    with pytest.raises(HideNerfError, match="no such file"):
        open_clip(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": None}, "camera"),
        ({"camera": np.zeros((4, 25), np.float32)}, r"camera has shape \[4, 25\] where \[5, 25\]"),
        ({"camera": np.full((5, 25), np.nan, np.float32)}, "not finite"),
        ({"fps": np.array([25, 0])}, "not a readable prepared clip"),
        ({"ends": np.zeros((5, 2), np.int64)}, "end to end"),
        ({"checksums": np.zeros(4, np.uint32)}, "places 5 and checks 4 of 5 frames"),
        ({"frames": np.zeros(10, np.uint8)}, "end to end"),
        ({"frames": np.zeros(10, np.float32)}, "holds float32"),
        ({"identity": np.array([{}])}, "Object arrays cannot be loaded"),
    ],
)
def test_a_wrong_array_is_one_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    with pytest.raises(HideNerfError, match=message):
        open_clip(rewritten(path, **changes))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(HideNerfError, match="not a readable prepared clip"):
        open_clip(path)


def test_every_flipped_bit_of_a_frame_is_found(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    frame = open_clip(path).frame(2)
    for place in (frame.start, frame.middle - 1, frame.middle, frame.end - 1):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        other = tmp_path / "damaged.npz"
        other.write_bytes(content)
        file = open_clip(other)
        file.frame(1).read()
        with pytest.raises(HideNerfError, match=r"damaged\.npz: the prepared clip is damaged at byte"):
            file.frame(2).read()


def test_a_file_that_went_away_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path)
    frame = open_clip(path).frame(0)
    path.unlink()
    with pytest.raises(HideNerfError, match="can no longer be read"):
        frame.read()


def test_readers_do_without_torch() -> None:
    code = "import sys, hidenerf.training.data.clips.drawing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
