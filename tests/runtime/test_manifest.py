"""The manifest's records: parsed once, and written back as they were read."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import (
    MANIFEST_NAME,
    GraphEntry,
    LaunchPlanEntry,
    Manifest,
    ParityVerdict,
    TensorSpec,
    Weights,
    read_manifest,
    write_manifest,
)

GRAPH = {
    "file": "led.onnx",
    "inputs": [{"name": "camera", "shape": [1, 25], "dtype": "float32"}],
    "outputs": [{"name": "frame", "shape": [8, 8, 3], "dtype": "uint8"}],
}
CONTENT: dict[str, Any] = {
    "schema": "hidenerf-bundle",
    "schema_version": 1,
    "generator": {"hidenerf": "0.2.0"},
    "model": {"name": "tiny", "image_size": 8, "render_size": 4, "secc_size": 8, "plane_sizes": [2, 4]},
    "checkpoint": {"sha256": "0" * 64, "name": "x.safetensors"},
    "precision": {
        "name": "int8",
        "fp32_islands": {"led": {"cameras": 3}},
        "int8_layers": {"led": 5},
        "plan": {"file": "precision.json", "sha256": "1" * 64},
    },
    "graphs": {"led": GRAPH},
    "kernel_parts": {
        **{name: GRAPH | {"file": f"{name}.onnx"} for name in ("refiner", "led_encoder", "led_decoder")},
        **{f"{name}_plan": {"file": f"{name}_plan.json", "weights": f"{name}_plan.npz"} for name in ("refiner", "led")},
        "weights": "kernel_weights.npz",
    },
    "face_model": {"file": "face_model.npz", "name": "anny"},
    "files": {"led.onnx": "2" * 64},
    "parity": {
        "passed": False,
        "failed": "2 of 3 frames",
        "precision": "int8",
        "backend": "onnxruntime-cpu",
        "frames": 3,
        "frame_psnr": 31.5,
        "flicker_psnr": None,
        "tensors_failed": 0,
        "thresholds": {"frame_psnr": 60.0},
        "report": "parity/report.json",
    },
}


def test_a_manifest_is_parsed_into_records() -> None:
    manifest = Manifest.from_json(CONTENT)
    assert (manifest.model.name, manifest.model.image_size, manifest.model.secc_size) == ("tiny", 8, 8)
    assert manifest.model.config["plane_sizes"] == [2, 4]
    assert manifest.checkpoint == Weights("0" * 64, "x.safetensors")
    assert manifest.checkpoint.trained
    camera, frame = (
        TensorSpec("camera", (1, 25), np.dtype(np.float32)),
        TensorSpec("frame", (8, 8, 3), np.dtype(np.uint8)),
    )
    assert manifest.graphs == {"led": GraphEntry("led.onnx", (camera,), (frame,))}
    assert manifest.parity is not None
    assert (manifest.parity.passed, manifest.parity.frame_psnr, manifest.parity.flicker_psnr) == (False, 31.5, None)
    assert not manifest.parity_waived


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"checkpoint": {"random_init": 3}},
        {"precision": {"name": "fp32", "fp32_islands": {}}},
        {"parity": None},
        {"parity": {"waived": True}},
        {"parity": CONTENT["parity"] | {"passed": True, "failed": None, "frame_psnr": "inf"}},
    ],
)
def test_what_is_read_is_written_back(tmp_path: Path, change: dict[str, Any]) -> None:
    content = CONTENT | change
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(content))
    write_manifest(read_manifest(tmp_path), tmp_path)
    assert json.loads((tmp_path / MANIFEST_NAME).read_text()) == content


def test_a_bundle_without_kernel_parts_has_none() -> None:
    content = {key: value for key, value in CONTENT.items() if key != "kernel_parts"}
    manifest = Manifest.from_json(content)
    assert manifest.kernel_parts is None
    assert "kernel_parts" not in manifest.to_json()


def test_the_parts_of_led_are_absent_from_older_bundles() -> None:
    older = {key: value for key, value in CONTENT["kernel_parts"].items() if not key.startswith("led_")}
    parts = Manifest.from_json(CONTENT | {"kernel_parts": older}).kernel_parts
    assert parts is not None
    assert (parts.led_encoder, parts.led_decoder, parts.led_plan) == (None, None, None)
    assert parts.refiner_plan == LaunchPlanEntry("refiner_plan.json", "refiner_plan.npz")
    assert parts.to_json() == older


def test_the_weights_of_kernel_parts_had_another_name() -> None:
    older = {key: value for key, value in CONTENT["kernel_parts"].items() if key != "weights"}
    manifest = Manifest.from_json(CONTENT | {"kernel_parts": older | {"renderer_mlp": "renderer_mlp.npz"}})
    assert manifest.kernel_parts is not None
    assert manifest.kernel_parts.weights == "renderer_mlp.npz"


def test_numbers_that_json_lacks_are_words() -> None:
    verdict = ParityVerdict(passed=False, failed="x", frame_psnr=math.nan, flicker_psnr=math.inf)
    assert (verdict.to_json()["frame_psnr"], verdict.to_json()["flicker_psnr"]) == ("nan", "inf")
    assert math.isnan(ParityVerdict.from_json(verdict.to_json()).frame_psnr or 0.0)


@pytest.mark.parametrize("checkpoint", [{}, "seed 0", {"random_init": "many"}, None])
def test_a_manifest_must_say_which_weights(tmp_path: Path, checkpoint: object) -> None:
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(CONTENT | {"checkpoint": checkpoint}))
    with pytest.raises(HideNerfError, match="the manifest lacks or garbles"):
        read_manifest(tmp_path)
