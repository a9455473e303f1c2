"""Opening a bundle: what it offers, and one sentence for each way in which it can be broken."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.bundle import (
    GRAPH_NAMES,
    PARITY_REPORT,
    LaunchPlanFiles,
    ParityState,
    open_bundle,
    require_parity,
)
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import read_manifest

Manifest = dict[str, Any]


def tensor(name: str, shape: list[int], dtype: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype}


def write(folder: Path, change: Callable[[Manifest], Any] | None = None) -> Path:
    """A bundle whose graphs are a few bytes each: opening reads hashes and the manifest, not the graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {f"{name}.onnx": name.encode() * 10 for name in GRAPH_NAMES} | {"face_model.npz": b"a face"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    graph = {
        "inputs": [tensor("camera", [1, 25], "float32")],
        "outputs": [tensor("frame", [64, 64, 3], "uint8"), tensor("features", [1, 2], "float16")],
    }
    manifest: Manifest = {
        "schema": "hidenerf-bundle",
        "schema_version": 1,
        "generator": {},
        "model": {"name": "tiny", "image_size": 64, "render_size": 16, "secc_size": 32},
        "checkpoint": {"sha256": "0" * 64, "name": "x.safetensors"},
        "precision": {"name": "fp16", "fp32_islands": {}},
        "graphs": {name: {"file": f"{name}.onnx", **graph} for name in GRAPH_NAMES},
        "face_model": {"file": "face_model.npz", "name": "anny"},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "parity": None,
    }
    if change is not None:
        change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


PLANS = tuple(f"{name}_plan.{kind}" for name in ("refiner", "led") for kind in ("json", "npz"))
PARTS = ("refiner.onnx", "led_encoder.onnx", "led_decoder.onnx", *PLANS, "kernel_weights.npz")


def with_kernel_parts(manifest: Manifest) -> None:
    described = {key: manifest["graphs"]["led"][key] for key in ("inputs", "outputs")}
    graphs = {name: {"file": f"{name}.onnx", **described} for name in ("refiner", "led_encoder", "led_decoder")}
    plans = {
        f"{name}_plan": {"file": f"{name}_plan.json", "weights": f"{name}_plan.npz"} for name in ("refiner", "led")
    }
    manifest["kernel_parts"] = {**graphs, **plans, "weights": "kernel_weights.npz"}
    for name in PARTS:
        manifest["files"][name] = hashlib.sha256(name.encode()).hexdigest()


def test_kernel_parts_are_read_and_may_be_missing(tmp_path: Path) -> None:
    assert open_bundle(write(tmp_path / "before")).kernel_parts is None
    folder = write(tmp_path / "now", with_kernel_parts)
    for name in PARTS:
        (folder / name).write_bytes(name.encode())
    parts = open_bundle(folder).kernel_parts
    assert parts is not None
    assert parts.weights_path == folder / "kernel_weights.npz"
    assert (parts.refiner.name, parts.refiner.path) == ("refiner", folder / "refiner.onnx")
    assert parts.refiner.inputs["camera"].shape == (1, 25)
    for part, name in ((parts.led_encoder, "led_encoder"), (parts.led_decoder, "led_decoder")):
        assert part is not None
        assert (part.name, part.path) == (name, folder / f"{name}.onnx")
    for plan, name in ((parts.refiner_plan, "refiner_plan"), (parts.led_plan, "led_plan")):
        assert plan == LaunchPlanFiles(folder / f"{name}.json", folder / f"{name}.npz")
    assert parts.files == [folder / name for name in ("kernel_weights.npz", *PARTS[:-1])]


def test_kernel_parts_of_an_older_bundle_lack_those_of_led(tmp_path: Path) -> None:
    def older(manifest: Manifest) -> None:
        with_kernel_parts(manifest)
        for name in ("led_encoder", "led_decoder"):
            del manifest["kernel_parts"][name]
            del manifest["files"][f"{name}.onnx"]
        for name in ("refiner_plan", "led_plan"):
            del manifest["kernel_parts"][name]
            del manifest["files"][f"{name}.json"], manifest["files"][f"{name}.npz"]

    folder = write(tmp_path / "older", older)
    for name in ("refiner.onnx", "kernel_weights.npz"):
        (folder / name).write_bytes(name.encode())
    parts = open_bundle(folder).kernel_parts
    assert parts is not None
    assert (parts.led_encoder, parts.led_decoder, parts.refiner_plan, parts.led_plan) == (None, None, None, None)
    assert parts.files == [folder / "kernel_weights.npz", folder / "refiner.onnx"]


@pytest.mark.parametrize("name", PARTS)
def test_kernel_parts_without_a_hash_or_a_file_are_refused(tmp_path: Path, name: str) -> None:
    def unhashed(manifest: Manifest) -> None:
        with_kernel_parts(manifest)
        manifest["files"] = {key: value for key, value in manifest["files"].items() if key not in PARTS}
        manifest["files"] |= {other: hashlib.sha256(b"x").hexdigest() for other in PARTS if other != name}

    folder = write(tmp_path / "unhashed", unhashed)
    for file in PARTS:
        (folder / file).write_bytes(b"x")
    assert f"no hash of its file {name}" in refusal(folder)
    assert "is missing" in refusal(write(tmp_path / "missing", with_kernel_parts))


def refusal(folder: Path) -> str:
    with pytest.raises(HideNerfError) as caught:
        open_bundle(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "hidenerf-export" in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_good_bundle(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path))
    assert (bundle.image_size, bundle.render_size, bundle.secc_size) == (64, 16, 32)
    assert bundle.precision == "fp16"
    assert bundle.trained
    assert bundle.manifest.face_model.name == "anny"
    assert bundle.face_model_path == tmp_path / "face_model.npz"
    assert list(bundle.graphs) == ["source_encoder", "led", "renderer_refiner"]
    led = bundle.graphs["led"]
    assert led.path == tmp_path / "led.onnx"
    assert led.inputs["camera"].shape == (1, 25)
    assert led.inputs["camera"].dtype == np.dtype(np.float32)
    assert list(led.outputs) == ["frame", "features"]
    assert [t.dtype for t in led.outputs.values()] == [np.dtype(np.uint8), np.dtype(np.float16)]


def test_weights_from_a_seed_are_untrained(tmp_path: Path) -> None:
    assert not open_bundle(write(tmp_path, lambda m: m.update(checkpoint={"random_init": 3}))).trained


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such bundle folder" in refusal(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("x")
    assert "no such bundle folder" in refusal(file)


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    assert "manifest.json" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"not json"])
def test_a_manifest_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    assert "not readable as JSON" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", '"hidenerf-bundle"', '{"name": "a web page"}'])
def test_a_manifest_of_something_else(tmp_path: Path, content: str) -> None:
    write(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    assert "not a hidenerf bundle's manifest" in refusal(tmp_path)


def test_an_older_schema(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, lambda m: m.update(schema_version=0)))
    assert "older schema version 0" in message
    assert "reads 1" in message


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_schema(tmp_path: Path, version: object) -> None:
    assert f"schema version {version}" in refusal(write(tmp_path, lambda m: m.update(schema_version=version)))


