"""Which engines stay, and how they survive the bundle around them."""

import json
from pathlib import Path
from typing import Any

import pytest

from hidenerf.export.engines.cache import MISSING, Origin, engines_aside, stale_reason
from tests.runtime.test_engines import sha256, sidecar, source, write_set

ORIGIN = Origin(sha256(source("led")), {}, {"tensorrt-rtx": "1.7.1"})


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def test_an_engine_of_the_same_origin_stays(engines: Path) -> None:
    assert stale_reason(engines, "led", ORIGIN) is None


def test_there_was_none(tmp_path: Path) -> None:
    assert stale_reason(tmp_path / "nowhere", "led", ORIGIN) == MISSING


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_sha256": "0" * 64}, "the graph changed"),
        ({"build": {"tf32": True}}, "the build flags changed"),
        ({"versions": {"tensorrt-rtx": "1.8"}}, "the library, its parser or Polygraphy changed"),
    ],
)
def test_what_changed_is_said(engines: Path, change: dict[str, Any], reason: str) -> None:
    assert stale_reason(engines, "led", Origin(**(vars(ORIGIN) | change))) == reason


@pytest.mark.parametrize(
    ("name", "content"),
    [("led.plan", b"short"), ("led.json", b"{"), ("led.json", json.dumps(sidecar("led") | {"schema": ""}).encode())],
)
def test_damaged_files_are_said(engines: Path, name: str, content: bytes) -> None:
    (engines / name).write_bytes(content)
    assert stale_reason(engines, "led", ORIGIN) == "its files are damaged"


@pytest.mark.parametrize("name", ["led.plan", "led.json"])
def test_half_an_engine_is_damaged(engines: Path, name: str) -> None:
    (engines / name).unlink()
    assert stale_reason(engines, "led", ORIGIN) == "its files are damaged"


def bundle_with_engines(folder: Path) -> Path:
    write_set(folder / "engines" / "a set")
    (folder / "engines" / "notes.txt").write_text("mine")
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt, ZeroDivisionError])
def test_engines_come_back_around_a_new_bundle_and_after_a_failure(
    tmp_path: Path, stop: type[BaseException] | None
) -> None:
    folder = bundle_with_engines(tmp_path / "bundle")
    before = {path: path.read_bytes() for path in (folder / "engines").rglob("*") if path.is_file()}

    def replace_the_bundle() -> None:
        with engines_aside(folder):
            assert [path.name for path in folder.iterdir()] == ["manifest.json"]
            (folder / "manifest.json").write_text("new")
            if stop is not None:
                raise stop

    if stop is None:
        replace_the_bundle()
    else:
        with pytest.raises(stop):
            replace_the_bundle()
    assert {path: path.read_bytes() for path in (folder / "engines").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    folder = bundle_with_engines(tmp_path / "mine")
    (folder / "manifest.json").unlink()
    with engines_aside(folder):
        assert (folder / "engines" / "notes.txt").is_file()
    with engines_aside(tmp_path / "nowhere"):
        assert not (tmp_path / "nowhere").exists()
