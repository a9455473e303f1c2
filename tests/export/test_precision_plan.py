import json
from pathlib import Path
from typing import Any

import pytest

from hidenerf.export.precision_plan import IslandEntry, LayerEntry, PlanContent, read_plan
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import Weights

CONTENT: dict[str, Any] = {
    "schema": "hidenerf-precision-plan",
    "schema_version": 1,
    "checkpoint": {"sha256": "c" * 64, "name": "mine.safetensors"},
    "graphs": {"source_encoder": "0" * 64, "led": "1" * 64, "renderer_refiner": "2" * 64, "refiner": "3" * 64},
    "layers": [
        {"graph": "led", "layer": "stem", "precision": "int8", "activation_scale": 0.5},
        {"graph": "led", "layer": "head", "precision": "fp16"},
    ],
    "islands": [{"graph": "source_encoder", "node": "mul"}],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps(CONTENT | changes))
    return path


def test_what_the_exporter_reads(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = read_plan(path)
    assert plan.scales == {"led": {"stem": 0.5}}
    assert plan.islands == {"source_encoder": {"mul"}}
    assert plan.sha256 == sha256_of(path)
    plan.require_checkpoint(Weights("c" * 64, "renamed.safetensors"))
    plan.require_graph("led", "1" * 64)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = PlanContent(
        checkpoint=Weights(seed=3),
        graphs=CONTENT["graphs"],
        layers=[
            LayerEntry("led", "stem", "int8", activation_scale=0.5, reason="x", group="led/", weight_scales=(0.1, 0.2)),
            LayerEntry("led", "head", "fp16", reason="y"),
        ],
        islands=[IslandEntry("led", "mul", "product", 7e4, "z")],
    )
    written = content.to_json()
    assert written["layers"][1] == {"group": None, "graph": "led", "layer": "head", "precision": "fp16", "reason": "y"}
    plan = read_plan(write(tmp_path, **written))
    assert plan.checkpoint == Weights(seed=3)
    assert plan.digests == CONTENT["graphs"]
    assert plan.scales == {"led": {"stem": 0.5}}
    assert plan.islands == {"led": {"mul"}}


@pytest.mark.parametrize("other", [Weights("d" * 64, "other"), Weights(seed=0)])
def test_other_weights_are_refused(tmp_path: Path, other: Weights) -> None:
    with pytest.raises(HideNerfError, match=r"made for mine\.safetensors.* hidenerf-calibrate"):
        read_plan(write(tmp_path)).require_checkpoint(other)


def test_another_seed_is_refused(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, checkpoint={"random_init": 3}))
    plan.require_checkpoint(Weights(seed=3))
    with pytest.raises(HideNerfError, match="seed 3, and not for untrained weights from seed 4"):
        plan.require_checkpoint(Weights(seed=4))


@pytest.mark.parametrize(("name", "digest"), [("led", "2" * 64), ("torso", "1" * 64)])
def test_another_graph_is_refused(tmp_path: Path, name: str, digest: str) -> None:
    with pytest.raises(HideNerfError, match=f"another graph {name} .*hidenerf-calibrate"):
        read_plan(write(tmp_path)).require_graph(name, digest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "hidenerf-parity"}, "not a precision plan"),
        ({"schema_version": 2}, "schema version 2"),
        ({"layers": [{"graph": "led", "layer": "stem", "precision": "int4"}]}, "int4"),
        ({"layers": [{"graph": "led", "layer": "stem", "precision": "int8"}]}, "activation_scale"),
        ({"layers": [{"graph": "led", "layer": "stem", "precision": "int8", "activation_scale": -1.0}]}, "stem"),
        ({"layers": [{"graph": "ear", "layer": "stem", "precision": "int8", "activation_scale": 1.0}]}, "ear"),
        ({"layers": 5}, "missing or invalid"),
        ({"checkpoint": {}}, "which weights these are"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_fix(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(HideNerfError, match=message) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert "hidenerf-calibrate" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_what_is_not_even_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(HideNerfError, match="hidenerf-calibrate"):
        read_plan(path)
    with pytest.raises(HideNerfError, match="no such precision plan"):
        read_plan(tmp_path / "nowhere.json")
