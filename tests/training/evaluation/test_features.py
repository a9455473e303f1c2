"""Networks of the user's own: real ONNX files by onnxruntime, and the sentences for files that do not fit."""

from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.evaluation.features import FeatureNetwork
from tests.support.training_networks import write_channel_means, write_identity, write_projection

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")


def opened(path: Path) -> FeatureNetwork:
    return FeatureNetwork(path, [4], "--recognition", "a face-recognition network")


@pytest.mark.parametrize("batch", ["B", 1])
def test_features_are_the_networks(tmp_path: Path, batch: int | str) -> None:
    generator = np.random.default_rng(0)
    matrix, pictures = generator.normal(size=(48, 5)), generator.normal(size=(40, 3, 4, 4)).astype(np.float32)
    network = opened(write_projection(tmp_path / "network.onnx", 4, matrix, batch))
    assert network.dimensions == 5
    np.testing.assert_allclose(network(pictures), pictures.reshape(40, 48).astype(float) @ matrix, atol=1e-4)


def test_features_of_one_pixel_are_a_vector_too(tmp_path: Path) -> None:
    pictures = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1) + np.zeros((2, 3, 4, 4), np.float32)
    assert opened(write_channel_means(tmp_path / "network.onnx", 4))(pictures).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("shape", [["B", 3, 5, 5], ["B", 4, 4, 3], [2, 3, 4, 4], ["B", 3, 4]])
def test_a_network_for_other_pictures_is_refused(tmp_path: Path, shape: list[int | str]) -> None:
    path = write_identity(tmp_path / "other.onnx", shape)
    with pytest.raises(HideNerfError, match=r"other\.onnx: --recognition wants .* \[B, 3, 4, 4\] .* has picture \["):
        opened(path)


def test_an_output_that_is_no_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"batch of 1 gave \[1, 3, 4, 4\]; export it so"):
        opened(write_identity(tmp_path / "network.onnx", ["B", 3, 4, 4]))


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    matrix = np.zeros((48, 2))
    matrix[0, 1] = np.nan
    with pytest.raises(HideNerfError, match="not finite"):
        opened(write_projection(tmp_path / "network.onnx", 4, matrix))


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"none\.onnx: no such file \(--recognition\)"):
        opened(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(HideNerfError, match=r"text\.onnx: .* onnxruntime cannot read this file") as caught:
        opened(tmp_path / "text.onnx")
    assert "\n" not in str(caught.value)