def test_the_schema_is_read_without_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "led.onnx").unlink()
    assert read_manifest(tmp_path).precision.name == "fp16"


@pytest.mark.parametrize("name", [*(f"{graph}.onnx" for graph in GRAPH_NAMES), "face_model.npz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    message = refusal(tmp_path)
    assert f"{name} is missing" in message


def test_a_folder_in_a_files_place_is_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "led.onnx").unlink()
    (tmp_path / "led.onnx").mkdir()
    assert "led.onnx is missing" in refusal(tmp_path)


@pytest.mark.parametrize("name", [*(f"{graph}.onnx" for graph in GRAPH_NAMES), "face_model.npz"])
def test_one_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{name} was changed" in refusal(tmp_path)


@pytest.mark.parametrize("cut", [0, 5])
def test_a_truncated_file_is_noticed(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path) / "led.onnx"
    path.write_bytes(path.read_bytes()[:cut])
    assert "led.onnx was changed" in refusal(tmp_path)


@pytest.mark.parametrize("outside", ["../secret", "sub/../../secret", "{absolute}"])
def test_a_hashed_file_outside_the_bundle_is_refused(tmp_path: Path, outside: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    name = outside.format(absolute=secret)
    digest = hashlib.sha256(b"secret").hexdigest()
    folder = write(tmp_path / "bundle", lambda m: m["files"].update({name: digest}))
    (folder / "sub").mkdir()
    assert "outside the bundle" in refusal(folder)


@pytest.mark.parametrize("outside", ["../led.onnx", "{absolute}"])
@pytest.mark.parametrize("entry", ["graph", "face model"])
def test_a_graph_or_face_model_outside_the_bundle_is_refused(tmp_path: Path, entry: str, outside: str) -> None:
    (tmp_path / "led.onnx").write_bytes(b"another graph, whose hash nobody checked")
    name = outside.format(absolute=tmp_path / "led.onnx")

    def change(manifest: Manifest) -> None:
        target = manifest["graphs"]["led"] if entry == "graph" else manifest["face_model"]
        target["file"] = name

    refusal(write(tmp_path / "bundle", change))


@pytest.mark.parametrize("entry", ["graph", "face model"])
def test_a_file_whose_hash_the_manifest_lacks_is_refused(tmp_path: Path, entry: str) -> None:
    """Else a changed graph would pass by leaving its hash out."""
    name = "led.onnx" if entry == "graph" else "face_model.npz"
    assert name in refusal(write(tmp_path, lambda m: m["files"].pop(name)))


ENTRIES = ("model", "precision", "graphs", "face_model", "files")
GARBAGE: tuple[object, ...] = ("missing", None, [], "text", 3)


@pytest.mark.parametrize(
    ("key", "garbage"),
    [(key, garbage) for key in ENTRIES for garbage in GARBAGE]
    + [("checkpoint", garbage) for garbage in ("missing", None, 3)],
)
def test_a_missing_or_garbled_entry_is_named(tmp_path: Path, key: str, garbage: object) -> None:
    def change(manifest: Manifest) -> None:
        if garbage == "missing":
            del manifest[key]
        else:
            manifest[key] = garbage

    message = refusal(write(tmp_path, change))
    if garbage == "missing":
        assert key in message


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["graphs"].pop("led"),
        lambda m: m["graphs"]["led"].pop("file"),
        lambda m: m["graphs"]["led"].pop("inputs"),
        lambda m: m["graphs"]["led"]["inputs"][0].pop("shape"),
        lambda m: m["graphs"]["led"]["inputs"][0].update(shape=3),
        lambda m: m["graphs"]["led"]["inputs"][0].update(dtype="float99"),
        lambda m: m["model"].pop("secc_size"),
        lambda m: m["model"].update(image_size="large"),
        lambda m: m["model"].pop("name"),
        lambda m: m["face_model"].pop("name"),
    ],
)
def test_a_garbled_detail_is_refused_when_opening_and_not_later(
    tmp_path: Path, change: Callable[[Manifest], Any]
) -> None:
    refusal(write(tmp_path, change))


