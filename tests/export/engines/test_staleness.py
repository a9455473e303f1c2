"""Which engines stay."""

import json
from pathlib import Path
from typing import Any

import pytest

from hidenerf.export.engines.staleness import MISSING, Origin, stale_reason
from tests.support.engine_sets import graph_bytes, sha256, sidecar, write_set

ORIGIN = Origin(sha256(graph_bytes("led")), {}, {"tensorrt-rtx": "1.7.1"})


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
