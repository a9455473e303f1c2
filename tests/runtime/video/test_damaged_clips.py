"""Clips that end early, in one sentence or with what they have; `tests.support.fuzz_clips` tries more."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from hidenerf.runtime.video.reader import VideoReader
from tests.support.damaged_clips import BOUNDARIES, ends_at_boundaries
from tests.support.fuzzing import outcome
from tests.support.media import write_clip


def read_clip(path: Path) -> str:
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader)
    assert 0 < count <= 6
    return f"read {count} pictures"


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("suffix", sorted(BOUNDARIES))
def test_clips_that_end_at_a_boundary(tmp_path: Path, suffix: str) -> None:
    vp8 = suffix == ".webm"
    audio = "libopus" if vp8 else "libmp3lame" if suffix == ".avi" else "aac"
    whole = write_clip(tmp_path / f"whole{suffix}", 6, audio=audio, codec="libvpx" if vp8 else "libx264").read_bytes()
    ends = ends_at_boundaries(whole, suffix)
    found = [outcome(read_clip, tmp_path / f"clip{suffix}", whole[:end]) for end in ends]
    assert sum(not one.startswith("read") for one in found) > 10
