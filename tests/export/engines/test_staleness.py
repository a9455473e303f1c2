"""Which engines stay."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hidenerf.export.engines.staleness import MISSING, Ingredients, stale_reason
from tests.support.engine_sets import graph_bytes, sha256, sidecar, write_set

NOW = Ingredients(sha256(graph_bytes("led")), {}, None, {"tensorrt-rtx": "1.7.1"})


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def test_an_engine_of_the_same_origin_stays(engines: Path) -> None:
    assert stale_reason(engines, "led", NOW) is None


def test_there_was_none(tmp_path: Path) -> None:
    assert stale_reason(tmp_path / "nowhere", "led", NOW) == MISSING


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"graph_sha256": "0" * 64}, "the graph changed"),
        ({"flags": {"tf32": True}}, "the build flags changed"),
        ({"plugin_sha256": "0" * 64}, "the plugin changed"),
        ({"versions": {"tensorrt-rtx": "1.8"}}, "the library, its parser or Polygraphy changed"),
    ],
)
def test_what_changed_is_said(engines: Path, change: dict[str, Any], reason: str) -> None:
    assert stale_reason(engines, "led", replace(NOW, **change)) == reason


@pytest.mark.parametrize(
    ("name", "content"),
    [("led.plan", b"short"), ("led.json", b"{"), ("led.json", json.dumps(sidecar("led") | {"schema": ""}).encode())],
)
def test_damaged_files_are_said(engines: Path, name: str, content: bytes) -> None:
    (engines / name).write_bytes(content)
    assert stale_reason(engines, "led", NOW) == "its files are damaged"


@pytest.mark.parametrize("name", ["led.plan", "led.json"])
def test_half_an_engine_is_damaged(engines: Path, name: str) -> None:
    (engines / name).unlink()
    assert stale_reason(engines, "led", NOW) == "its files are damaged"
