# mypy: disable-error-code="no-untyped-def, import-not-found"
"""Triton kernels of `field.py`: the two-layer MLP and Eq. 5 along BLOCK rays, a sample at a time.

Of each sample only the gradient of its features is written to memory; the backward pass computes all else again.
Products have the type of the features, with the sums of tl.dot; all else has the type of the points, FP32 in training.
FEATURES, ENCODING, HIDDEN and OUTPUTS are sizes rounded up to powers of two. The outputs are K rendered channels, then
density.
"""

import math

import triton
import triton.language as tl

PI = tl.constexpr(math.pi)


@triton.jit
def _tile(matrix, rows, stride, first, end, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """matrix[:rows, first:end] with rows `stride` apart → [ROWS, COLUMNS], zero beyond."""
    row, column = tl.arange(0, ROWS), first + tl.arange(0, COLUMNS)
    at = row[:, None] * stride + column[None, :]
    return tl.load(matrix + at, mask=(row < rows)[:, None] & (column < end)[None, :], other=0.0)


@triton.jit
def _store_tile(matrix, tile, rows, stride, first, end, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The inverse of `_tile`."""
    row, column = tl.arange(0, ROWS), first + tl.arange(0, COLUMNS)
    at = row[:, None] * stride + column[None, :]
    tl.store(matrix + at, tile, mask=(row < rows)[:, None] & (column < end)[None, :])


@triton.jit
def _encoding(points, pixels, pixel, real, channels, WIDTH: tl.constexpr):
    """`rendering.positional_encoding` of one sample's points [3, P]: [BLOCK, WIDTH], zero from `channels` on."""
    x = tl.load(points + pixel, mask=real, other=0.0)
    y = tl.load(points + pixels + pixel, mask=real, other=0.0)
    z = tl.load(points + 2 * pixels + pixel, mask=real, other=0.0)
    channel = tl.arange(0, WIDTH)
    axis, quarter = channel % 3, (channel // 3) % 2
    octave = tl.exp2((channel // 6).to(x.dtype))
    place = tl.where(axis == 0, x[:, None], tl.where(axis == 1, y[:, None], z[:, None]))
    # In half turns, of which whole turns are taken off: a quarter turn makes a sine a cosine.
    angle = place * octave + 0.5 * quarter
    angle -= 2.0 * tl.floor(0.5 * angle + 0.5)
    return tl.where((channel < channels)[None, :], tl.sin(angle * PI), 0.0)


@triton.jit
def _density(raw, outputs, scale, WIDTH: tl.constexpr):
    """The last output → density [BLOCK], and its slope."""
    last = tl.arange(0, WIDTH) == outputs - 1
    value = tl.sum(tl.where(last[None, :], raw, 0.0), 1)
    small = tl.exp(-tl.abs(value))
    slope = tl.where(value > 0.0, 1.0, small) / (1.0 + small)
    return scale * (tl.maximum(value, 0.0) + tl.log(1.0 + small)), scale * slope


@triton.jit
def field_forward(
    features,
    points,
    moved,
    length,
    first,
    first_bias,
    second,
    second_bias,
    rendered,
    alpha,
    place,
    pixels,
    feature_channels,
    encoding_channels,
    hidden_channels,
    outputs,
    scale,
    SAMPLES: tl.constexpr,
    FEATURES: tl.constexpr,
    ENCODING: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """features [B, N, P, F], points and moved [B, N, 3, P], length [B, P], first [W, F + E], second [K + 1, W] and
    their biases → rendered [B, P, K], alpha [B, P], place [B, 3, P]."""
    batch = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < pixels
    inputs = feature_channels + encoding_channels
    of_features = tl.trans(_tile(first, hidden_channels, inputs, 0, feature_channels, HIDDEN, FEATURES))
    of_encoding = tl.trans(_tile(first, hidden_channels, inputs, feature_channels, inputs, HIDDEN, ENCODING))
    of_hidden = tl.trans(_tile(second, outputs, hidden_channels, 0, hidden_channels, OUTPUTS, HIDDEN))
    in_hidden, out = tl.arange(0, HIDDEN), tl.arange(0, OUTPUTS)
    hidden_bias = tl.load(first_bias + in_hidden, mask=in_hidden < hidden_channels, other=0.0)[None, :]
    out_bias = tl.load(second_bias + out, mask=out < outputs, other=0.0)[None, :]
    distance = tl.load(length + batch * pixels + pixel, mask=real, other=0.0)
    kind: tl.constexpr = features.dtype.element_ty
    before = tl.zeros([BLOCK], dtype=distance.dtype)
    total = tl.zeros([BLOCK], dtype=distance.dtype)
    picture = tl.zeros([BLOCK, OUTPUTS], dtype=distance.dtype)
    x = tl.zeros([BLOCK], dtype=distance.dtype)
    y = tl.zeros([BLOCK], dtype=distance.dtype)
    z = tl.zeros([BLOCK], dtype=distance.dtype)
    features += batch * SAMPLES * pixels * feature_channels
    points += batch * SAMPLES * pixels * 3
    moved += batch * SAMPLES * pixels * 3
    for sample in range(SAMPLES):
        base = features + (sample * pixels + tl.program_id(0) * BLOCK) * feature_channels
        left = pixels - tl.program_id(0) * BLOCK
        feature = _tile(base, left, feature_channels, 0, feature_channels, BLOCK, FEATURES)
        encoding = _encoding(points + sample * 3 * pixels, pixels, pixel, real, encoding_channels, ENCODING).to(kind)
        hidden = tl.dot(feature, of_features, input_precision="ieee")
        hidden += tl.dot(encoding, of_encoding, input_precision="ieee")
        hidden = tl.maximum(hidden + hidden_bias, 0.0, propagate_nan=tl.PropagateNan.ALL).to(kind)
        raw = tl.dot(hidden, of_hidden, input_precision="ieee") + out_bias
        density, _ = _density(raw, outputs, scale, OUTPUTS)
        optical = density * distance
        weight = tl.exp(-before) * (1.0 - tl.exp(-optical))
        picture += weight[:, None] * tl.sigmoid(raw)
        there = moved + sample * 3 * pixels + pixel
        x += weight * tl.load(there, mask=real, other=0.0)
        y += weight * tl.load(there + pixels, mask=real, other=0.0)
        z += weight * tl.load(there + 2 * pixels, mask=real, other=0.0)
        total += weight
        before += optical
    tl.store(alpha + batch * pixels + pixel, total, mask=real)
    there = place + batch * 3 * pixels + pixel
    tl.store(there, x, mask=real)
    tl.store(there + pixels, y, mask=real)
    tl.store(there + 2 * pixels, z, mask=real)
    shown = rendered + (batch * pixels + tl.program_id(0) * BLOCK) * (outputs - 1)
    _store_tile(shown, picture, pixels - tl.program_id(0) * BLOCK, outputs - 1, 0, outputs - 1, BLOCK, OUTPUTS)


@triton.jit
def field_backward(
    features,
    points,
    moved,
    length,
    first,
    first_bias,
    second,
    second_bias,
    rendered,
    alpha,
    place,
    grad_rendered,
    grad_alpha,
    grad_place,
    grad_features,
    grad_moved,
    part_first,
    part_first_bias,
    part_second,
    part_second_bias,
    pixels,
    feature_channels,
    encoding_channels,
    hidden_channels,
    outputs,
    scale,
    SAMPLES: tl.constexpr,
    FEATURES: tl.constexpr,
    ENCODING: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """grad_features [B, N, P, F], grad_moved [B, N, 3, P], and each program's share of the gradients of weights and
    biases, part_… [programs, …], from the outputs of `field_forward` and their gradients."""
    batch = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < pixels
    left = pixels - tl.program_id(0) * BLOCK
    inputs = feature_channels + encoding_channels
    of_features = _tile(first, hidden_channels, inputs, 0, feature_channels, HIDDEN, FEATURES)
    of_encoding = _tile(first, hidden_channels, inputs, feature_channels, inputs, HIDDEN, ENCODING)
    of_hidden = _tile(second, outputs, hidden_channels, 0, hidden_channels, OUTPUTS, HIDDEN)
    in_hidden, out = tl.arange(0, HIDDEN), tl.arange(0, OUTPUTS)
    hidden_bias = tl.load(first_bias + in_hidden, mask=in_hidden < hidden_channels, other=0.0)[None, :]
    out_bias = tl.load(second_bias + out, mask=out < outputs, other=0.0)[None, :]
    distance = tl.load(length + batch * pixels + pixel, mask=real, other=0.0)
    kind: tl.constexpr = features.dtype.element_ty
    shown = (batch * pixels + tl.program_id(0) * BLOCK) * (outputs - 1)
    of_picture = _tile(grad_rendered + shown, left, outputs - 1, 0, outputs - 1, BLOCK, OUTPUTS)
    of_alpha = tl.load(grad_alpha + batch * pixels + pixel, mask=real, other=0.0)
    # Along the ray, what all samples behind this one bring, weighted with the outputs' gradients.
    behind = of_alpha * tl.load(alpha + batch * pixels + pixel, mask=real, other=0.0)
    picture = _tile(rendered + shown, left, outputs - 1, 0, outputs - 1, BLOCK, OUTPUTS)
    behind += tl.sum(of_picture * picture, 1)
    end = batch * 3 * pixels + pixel
    of_x = tl.load(grad_place + end, mask=real, other=0.0)
    of_y = tl.load(grad_place + end + pixels, mask=real, other=0.0)
    of_z = tl.load(grad_place + end + 2 * pixels, mask=real, other=0.0)
    behind += of_x * tl.load(place + end, mask=real, other=0.0)
    behind += of_y * tl.load(place + end + pixels, mask=real, other=0.0)
    behind += of_z * tl.load(place + end + 2 * pixels, mask=real, other=0.0)
    before = tl.zeros([BLOCK], dtype=distance.dtype)
    first_features = tl.zeros([HIDDEN, FEATURES], dtype=distance.dtype)
    first_encoding = tl.zeros([HIDDEN, ENCODING], dtype=distance.dtype)
    second_hidden = tl.zeros([OUTPUTS, HIDDEN], dtype=distance.dtype)
    first_sum = tl.zeros([HIDDEN], dtype=distance.dtype)
    second_sum = tl.zeros([OUTPUTS], dtype=distance.dtype)
    features += batch * SAMPLES * pixels * feature_channels
    grad_features += batch * SAMPLES * pixels * feature_channels
    points += batch * SAMPLES * pixels * 3
    moved += batch * SAMPLES * pixels * 3
    grad_moved += batch * SAMPLES * pixels * 3
    for sample in range(SAMPLES):
        base = (sample * pixels + tl.program_id(0) * BLOCK) * feature_channels
        feature = _tile(features + base, left, feature_channels, 0, feature_channels, BLOCK, FEATURES)
        encoding = _encoding(points + sample * 3 * pixels, pixels, pixel, real, encoding_channels, ENCODING).to(kind)
        hidden = tl.dot(feature, tl.trans(of_features), input_precision="ieee")
        hidden += tl.dot(encoding, tl.trans(of_encoding), input_precision="ieee")
        hidden = tl.maximum(hidden + hidden_bias, 0.0, propagate_nan=tl.PropagateNan.ALL).to(kind)
        raw = tl.dot(hidden, tl.trans(of_hidden), input_precision="ieee") + out_bias
        density, slope = _density(raw, outputs, scale, OUTPUTS)
        optical = density * distance
        through, passed = tl.exp(-before), tl.exp(-optical)
        weight = through * (1.0 - passed)
        colour = tl.sigmoid(raw)
        there = sample * 3 * pixels + pixel
        here = tl.sum(of_picture * colour, 1) + of_alpha
        here += of_x * tl.load(moved + there, mask=real, other=0.0)
        here += of_y * tl.load(moved + there + pixels, mask=real, other=0.0)
        here += of_z * tl.load(moved + there + 2 * pixels, mask=real, other=0.0)
        tl.store(grad_moved + there, weight * of_x, mask=real)
        tl.store(grad_moved + there + pixels, weight * of_y, mask=real)
        tl.store(grad_moved + there + 2 * pixels, weight * of_z, mask=real)
        behind -= weight * here
        of_optical = here * through * passed - behind
        before += optical
        of_raw = of_picture * weight[:, None] * colour * (1.0 - colour)
        of_density = of_optical * distance * slope
        of_raw = tl.where((out == outputs - 1)[None, :], of_density[:, None], of_raw)
        second_sum += tl.sum(of_raw, 0)
        low = of_raw.to(kind)
        second_hidden += tl.dot(tl.trans(low), hidden, input_precision="ieee")
        of_inside = tl.where(hidden > 0.0, tl.dot(low, of_hidden, input_precision="ieee"), 0.0)
        first_sum += tl.sum(of_inside, 0)
        low = of_inside.to(kind)
        first_features += tl.dot(tl.trans(low), feature, input_precision="ieee")
        first_encoding += tl.dot(tl.trans(low), encoding, input_precision="ieee")
        of_feature = tl.dot(low, of_features, input_precision="ieee").to(kind)
        _store_tile(grad_features + base, of_feature, left, feature_channels, 0, feature_channels, BLOCK, FEATURES)
    part = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    part_first += part * hidden_channels * inputs
    _store_tile(part_first, first_features, hidden_channels, inputs, 0, feature_channels, HIDDEN, FEATURES)
    _store_tile(part_first, first_encoding, hidden_channels, inputs, feature_channels, inputs, HIDDEN, ENCODING)
    part_second += part * outputs * hidden_channels
    _store_tile(part_second, second_hidden, outputs, hidden_channels, 0, hidden_channels, OUTPUTS, HIDDEN)
    tl.store(part_first_bias + part * hidden_channels + in_hidden, first_sum, mask=in_hidden < hidden_channels)
    tl.store(part_second_bias + part * outputs + out, second_sum, mask=out < outputs)
