"""Finding engines: which set fits, and one sentence for each way in which none does. No library is needed for that."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.bundle import Bundle, GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import Manifest, TensorSpec
from hidenerf.runtime.tensorrt.engine_set import build_command, find_engines, has_engines, set_folder
from hidenerf.runtime.tensorrt.sidecar import PLUGIN_FILE, read_sidecar
from tests.support.engine_sets import GRAPHS, VERSION, graph_bytes, sha256, sidecar, write_set


def bundle_in(folder: Path) -> Bundle:
    """What `open_bundle` would give, of which the finder reads the graphs' files and hashes."""
    files = {f"{name}.onnx": sha256(graph_bytes(name)) for name in GRAPHS}
    graphs = {name: GraphSpec(name, folder / f"{name}.onnx", {}, {}) for name in GRAPHS}
    content = {
        "model": {"name": "tiny", "image_size": 8, "render_size": 8, "secc_size": 8},
        "checkpoint": {"random_init": 0},
        "precision": {"name": "fp16"},
        "graphs": {},
        "face_model": {"file": "face_model.npz", "name": "none"},
        "files": files,
    }
    return Bundle(folder, Manifest.from_json(content), graphs, None)


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return write_set(set_folder(tmp_path, "tensorrt-rtx", VERSION, 86))


def refuse(folder: Path, backend: str = "tensorrt-rtx", version: str = VERSION, sm: int = 86) -> str:
    with pytest.raises(HideNerfError) as caught:
        find_engines(bundle_in(folder), backend, version, sm)
    message = str(caught.value)
    assert message.endswith(f"build them with: {build_command(folder, backend, sm)}")
    return message


def test_engines_are_found_with_their_tensors(engines: Path, tmp_path: Path) -> None:
    found = find_engines(bundle_in(tmp_path), "tensorrt-rtx", VERSION, 86)
    assert list(found) == list(GRAPHS)
    assert found["led"].path == engines / "led.plan"
    assert found["led"].inputs == {"camera": TensorSpec("camera", (1, 25), np.dtype(np.float32))}
    assert found["led"].outputs == {"frame": TensorSpec("frame", (8, 8, 3), np.dtype(np.uint8))}


def test_a_set_can_be_copied_from_another_machine(engines: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(engines, other / "engines" / engines.name)
    assert find_engines(bundle_in(other), "tensorrt-rtx", VERSION, 86)


def test_the_command_builds_for_the_gpu_that_is_meant() -> None:
    folder = Path("b")
    assert build_command(folder, "tensorrt-rtx", 86) == "hidenerf-export b --backend tensorrt-rtx --sm 86"
    assert build_command(folder, "tensorrt", 86) == "hidenerf-export b --backend tensorrt"


def test_a_bundle_has_engines_of_the_backends_that_built_some(engines: Path, tmp_path: Path) -> None:
    assert engines.is_dir()
    assert has_engines(tmp_path, "tensorrt-rtx")
    assert not has_engines(tmp_path, "tensorrt")
    assert not has_engines(tmp_path / "elsewhere", "tensorrt-rtx")


def test_no_engines_at_all(tmp_path: Path) -> None:
    assert "no engines for TensorRT-RTX" in refuse(tmp_path)


def test_engines_of_the_other_library_do_not_count(engines: Path, tmp_path: Path) -> None:
    assert engines.is_dir()
    assert "no engines for TensorRT;" in refuse(tmp_path, backend="tensorrt")


def test_engines_for_other_gpus_are_listed(engines: Path, tmp_path: Path) -> None:
    for sm in (80, 120):
        shutil.copytree(engines, set_folder(tmp_path, "tensorrt-rtx", VERSION, sm))
    assert "TensorRT-RTX 1.7.1 are for SM 80, 86 and 120, not for this GPU's SM 89" in refuse(tmp_path, sm=89)


def test_engines_for_another_version_are_listed(engines: Path, tmp_path: Path) -> None:
    assert engines.is_dir()
    assert "for version 1.7.1, not for 1.8.0" in refuse(tmp_path, version="1.8.0")


def test_a_truncated_plan(engines: Path, tmp_path: Path) -> None:
    plan = engines / "led.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    assert "led.plan: damaged, it has 20 bytes instead of 21" in refuse(tmp_path)


def test_a_changed_plan(engines: Path, tmp_path: Path) -> None:
    plan = engines / "led.plan"
    plan.write_bytes(plan.read_bytes()[::-1])
    assert "led.plan: damaged, it was changed" in refuse(tmp_path)


@pytest.mark.parametrize("name", ["led.plan", "led.json"])
def test_a_missing_file(engines: Path, tmp_path: Path, name: str) -> None:
    (engines / name).unlink()
    assert f"it lacks {name}" in refuse(tmp_path)


def test_an_engine_of_another_graph(engines: Path, tmp_path: Path) -> None:
    changed = sidecar("led") | {"source": {"file": "led.onnx", "sha256": sha256(b"another graph")}}
    (engines / "led.json").write_text(json.dumps(changed))
    assert "led.plan: built from another led.onnx" in refuse(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "not json",
        lambda _: "[]",
        lambda s: json.dumps(s | {"schema": "other"}),
        lambda s: json.dumps(s | {"schema_version": 2}),
        lambda s: json.dumps({key: value for key, value in s.items() if key != "plan"}),
        lambda s: json.dumps(s | {"plan": s["plan"] | {"file": "../../led.plan"}}),
        lambda s: json.dumps(s | {"inputs": [{"name": "camera"}]}),
        lambda s: json.dumps(s | {"outputs": [{"name": "y", "shape": [1], "dtype": "float17"}]}),
        lambda s: json.dumps(s | {"source": None}),
    ],
)
def test_a_sidecar_that_is_none(engines: Path, tmp_path: Path, change: Callable[[dict[str, Any]], str]) -> None:
    (engines / "led.json").write_text(change(sidecar("led")))
    assert "led.json: " in refuse(tmp_path)


