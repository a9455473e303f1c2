# mypy: disable-error-code="no-untyped-def, import-not-found"
"""Triton kernels of `volume.py`: a feature volume as a sum of products, BLOCK pixels a program.

Sums are FP32, or FP64 for FP64 maps. WIDTH and DEPTHS are CHANNELS and DEPTH rounded up to powers of two.
"""

import triton
import triton.language as tl


@triton.jit
def _precise(value):
    """Values in FP32; FP64 stays FP64."""
    return value if value.dtype == tl.float64 else value.to(tl.float32)


@triton.jit
def _term(maps, pixel, real, term, TERMS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, other):
    """One term [BLOCK, WIDTH] of maps [pixels, TERMS, SIZE], in FP32 or FP64; its offsets; and which values exist."""
    along = tl.arange(0, WIDTH)
    at = ((pixel.to(tl.int64) * TERMS + term) * SIZE)[:, None] + along[None, :]
    there = real[:, None] & (along < SIZE)[None, :]
    return _precise(tl.load(maps + at, mask=there, other=other)), at, there


@triton.jit
def _softmax(logits):
    """Softmax over the last axis."""
    grown = tl.exp(logits - tl.max(logits, 1)[:, None])
    return grown / tl.sum(grown, 1)[:, None]


@triton.jit
def _voxels(
    volume, pixel, real, DEPTH: tl.constexpr, CHANNELS: tl.constexpr, DEPTHS: tl.constexpr, WIDTH: tl.constexpr
):
    """Addresses [BLOCK, DEPTHS, WIDTH] in a volume [pixels, DEPTH, CHANNELS], and which values exist."""
    depth, channel = tl.arange(0, DEPTHS)[None, :, None], tl.arange(0, WIDTH)[None, None, :]
    at = (pixel.to(tl.int64) * DEPTH * CHANNELS)[:, None, None] + depth * CHANNELS + channel
    return volume + at, real[:, None, None] & (depth < DEPTH) & (channel < CHANNELS)


@triton.jit
def products_forward(
    features,
    logits,
    volume,
    pixels,
    TERMS: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTHS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """features [pixels, T, C], logits [pixels, T, D] → volume [pixels, D, C]."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < pixels
    feature, _, _ = _term(features, pixel, real, 0, TERMS, CHANNELS, WIDTH, 0.0)
    logit, _, _ = _term(logits, pixel, real, 0, TERMS, DEPTH, DEPTHS, -1e30)
    total = (DEPTH * _softmax(logit))[:, :, None] * feature[:, None, :]
    for term in tl.static_range(1, TERMS):
        feature, _, _ = _term(features, pixel, real, term, TERMS, CHANNELS, WIDTH, 0.0)
        logit, _, _ = _term(logits, pixel, real, term, TERMS, DEPTH, DEPTHS, -1e30)
        total += (DEPTH * _softmax(logit))[:, :, None] * feature[:, None, :]
    to, there = _voxels(volume, pixel, real, DEPTH, CHANNELS, DEPTHS, WIDTH)
    tl.store(to, total.to(volume.dtype.element_ty), mask=there)


@triton.jit
def products_backward(
    features,
    logits,
    grad_volume,
    grad_features,
    grad_logits,
    pixels,
    TERMS: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTHS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradients of features and logits from that of the volume."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < pixels
    at, there = _voxels(grad_volume, pixel, real, DEPTH, CHANNELS, DEPTHS, WIDTH)
    gradient = _precise(tl.load(at, mask=there, other=0.0))
    for term in tl.static_range(TERMS):
        feature, of_feature, feature_there = _term(features, pixel, real, term, TERMS, CHANNELS, WIDTH, 0.0)
        logit, of_logit, logit_there = _term(logits, pixel, real, term, TERMS, DEPTH, DEPTHS, -1e30)
        share = _softmax(logit)
        products = tl.sum(gradient * feature[:, None, :], 2)
        slope = DEPTH * share * (products - tl.sum(share * products, 1)[:, None])
        tl.store(grad_logits + of_logit, slope.to(grad_logits.dtype.element_ty), mask=logit_there)
        summed = DEPTH * tl.sum(gradient * share[:, :, None], 1)
        tl.store(grad_features + of_feature, summed.to(grad_features.dtype.element_ty), mask=feature_there)
