"""The matting network's file: what fits, what does not, and what the network sees."""

import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.sources.matting_network import (
    FREE_SIZE,
    MattingNetwork,
    open_matting_network,
    shipped_matting_path,
)
from tests.support.matting_files import red_network

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")


def opened(path: Path, model: onnx.ModelProto) -> MattingNetwork:
    onnx.save(model, path)
    network = open_matting_network(path)
    assert network is not None
    return network


def test_the_shipped_network(caplog: pytest.LogCaptureFixture) -> None:
    network = open_matting_network()
    assert network is not None
    assert network.size == 256
    assert network.sha256 == sha256_of(shipped_matting_path())
    assert caplog.records == []
    opacity = network.opacity(np.full((40, 60, 3), 128, np.uint8))
    assert opacity.shape == (256, 256)
    assert opacity.dtype == np.float32
    # A plain picture shows nobody.
    assert opacity.mean() < 0.5
    # It sees mirrored pictures too, so that their opacities are mirrored.
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    np.testing.assert_allclose(network.opacity(noise[:, ::-1]), network.opacity(noise)[:, ::-1], atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "scale", "expected"), [("0", "255", 0.4), ("2", "500", 0.2), ("2,9,9", "500, 1, 1", 0.2)]
)
def test_mean_and_scale_come_from_the_metadata(tmp_path: Path, mean: str, scale: str, expected: float) -> None:
    network = opened(tmp_path / "red.onnx", red_network(16, {"mean": mean, "scale": scale}))
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 0] = 102
    np.testing.assert_allclose(network.opacity(picture), np.full((16, 16), expected), atol=1e-6)


def test_a_network_of_any_size_sees_its_picture_at_one(tmp_path: Path) -> None:
    network = opened(tmp_path / "free.onnx", red_network("side"))
    assert network.opacity(np.zeros((20, 30, 3), np.uint8)).shape == (FREE_SIZE, FREE_SIZE)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    with pytest.raises(HideNerfError, match=r"file\.onnx: no such file \(--matting\)"):
        open_matting_network(path)
    path.write_bytes(b"no network")
    with pytest.raises(HideNerfError, match=r"file\.onnx: ONNX Runtime does not load it as a network"):
        open_matting_network(path)
    one_input = r"has one input \[1, 3, H, W\] in FP32 with H = W, but this network has picture "
    for model, sentence in (
        (red_network(16, shape=[1, 3, 16, 20]), one_input),
        (red_network(16, shape=[2, 3, 16, 16]), one_input),
        (red_network(16, shape=[1, 3, 16, "width"]), one_input),
        (red_network(16, {"scale": "255"}), "its metadata have no mean"),
        (red_network(16, {"mean": "0"}), "its metadata have no scale"),
        (red_network(16, {"mean": "0", "scale": "0"}), "have the scale 0, which must not be 0"),
        (red_network(16, {"mean": "a", "scale": "1"}), "have mean = 'a', not one or three numbers"),
        (red_network(16, {"mean": "1,2", "scale": "1"}), "have mean = '1,2', not one or three numbers"),
    ):
        onnx.save(model, path)
        with pytest.raises(HideNerfError, match=sentence):
            open_matting_network(path)


def test_outputs_that_are_no_opacity_are_refused(tmp_path: Path) -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    with pytest.raises(HideNerfError, match="gives values from 3 to 3 where a matting network gives opacities"):
        opened(tmp_path / "bright.onnx", red_network(16, gain=3.0)).opacity(white)
    with pytest.raises(HideNerfError, match="gives values from nan to nan"):
        opened(tmp_path / "nan.onnx", red_network(16, gain=float("nan"))).opacity(white)
    with pytest.raises(HideNerfError, match=r"has shape \[1, 2, 16, 16\] where a matting network has \[1, 1, 16, 16\]"):
        opened(tmp_path / "two.onnx", red_network(16, outputs=2)).opacity(white)


def test_without_onnx_runtime_only_the_shipped_network_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    onnx.save(red_network(16), tmp_path / "red.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.INFO):
        assert open_matting_network() is None
    (record,) = caplog.records
    assert "cut out by colour alone, since onnxruntime is not installed" in record.message
    with pytest.raises(HideNerfError, match=r"red\.onnx: a matting network needs onnxruntime; install it with"):
        open_matting_network(tmp_path / "red.onnx")
