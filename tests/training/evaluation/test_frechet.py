"""The Fréchet distance of Gaussians by hand and by SciPy's matrix root, and what the network gets to see."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hidenerf.training.evaluation.frechet import frechet_distance, inception_features, inception_network
from tests.support.training_networks import write_channel_means


def test_of_two_normal_distributions_on_a_line() -> None:
    """(m₁ - m₂)² + (σ₁ - σ₂)²: features ±a about m have σ² = 2a²."""
    one, other = np.array([[3.0], [5.0]]), np.array([[-1.0], [5.0]])
    assert frechet_distance(one, other) == pytest.approx((4 - 2) ** 2 + 2 * (1 - 3) ** 2)


def test_of_the_same_features_in_another_order_is_zero() -> None:
    features = np.random.default_rng(0).normal(size=(5, 12))
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(features, features + np.eye(12)[0] * 3) == pytest.approx(9)


def test_of_spreads_along_different_axes_that_share_nothing() -> None:
    """Tr C₁ + Tr C₂: the root of a product of orthogonal covariances is 0."""
    one, other = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 3.0], [0.0, -3.0]])
    assert frechet_distance(one, other) == pytest.approx(2 + 18)


def test_against_scipys_matrix_root() -> None:
    sqrtm = pytest.importorskip("scipy.linalg", reason="SciPy is not installed (extra [track])").sqrtm
    generator = np.random.default_rng(3)
    mixing = generator.normal(size=(2, 6, 6))
    one, other = generator.normal(size=(40, 6)) @ mixing[0], generator.normal(size=(50, 6)) @ mixing[1] + 0.3
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    shift = np.square(one.mean(0) - other.mean(0)).sum()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_inception_sees_pictures_enlarged_and_from_minus_one_to_one(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")
    network = inception_network(write_channel_means(tmp_path / "network.onnx", 299))
    pictures = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.75, 0.5]])[:, :, None, None].expand(-1, -1, 16, 16)
    np.testing.assert_allclose(inception_features(network, pictures), [[-1, 0, 1], [-0.5, 0.5, 0]], atol=1e-6)
