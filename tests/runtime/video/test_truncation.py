from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.reader import VideoReader
from hidenerf.runtime.video.truncation import missing_bytes
from tests.support.media import write_clip


def decoded(path: Path) -> int:
    """Number of the clip's frames."""
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


@pytest.fixture(scope="module", params=["mp4", "faststart.mp4", "mkv", "avi", "mov"])
def sound_clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / f"clip.{request.param}"
    audio = "libmp3lame" if path.suffix == ".avi" else "aac"
    options = {"movflags": "faststart"} if "faststart" in path.name else None
    return write_clip(path, frames=60, audio=audio, options=options)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(kept=st.floats(0.0, 0.9999))
def test_cut_anywhere_is_an_error_and_never_a_shorter_clip(sound_clip: Path, kept: float) -> None:
    data = sound_clip.read_bytes()
    cut = sound_clip.with_name(f"cut{sound_clip.suffix}")
    cut.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(HideNerfError):
        decoded(cut)


def test_whole_file_misses_nothing(sound_clip: Path) -> None:
    assert missing_bytes(sound_clip) == 0
    cut = sound_clip.with_name(f"short{sound_clip.suffix}")
    cut.write_bytes(sound_clip.read_bytes()[:-100])
    assert missing_bytes(cut) == 100
    with pytest.raises(HideNerfError, match="100 bytes are missing"):
        VideoReader(cut)


def test_trailing_junk_is_harmless(sound_clip: Path) -> None:
    long = sound_clip.with_name(f"long{sound_clip.suffix}")
    long.write_bytes(sound_clip.read_bytes() + b"\x00\x00\xff\x00sefd" + bytes(50))
    assert missing_bytes(long) == 0
    assert decoded(long) == 60
