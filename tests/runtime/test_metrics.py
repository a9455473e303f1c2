import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from hidenerf.runtime.metrics import flip, psnr, ssim

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)


def grey(level: int) -> np.ndarray:
    return np.full((24, 30, 3), level, np.uint8)


def test_psnr_of_one_level() -> None:
    assert psnr(grey(100), grey(101), 255.0) == pytest.approx(20 * math.log10(255))
    assert psnr(grey(0), grey(255), 255.0) == 0.0
    assert psnr(NOISE, NOISE, 255.0) == math.inf


def ssim_by_windows(x: np.ndarray, y: np.ndarray) -> float:
    """The paper's definition, window by window, with weights in two dimensions."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for channel in range(3):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a = x[row : row + 11, column : column + 11, channel].astype(np.float64)
                b = y[row : row + 11, column : column + 11, channel].astype(np.float64)
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
                values.append(
                    (2 * mean_a * mean_b + 6.5025)
                    * (2 * covariance + 58.5225)
                    / ((mean_a**2 + mean_b**2 + 6.5025) * (variance_a + variance_b + 58.5225))
                )
    return float(np.mean(values))


def test_ssim_follows_its_definition() -> None:
    near = np.clip(NOISE + RNG.normal(0, 30, NOISE.shape), 0, 255).astype(np.uint8)
    for other in (near, NOISE[::-1], grey(128)):
        assert ssim(NOISE, other) == pytest.approx(ssim_by_windows(NOISE, other), abs=1e-9)


def test_ssim_of_even_pictures_by_hand() -> None:
    assert ssim(grey(100), grey(110)) == pytest.approx((2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025), abs=1e-9)


def test_ssim_sees_colour() -> None:
    red, blue = grey(0), grey(0)
    red[..., 0], blue[..., 2] = 255, 255
    assert ssim(red, blue) == pytest.approx(1 / 3, abs=1e-3)  # green agrees, the other two do not at all


PICTURES = arrays(np.uint8, (12, 13, 3))


@settings(max_examples=25)
@given(PICTURES, PICTURES)
def test_ssim_is_symmetric_and_1_only_of_itself(x: np.ndarray, y: np.ndarray) -> None:
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-12)
    assert ssim(x, y) == pytest.approx(ssim(y, x), abs=1e-12)
    assert ssim(x, y) <= 1.0 + 1e-12


def test_flip_of_the_same_picture_is_zero() -> None:
    mean, error_map = flip(NOISE, NOISE)
    assert mean == 0.0
    assert error_map.shape == NOISE.shape
    assert error_map.dtype == np.uint8
    assert error_map.max() <= 4  # magma starts at a blue-black


def test_flip_of_black_and_white() -> None:
    mean, error_map = flip(grey(0), grey(255))
    assert mean == pytest.approx(0.967, abs=1e-3)  # not 1: no display contrast is greater than FLIP's green and blue
    assert error_map.min(axis=(0, 1))[0] > 240


def test_flips_map_is_bright_where_the_pictures_differ() -> None:
    changed = np.full((40, 80, 3), 128, np.uint8)
    same = changed.copy()
    changed[:, :20] = 255
    _, error_map = flip(same, changed)
    assert error_map[:, :16].sum(2).min() > 300
    assert error_map[:, 60:].sum(2).max() < 10