def test_what_code_a_plan_carries_is_said(engines: Path, tmp_path: Path) -> None:
    built = {"sha256": sha256(b"plugin")}

    def described(build: dict[str, Any], plan: dict[str, Any]) -> tuple[bool, bool, Path | None]:
        changed = sidecar("led") | {"build": build, "plan": sidecar("led")["plan"] | plan}
        (engines / "led.json").write_text(json.dumps(changed))
        engine = find_engines(bundle_in(tmp_path), "tensorrt-rtx", VERSION, 86)["led"]
        return engine.version_compatible, engine.carries_code, engine.plugin

    assert described({}, {}) == (False, False, None)
    assert described({"version_compatible": False}, {}) == (False, False, None)
    assert described({"version_compatible": True}, {}) == (True, True, None)
    assert described({"plugin": built}, {}) == (False, True, None)
    (engines / PLUGIN_FILE).write_bytes(b"plugin")
    assert described({"plugin": built}, {"plugin_file": PLUGIN_FILE}) == (False, False, engines / PLUGIN_FILE)
    (engines / PLUGIN_FILE).write_bytes(b"another")
    assert f"{PLUGIN_FILE}: this plugin, which led.plan needs, is missing or was changed;" in refuse(tmp_path)


@pytest.mark.parametrize(
    ("build", "plan"),
    [
        ({"plugin": {"sha256": ""}}, {"plugin_file": "../../plugin.so"}),
        ({}, {"plugin_file": PLUGIN_FILE}),
        ({"plugin": {}}, {}),
        ([], {}),
    ],
)
def test_a_sidecar_with_half_a_plugin(engines: Path, tmp_path: Path, build: object, plan: dict[str, Any]) -> None:
    changed = sidecar("led") | {"build": build, "plan": sidecar("led")["plan"] | plan}
    (engines / "led.json").write_text(json.dumps(changed))
    assert "led.json: damaged" in refuse(tmp_path)


def test_sidecars_are_read_as_written(engines: Path) -> None:
    assert json.loads(read_sidecar(engines, "led").to_json()) == sidecar("led")


def test_folders_of_other_names_are_passed_over(engines: Path, tmp_path: Path) -> None:
    (engines.parent / "notes").mkdir()
    (engines.parent / "tensorrt-rtx-1.7.1-sm").mkdir()
    (engines.parent / "readme.txt").write_text("mine")
    assert "are for SM 86," in refuse(tmp_path, sm=75)
