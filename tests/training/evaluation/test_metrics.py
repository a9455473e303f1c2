"""Metrics against SciPy's filters in FP64, and by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hidenerf.training.evaluation.metrics import (
    change_response,
    checkerboard_energy,
    flip,
    gradient_energy,
    image_scores,
    psnr,
    silhouette_iou,
    ssim,
    ssim_map,
)
from tests.support.tiny_training import tiny_batch

ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed (extra [track])")


def ssim_by_scipy(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(values, 1.5, mode="nearest", truncate=5 / 1.5)

    mean_x, mean_y = blurred(x), blurred(y)
    variance_x, variance_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = 1e-4, 9e-4
    return (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    )


def test_ssim_against_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 20, 24))
    pictures = [torch.from_numpy(a).expand(1, 3, -1, -1) for a in (x, y)]
    np.testing.assert_allclose(ssim_map(*pictures)[0, 1], ssim_by_scipy(x, y), atol=1e-12)
    x_image, y_image = pictures
    mask = torch.zeros(1, 1, 20, 24, dtype=torch.float64)
    mask[..., 3:9, 5:11] = 1
    assert ssim(*pictures).item() == pytest.approx(ssim_by_scipy(x, y).mean())
    assert ssim(x_image, y_image, mask).item() == pytest.approx(ssim_by_scipy(x, y)[3:9, 5:11].mean())


def test_ssim_of_a_picture_with_itself_is_one() -> None:
    picture = torch.rand(2, 3, 16, 16)
    assert ssim(picture, picture).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_psnr_by_hand() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    picture = torch.zeros(2, 3, 4, 4)
    picture[0] = 0.1
    picture[1, :, 0, 0] = 1.0
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, 0, :2] = 1
    assert psnr(picture, truth).tolist() == pytest.approx([20.0, 10 * math.log10(16)])
    assert psnr(picture, truth, mask).tolist() == pytest.approx([20.0, 10 * math.log10(2)])


def test_checkerboard_energy_is_of_what_alternates_both_ways() -> None:
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 2:18, 2:18] = 1
    stripes = torch.zeros(1, 3, 20, 20)
    stripes[..., ::2] = 0.4
    assert checkerboard_energy(stripes, mask).item() == 0
    assert checkerboard_energy(stripes.transpose(2, 3), mask).item() == 0
    # Dots of 0.2 above and below the mean on the 10 × 10 pixels that are left inside.
    dots = stripes.clone()
    dots[..., 1::2, :] = 0.4 - dots[..., 1::2, :]
    assert checkerboard_energy(dots, mask).item() == pytest.approx(3 * 100 * 0.04)


def test_gradient_energy_counts_inside_the_mask_but_not_at_its_edge() -> None:
    picture = torch.zeros(1, 3, 20, 20)
    picture[:, :, :, 10] = 0.5  # a line: two steps of a half in each row and channel
    mask = torch.zeros(1, 1, 20, 20)
    mask[:, :, 2:18, 2:18] = 1
    assert gradient_energy(picture, mask).item() == pytest.approx(3 * (16 - 6) * 2 * 0.25)
    assert gradient_energy(mask.expand(1, 3, 20, 20), mask).item() == 0


def test_silhouette_iou_by_hand() -> None:
    alpha = torch.tensor([0.9, 0.6, 0.4, 0.0]).reshape(1, 1, 1, 4)
    mask = torch.tensor([1.0, 0.3, 0.8, 0.0]).reshape(1, 1, 1, 4)
    assert silhouette_iou(alpha, mask).item() == pytest.approx(1 / 3)


def test_change_response_by_hand() -> None:
    true_change = torch.tensor([1.0, -1.0, 2.0, 0.0])
    assert change_response(0.5 * true_change, true_change) == pytest.approx((1.0, 0.5))
    assert change_response(-true_change, true_change) == pytest.approx((-1.0, -1.0))
    assert change_response(torch.zeros(4), true_change) == (0.0, 0.0)
    correlation, gain = change_response(torch.tensor([0.0, 0.0, 1.0, 0.0]), true_change)
    assert correlation == pytest.approx(np.corrcoef([0, 0, 1, 0], [1, -1, 2, 0])[0, 1])
    assert gain == pytest.approx(2 / 6)


def test_without_a_true_change_there_is_no_response() -> None:
    assert all(math.isnan(value) for value in change_response(torch.ones(4), torch.zeros(4)))


def test_flip_is_zero_of_the_same_picture_and_nearly_one_of_black_and_white() -> None:
    pytest.importorskip("flip_evaluator", reason="flip-evaluator is not installed (extra [export])")
    pictures = torch.stack([torch.zeros(3, 40, 40), torch.rand(3, 40, 40)])
    # Not 1: no contrast of a display is greater than that of FLIP's green and blue.
    found = flip(torch.stack([torch.ones(3, 40, 40), pictures[1]]), pictures)
    assert found.tolist() == pytest.approx([0.967, 0], abs=1e-3)


def test_figures_of_the_truth_itself() -> None:
    batch = tiny_batch(2)
    figures = image_scores(batch.target, batch.mask, batch)[1]
    assert figures["silhouette IoU"] == 1
    assert figures["SSIM"] == pytest.approx(1, abs=1e-5)
    assert figures["PSNR masked"] == figures["PSNR mouth+eyes"] == pytest.approx(100)
    assert figures["gradient energy"] == pytest.approx(1)


def test_a_target_without_a_region_has_no_figure_for_it() -> None:
    batch = tiny_batch(2)
    batch.region[0] = 0
    figures = image_scores(batch.target * 0.5, batch.mask, batch)
    assert math.isnan(figures[0]["PSNR mouth+eyes"])
    assert not math.isnan(figures[1]["PSNR mouth+eyes"])
