"""The timing cache, with an emulated `IBuilderConfig`: what is read, what is written, and what does not fit."""

from pathlib import Path

import pytest

from hidenerf.export.engines.timing_cache import read_timing_cache, timing_cache_file, write_timing_cache
from tests.support.log_lines import log_lines


class EmulatedCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> memoryview:
        return memoryview(self.content + b" and more")


class EmulatedConfig:
    """Takes caches that are empty or begin with "timings"; of others it makes none, or refuses them."""

    def __init__(self, makes: bool = True) -> None:
        self.makes = makes
        self.cache: EmulatedCache | None = None

    def create_timing_cache(self, content: bytes) -> EmulatedCache | None:
        fits = content == b"" or content.startswith(b"timings")
        return EmulatedCache(content) if fits or self.makes else None

    def set_timing_cache(self, cache: EmulatedCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content and not cache.content.startswith(b"timings"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> EmulatedCache | None:
        return self.cache


def test_its_name_is_that_of_the_set(tmp_path: Path) -> None:
    assert timing_cache_file(tmp_path, "tensorrt", "8.6.0", 90) == tmp_path / "tensorrt-8.6.0-sm90.timing"


def test_a_build_adds_to_what_was_timed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for expected in (b" and more", None):
        config = EmulatedConfig()
        read_timing_cache(config, path)
        write_timing_cache(config, path)
        assert expected is None or path.read_bytes() == expected
        path.write_bytes(b"timings")
    config = EmulatedConfig()
    read_timing_cache(config, path)
    assert config.cache is not None
    assert config.cache.content == b"timings"


@pytest.mark.parametrize("makes", [True, False])
def test_what_does_not_fit_is_said_and_timed_anew(tmp_path: Path, makes: bool) -> None:
    (tmp_path / "cache.timing").write_bytes(b"of another GPU")
    config = EmulatedConfig(makes)
    with log_lines() as lines:
        read_timing_cache(config, tmp_path / "cache.timing")
    assert lines == ["cache.timing does not fit this TensorRT and GPU; kernels are timed anew."]
    assert config.cache is not None
    assert config.cache.content == b""


def test_a_library_without_timings_writes_none(tmp_path: Path) -> None:
    write_timing_cache(EmulatedConfig(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