def verdict(**entry: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest.update(parity=entry)


def test_a_failed_verdict_is_refused_in_its_words(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path / "failed", verdict(passed=False, failed="2 of 3 frames are green")))
    assert bundle.parity is ParityState.FAILED
    assert bundle.failed_parity == "2 of 3 frames are green"
    with pytest.raises(HideNerfError, match=r"failed: 2 of 3 frames are green; .*--allow-failed-parity"):
        require_parity(bundle)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (verdict(passed=True, failed=None), ParityState.PASSED),
        (verdict(waived=True), ParityState.WAIVED),
    ],
)
def test_a_bundle_that_passed_or_whose_parity_was_waived_is_taken(
    tmp_path: Path, change: Callable[[Manifest], Any], state: ParityState
) -> None:
    bundle = open_bundle(write(tmp_path / "bundle", change))
    assert bundle.parity is state
    assert bundle.failed_parity is None
    require_parity(bundle)


def interrupted_while_storing(manifest: Manifest) -> None:
    """The report's files are there, but neither a verdict nor their hashes."""
    manifest["parity"] = None


@pytest.mark.parametrize(
    "change", [None, lambda manifest: manifest.pop("parity"), interrupted_while_storing], ids=["null", "no key", "cut"]
)
def test_a_bundle_that_was_never_compared_is_refused(tmp_path: Path, change: Callable[[Manifest], Any] | None) -> None:
    folder = write(tmp_path / "bundle", change)
    if change is interrupted_while_storing:
        (folder / PARITY_REPORT).parent.mkdir()
        (folder / PARITY_REPORT).write_text("<html>")
    bundle = open_bundle(folder)
    assert bundle.parity is ParityState.NEVER_COMPARED
    assert bundle.failed_parity is None
    with pytest.raises(HideNerfError, match=r"never compared .*hidenerf-parity .*bundle, .*--allow-failed-parity\.$"):
        require_parity(bundle)


def test_a_failed_verdict_of_before_there_were_words(tmp_path: Path) -> None:
    old = verdict(passed=False, frame_psnr=31.25, thresholds={"frame_psnr": 60.0})
    with pytest.raises(HideNerfError, match=r"worst frame 31.25 dB where 60.0 dB is asked"):
        require_parity(open_bundle(write(tmp_path / "old", old)))


def test_a_garbled_verdict_is_a_garbled_manifest(tmp_path: Path) -> None:
    for number, garbled in enumerate(("yes", {}, {"waived": False}, {"waived": "yes"})):
        with pytest.raises(HideNerfError, match="lacks or garbles"):
            open_bundle(write(tmp_path / f"{number}", functools.partial(dict.update, parity=garbled)))
