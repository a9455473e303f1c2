"""Metrics of pixels: scores [B] of images [B, 3, H, W] in [0, 1], compared with truths under masks [B, 1, H, W]."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.runtime.metrics import flip_of_floats
from hidenerf.training.data.batch import Batch
from hidenerf.training.evaluation import columns
from hidenerf.training.loop.losses import octave

_C1, _C2 = 0.01**2, 0.03**2
_WINDOW, _SIGMA = 11, 1.5
# Margin inside the mask, pixels, that gradient metrics leave out: the edge to the background is not detail.
_EDGE = 3


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [B], dB, over the mask."""
    return -10.0 * torch.log10(_mean((image - truth).square(), mask).clamp_min(1e-10))


def ssim(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity [B] (Wang et al. 2004: Gaussian windows, σ 1.5, per colour channel), over the mask."""
    return _mean(ssim_map(image, truth), mask)


def ssim_map(image: Tensor, truth: Tensor) -> Tensor:
    """SSIM by pixel [B, 3, H, W], of the window around each; edge pixels are repeated beyond the image."""
    products = torch.cat([image, truth, image.square(), truth.square(), image * truth], 1)
    mean_x, mean_y, square_x, square_y, product = _blurred(products).chunk(5, 1)
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    means_term = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    return means_term * (2 * covariance + _C2) / (variances + _C2)


def flip(image: Tensor, truth: Tensor) -> Tensor:
    """ꟻLIP [B] in [0, 1], 0 for no visible difference: mean error over the whole image, at its default
    67 pixels per degree of view (Andersson et al. 2020). Needs the package flip-evaluator."""
    pairs = zip(*(one.float().permute(0, 2, 3, 1).cpu().numpy() for one in (truth, image)), strict=True)
    return torch.tensor([flip_of_floats(expected, found)[0] for expected, found in pairs])


def image_scores(image: Tensor, alpha: Tensor, batch: Batch) -> list[dict[str, float]]:
    """Pixel scores of each image of a batch, by column; NaN for the region if the target shows none.

    image: [B, 3, S, S]. alpha: [B, 1, S, S]. batch: with the targets and masks.
    """
    truth, mask, region = batch.target, (batch.mask > 0.5).float(), (batch.region > 0.5).float()
    true_energy = gradient_energy(truth, mask)
    shown = region.sum((1, 2, 3)) > 0
    scores = {
        columns.SILHOUETTE_IOU: silhouette_iou(alpha, mask),
        columns.SSIM: ssim(image, truth),
        columns.SSIM_MASKED: ssim(image, truth, mask),
        columns.PSNR: psnr(image, truth),
        columns.PSNR_MASKED: psnr(image, truth, mask),
        columns.PSNR_REGION: torch.where(shown, psnr(image, truth, region), math.nan),
        columns.GRADIENT_ENERGY: gradient_energy(image, mask) / true_energy.clamp_min(1e-6),
        columns.CHECKERBOARD_ENERGY: checkerboard_energy(image, mask)
        / checkerboard_energy(truth, mask).clamp_min(1e-6),
    }
    lists = [values.tolist() for values in scores.values()]
    return [dict(zip(scores, row, strict=True)) for row in zip(*lists, strict=True)]


def rounded(images: Tensor) -> NDArray[np.uint8]:
    """Images [B, 3, S, S] in [0, 1] as [B, S, S, 3] uint8."""
    return (images * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def gradient_energy(image: Tensor, mask: Tensor) -> Tensor:
    """Sum of squared differences of neighbouring pixels [B] inside the mask, without its edge."""
    inside = _inside(mask)
    across = (image[..., 1:] - image[..., :-1]).square() * inside[..., 1:]
    along = (image[..., 1:, :] - image[..., :-1, :]).square() * inside[..., 1:, :]
    return across.sum((1, 2, 3)) + along.sum((1, 2, 3))


def checkerboard_energy(image: Tensor, mask: Tensor) -> Tensor:
    """Sum of squares [B], inside the mask, of the component that alternates from pixel to pixel along both axes.

    More of it than in the truth is a fine grid, which gradient energy counts as detail.
    """
    *_, both_ways = octave(image)
    return (both_ways.square() * _inside(mask)[..., 1:-1, 1:-1]).sum((1, 2, 3))


def silhouette_iou(alpha: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union [B] of the pixels with alpha or mask above 0.5."""
    one, other = alpha > 0.5, mask > 0.5
    both, either = (one & other).sum((1, 2, 3)), (one | other).sum((1, 2, 3))
    return both / either.clamp_min(1)


def change_response(change: Tensor, true_change: Tensor) -> tuple[float, float]:
    """Correlation of an image's change with the true change, and gain: the least-squares factor of the true change.

    change, true_change: of one shape. Both results are NaN if the true change is 0.
    """
    x, y = change.double().flatten(), true_change.double().flatten()
    energy = float(y @ y)
    if energy == 0:
        return float("nan"), float("nan")
    centred_x, centred_y = x - x.mean(), y - y.mean()
    scale = float(centred_x.norm() * centred_y.norm())
    return float(centred_x @ centred_y) / scale if scale > 0 else 0.0, float(x @ y) / energy


def _inside(mask: Tensor) -> Tensor:
    """The mask without a margin of _EDGE pixels."""
    return -F.max_pool2d(-mask, 2 * _EDGE + 1, 1, _EDGE)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean((1, 2, 3))
    return (values * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * values.shape[1]).clamp_min(1e-6)


def _blurred(images: Tensor) -> Tensor:
    offsets = torch.arange(_WINDOW, device=images.device, dtype=images.dtype) - _WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    batch, channels, height, width = images.shape
    edge = _WINDOW // 2
    padded = F.pad(images, (edge, edge, edge, edge), mode="replicate").flatten(0, 1)[:, None]
    across = F.conv2d(padded, weights[None, None, None, :])
    return F.conv2d(across, weights[None, None, :, None]).reshape(batch, channels, height, width)
