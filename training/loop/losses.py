"""Losses: the terms of the training loss, those of the paper (supplement 6.2) and ours.

Those in the features of trained networks are in `feature_losses`.

Unless said otherwise, image and truth are float32 [B, 3, H, W] in [0, 1], weight is [B, 1, H, W], and a loss is a
scalar.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hidenerf.model.geometry import NEAREST, box_interval, split_camera

# SSIM's constants for images in [0, 1].
_C1, _C2 = 0.01**2, 0.03**2
_STRUCTURE_SCALES = 3
# Windows overlap by half: each is four blocks.
_WINDOW, _BLOCK = 8, 4
_SHARPNESS_OCTAVES = 2


def pixel_weights(mask: Tensor, region: Tensor, head: float, detail: float) -> Tensor:
    """Weights by pixel [B, 1, H, W]: 1 + head · mask + detail · region.

    mask, region: [B, 1, H, W] in [0, 1], as in `Batch`.
    head, detail: `LossWeights.head` and `.region`.
    """
    return 1.0 + head * mask + detail * region


def squared_error(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error, weighted by pixel."""
    return ((image - truth).square() * weight).mean()


def absolute_error(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error, weighted by pixel."""
    return ((image - truth).abs() * weight).mean()


def structure_loss(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Structure loss: differences of colour gradients and of local structure (1 - SSIM), at three scales.

    It replaces the perceptual loss of a network, which needs a download. Like that loss, it penalises blur, which
    colour errors favour, and tolerates a small change of brightness.
    """
    scales = [(image, truth, weight)]
    # A pixel two scales further is the mean of a block of 4 × 4 at this scale.
    while len(scales) < _STRUCTURE_SCALES + 2 and min(scales[-1][0].shape[-2:]) > 1:
        image, truth, weight = (F.avg_pool2d(one, 2) for one in scales[-1])
        scales.append((image, truth, weight))
    total = image.new_zeros(())
    for scale, (image, truth, weight) in enumerate(scales[:_STRUCTURE_SCALES]):
        difference = image - truth
        across, along = _Steps.apply(difference, -1), _Steps.apply(difference, -2)
        total = total + _weighted_size(across, weight[..., 1:]) + _weighted_size(along, weight[..., 1:, :])
        if min(image.shape[-2:]) >= _WINDOW:
            mean, true_mean, windows = (_windows(blocks) for blocks in scales[scale + 2])
            squares = _windows(_BlockSquares.apply(image) + _BlockSquares.apply(truth))
            unlike = _unlikeness(mean, true_mean, squares, _windows(_BlockSquares.apply(difference)))
            total = total + 0.2 * (unlike * windows).mean()
    return total / _STRUCTURE_SCALES


def sharpness_loss(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Sharpness loss: difference in the strength of detail, independent of its position.

    It is the sum, over the bands of two octaves, of the weighted mean absolute difference of the root mean squares in
    windows. The other terms are smallest for the mean of all plausible images, which is smooth; this one is smallest
    for detail as strong as the truth's. Bands are compared separately, since one of them could make up for others in
    a sum.
    """
    total = image.new_zeros(())
    for _ in range(_SHARPNESS_OCTAVES):
        (image, *bands), (truth, *true_bands) = octave(image), octave(truth)
        weight = weight[..., 1:-1, 1:-1]
        windows = _windows(F.avg_pool2d(weight, _BLOCK))
        for band, true_band in zip(bands, true_bands, strict=True):
            # sqrt has an infinite gradient at 0.
            strengths = [(_windows(_BlockSquares.apply(one)) + 1e-6).sqrt() for one in (band, true_band)]
            total = total + _weighted_size(strengths[0] - strengths[1], windows)
        image, truth, weight = (one[..., ::2, ::2] for one in (image, truth, weight))
    return total


def octave(image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split an image into four bands [B, 3, H - 2, W - 2]: smooth, and detail along rows, along columns and along both.

    Their sum is the image. The low-pass filter along an axis is (1, 2, 1) / 4, the high-pass filter (-1, 2, -1) / 4.
    """
    smooth_along, detail_along = _Halves.apply(image, -2)
    smooth, across = _Halves.apply(smooth_along, -1)
    along, both = _Halves.apply(detail_along, -1)
    return smooth, across, along, both


def _weighted_size(x: Tensor, weight: Tensor) -> Tensor:
    """Mean of |x| [B, C, H, W], weighted by pixel."""
    return (x.abs().sum(1, keepdim=True) * weight).mean() / x.shape[1]


def _windows(blocks: Tensor) -> Tensor:
    """Means of square windows that overlap by half; blocks: [B, C, h, w], means of blocks of half the side."""
    return F.avg_pool2d(blocks, 2, 1)


def _unlikeness(x: Tensor, y: Tensor, squares: Tensor, squared_difference: Tensor) -> Tensor:
    """1 - SSIM of windows with uniform weights.

    Both factors of SSIM have the form (2xy + c) / (x² + y² + c), which is 1 - (x - y)² / (x² + y² + c).
    x, y: means of X and Y in the windows.
    squares: means of X² + Y².
    squared_difference: means of (X - Y)².
    """
    means, between = x.square() + y.square(), (x - y).square()
    means_term = 1.0 - between / (means + _C1)
    return 1.0 - means_term * (1.0 - (squared_difference - between) / (squares - means + _C2))


# The backward passes below are explicit because memory bandwidth limits these losses on a GPU: autograd would allocate
# and add a whole image for each slice, and read an image three times for a square.


class _Steps(torch.autograd.Function):
    """Differences of neighbours along an axis, which is one shorter in the result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> Tensor:
        ctx.axis = axis
        return _tail(x, axis) - _head(x, axis)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        axis = ctx.axis
        shape = list(gradient.shape)
        shape[axis] += 1
        grad_x = gradient.new_empty(shape)
        torch.sub(_head(gradient, axis), _tail(gradient, axis), out=_within(grad_x, axis, 1))
        torch.neg(gradient.select(axis, 0), out=grad_x.select(axis, 0))
        grad_x.select(axis, -1).copy_(gradient.select(axis, -1))
        return grad_x, None


class _Halves(torch.autograd.Function):
    """An image filtered by (1, 2, 1) / 4 along an axis, and the rest; both are two pixels shorter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        ctx.axis = axis
        smooth = _smooth(x, axis)
        return smooth, _within(x, axis, 1) - smooth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, smooth: Tensor, rest: Tensor) -> tuple[Tensor, None]:
        # The filter is symmetric, so its adjoint is the same filter with zero padding.
        shape = list(smooth.shape)
        shape[ctx.axis] += 4
        surrounded = smooth.new_zeros(shape)
        torch.sub(smooth, rest, out=_within(surrounded, ctx.axis, 2))
        grad_x = _smooth(surrounded, ctx.axis)
        _within(grad_x, ctx.axis, 1).add_(rest)
        return grad_x, None


class _BlockSquares(torch.autograd.Function):
    """Mean squares of blocks of 4 × 4 without overlap: [B, C, H, W] → [B, C, H // 4, W // 4]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.avg_pool2d(x.square(), _BLOCK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        height, width = (_BLOCK * size for size in gradient.shape[-2:])
        grad_x = torch.empty_like(x)
        grad_x[..., height:, :] = 0.0
        grad_x[..., width:] = 0.0
        whole, grad_whole = (
            one[..., :height, :width].unflatten(-1, (-1, _BLOCK)).unflatten(-3, (-1, _BLOCK)) for one in (x, grad_x)
        )
        torch.mul(whole, 2.0 / _BLOCK**2 * gradient[..., :, None, :, None], out=grad_whole)
        return grad_x


def _smooth(x: Tensor, axis: int) -> Tensor:
    """The filter (1, 2, 1) / 4 along an axis: means of neighbours, twice."""
    for _ in range(2):
        x = torch.lerp(_head(x, axis), _tail(x, axis), 0.5)
    return x


def _head(x: Tensor, axis: int) -> Tensor:
    """All but the last pixel along an axis, a view."""
    return x.narrow(axis, 0, x.shape[axis] - 1)


def _tail(x: Tensor, axis: int) -> Tensor:
    """All but the first pixel along an axis, a view."""
    return x.narrow(axis, 1, x.shape[axis] - 1)


def _within(x: Tensor, axis: int, margin: int) -> Tensor:
    """All but `margin` pixels at both ends of an axis, a view."""
    return x.narrow(axis, margin, x.shape[axis] - 2 * margin)


def alpha_cross_entropy(alpha: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of the rendered alpha [B, 1, R, R] and the mask [B, 1, R, R], weighted by ray."""
    sure = alpha.clamp(1e-4, 1.0 - 1e-4)
    return -(weight * (mask * sure.log() + (1.0 - mask) * (1.0 - sure).log())).mean()


def deformation_norm(deformation: Tensor) -> Tensor:
    """Mean length of Δ [B, 3N, R, R] over all points, world units (supplement 6.2)."""
    return deformation_lengths(deformation).mean()


def deformation_lengths(deformation: Tensor) -> Tensor:
    """Lengths of Δ [B, 3N, R, R], channel 3i + k, at every point: [B, N, R, R], world units."""
    batch, channels, *size = deformation.shape
    # sqrt has an infinite gradient at 0. The constant changes only lengths below a thousandth of a unit.
    squares = deformation.float().reshape(batch, channels // 3, 3, *size).square().sum(2)
    return (squares + 1e-8).sqrt()


def still_loss(deformation: Tensor, secc_canonical: Tensor, secc_driving: Tensor) -> Tensor:
    """Mean length of Δ, world units, over the pairs whose expression does not change; 0 if there are none.

    A still paired with itself is such a pair: any Δ there moves the person's own details off their places.
    deformation: [B, 3N, R, R]. secc_canonical, secc_driving: [B, 3, Q, Q], equal in such pairs.
    """
    still = (secc_canonical == secc_driving).flatten(1).all(1).float()
    lengths = deformation_lengths(deformation).flatten(1).mean(1)
    return (still * lengths).sum() / still.sum().clamp_min(1.0)


def surface_loss(
    deformation: Tensor,
    camera: Tensor,
    surface: Tensor,
    at_rest: Tensor,
    source_camera: Tensor,
    source_surface: Tensor,
    weight: Tensor,
) -> Tensor:
    """Surface loss: mean distance of the canonical points of one surface point in target and source, world units.

    LED must map a surface point of the target, and the same point of the source, to one point of the tri-planes; which
    one is left open. The loss is not in the paper. It needs a mesh, which synthetic heads and fitted clips have.
    deformation, camera: [B, 3N, R, R], Δ on the rays of the target's camera [B, 25] for the target's expression.
    at_rest, source_camera: the same for the source's camera and own expression.
    surface, source_surface: [B, 3, R, R], as in `Batch`, world units.
    weight: [B, 1, R, R].
    """
    shown = (surface != 0).any(1, keepdim=True)
    target = surface + deformation_at(deformation, camera, surface)
    source = source_surface + deformation_at(at_rest, source_camera, source_surface)
    # sqrt has an infinite gradient at 0.
    distance = ((target - source).square().sum(1, keepdim=True) + 1e-8).sqrt()
    return (distance * weight * shown).sum() / (weight * shown).sum().clamp_min(1.0)


def place_loss(place: Tensor, alpha: Tensor, source_surface: Tensor, weight: Tensor) -> Tensor:
    """Place loss: mean distance of the canonical points where rays end to the source's surface points, world units.

    It makes these points usable for look-ups in the source image. Like `surface_loss` it needs a mesh.
    place: [B, 3, R, R], as in `Output`.
    alpha: [B, 1, R, R], as in `Output`.
    source_surface: [B, 3, R, R], as in `Batch`, world units.
    weight: [B, 1, R, R].
    """
    shown = (source_surface != 0).any(1, keepdim=True)
    # sqrt has an infinite gradient at 0.
    distance = ((place - alpha * source_surface).square().sum(1, keepdim=True) + 1e-8).sqrt()
    return (distance * weight * shown).sum() / (weight * shown).sum().clamp_min(1.0)


def deformation_at(deformation: Tensor, camera: Tensor, points: Tensor) -> Tensor:
    """Δ at points, [B, 3, ...]: trilinear interpolation.

    deformation: [B, 3N, R, R], Δ on the camera's rays.
    camera: [B, 25].
    points: [B, 3, ...], world units.
    """
    rotation, origin, intrinsics = split_camera(camera)
    batch, _, size, _ = deformation.shape
    places = points.flatten(2)
    offset = places - origin[:, :, None]
    distance = offset.square().sum(1, keepdim=True).sqrt()
    near, far = (bound[:, 0] for bound in box_interval(origin[:, :, None], offset / distance))
    in_camera = (rotation[:, :, :, None] * offset[:, :, None]).sum(1)
    ahead = in_camera / in_camera[:, 2:].clamp_min(NEAREST)
    u, v = (2.0 * (intrinsics[:, k, :, None] * ahead).sum(1) - 1.0 for k in (0, 1))
    along = 2.0 * (distance[:, 0] - near) / (far - near).clamp_min(NEAREST) - 1.0
    field = deformation.float().reshape(batch, -1, 3, size, size).transpose(1, 2)
    grid = torch.stack([u, v, along], -1)[:, None, None]
    found = F.grid_sample(field, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.reshape(points.shape)


def resized(image: Tensor, size: int) -> Tensor:
    """An image [B, C, H, W] reduced to [B, C, size, size] by area means."""
    return F.interpolate(image, size=(size, size), mode="area")
