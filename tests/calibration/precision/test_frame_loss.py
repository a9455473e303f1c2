"""The split and cached pipeline of the search against whole graphs, and losses by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hidenerf.calibration.precision.calibrate import Models, load_models
from hidenerf.calibration.precision.data import CalibrationData, DataDescription, Sample
from hidenerf.calibration.precision.frame_loss import Int8Frames, frame_loss, whole_frames
from hidenerf.export.convolutions import convolutions
from hidenerf.export.passes.quantisation import Int8Convolutions
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.camera import canonical_camera


def test_losses_by_hand() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    off_by_two = np.full((2, 2, 3), 2, np.uint8)
    loss = frame_loss([black, black], [black, off_by_two])
    assert loss.mean_square == 2.0
    assert loss.worst == pytest.approx(10 * math.log10(255**2 / 4))
    assert loss.mean == pytest.approx(10 * math.log10(255**2 / 2))
    assert frame_loss([black], [black]).worst == math.inf


@pytest.fixture(scope="module")
def models(bundle_fp32: Path) -> Models:
    return load_models(open_bundle(bundle_fp32))


@pytest.fixture(scope="module")
def data(animator: Animator) -> CalibrationData:
    size, secc = animator.bundle.image_size, animator.bundle.secc_size
    random = np.random.default_rng(0)

    def picture(side: int) -> np.ndarray:
        return random.random((1, 3, side, side)).astype(np.float32)

    sources = [
        {"source_image": picture(size), "source_camera": canonical_camera()[None], "secc_canonical": picture(secc)}
        for _ in range(2)
    ]
    samples = [
        Sample(n % 2, {"secc_driving": picture(secc), "camera": canonical_camera(5.0 * n)[None]}, held_out=n == 2)
        for n in range(4)
    ]
    return CalibrationData(sources, samples, DataDescription([], [], []))


def test_an_aligned_model_is_searched_by_the_same_frames(bundle_aligned: Path, data: CalibrationData) -> None:
    """The renderer alone passes on where rays end, and INT8 may read the guides and the source's own pixels."""
    models = load_models(open_bundle(bundle_aligned))
    size = open_bundle(bundle_aligned).image_size
    face_sight = {"face_sight": np.random.default_rng(1).random((1, 4, size, size), np.float32)}
    samples = [replace(sample, tensors=sample.tensors | face_sight) for sample in data.samples]
    data = replace(data, samples=samples)
    int8 = Int8Frames(models, data, [0, 1, 3])
    read = {layer.layer: layer for layer in convolutions(models["refiner"].graph)}
    assert {"refiner.stem.0", "refiner.detail"} <= read.keys()
    # LED runs in the encoder too, from the SECC whose convolution is also an output.
    encoder = models["source_encoder"].graph
    (node,) = [node.name for node in encoder if node.outputs[0].name == "led_canonical"]
    (stem,) = [layer.layer for layer in convolutions(encoder) if layer.node == node]
    for scales in (
        {},
        {"renderer_refiner": {"refiner.stem.0": 0.01, "refiner.detail": 0.01}},
        {"source_encoder": {stem: 0.01}},
    ):
        changed = {
            name: Int8Convolutions(scales.get(name, {}))(model.clone())
            for name, model in models.items()
            if name != "refiner"
        }
        expected = whole_frames(changed, data)
        for found, number in zip(int8.frames(scales), (0, 1, 3), strict=True):
            # Graphs that are cut in two are fused otherwise, which can turn a rounding.
            assert np.abs(found.astype(int) - expected[number]).max() <= 1


@pytest.mark.slow
def test_any_set_of_int8_layers_gives_the_frames_of_whole_graphs(models: Models, data: CalibrationData) -> None:
    layers = {name: convolutions(model.graph) for name, model in models.items()}
    int8 = Int8Frames(models, data, [0, 1, 3])
    encoder, led, refiner = (layers[name][1].layer for name in ("source_encoder", "led", "renderer_refiner"))
    assert layers["refiner"][1].layer == refiner
    for scales in (
        {},
        {"led": {led: 0.05}},
        {"source_encoder": {encoder: 0.05}},
        {"renderer_refiner": {refiner: 0.05}},
        {"source_encoder": {encoder: 0.05}, "led": {led: 0.05}, "renderer_refiner": {refiner: 0.05}},
        {"led": {led: 5.0}},
        {},
    ):
        whole = {name: Int8Convolutions(scales.get(name, {}))(model.clone()) for name, model in models.items()}
        expected = [frame for n, frame in enumerate(whole_frames(whole, data)) if n != 2]
        found = int8.frames(scales)
        assert len(found) == 3
        # Graphs that are cut in two are fused otherwise, which can turn a rounding.
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(found, expected, strict=True)) <= 1
    changed = frame_loss(int8.frames({}), int8.frames({"led": {led: 5.0}}))
    assert changed.mean_square > 0.0


def test_whole_frames_are_the_animators(models: Models, data: CalibrationData, animator: Animator) -> None:
    backend = animator.backend
    for sample, frame in zip(data.samples, whole_frames(models, data), strict=True):
        backend.encode_source(*data.sources[sample.source].values())
        np.testing.assert_array_equal(
            backend.render_secc(sample.tensors["secc_driving"], sample.tensors["camera"])[0], frame
        )
