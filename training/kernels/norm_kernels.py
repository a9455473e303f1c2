# mypy: disable-error-code="no-untyped-def, import-not-found"
"""Triton kernels of `norm.py`: a batch norm and the operations that follow it, on maps [rows, channels].

Sums have the type of `mean`: FP32, or FP64 for FP64 maps. They are computed in two stages without atomics, so they are
deterministic: a program sums a chunk of STEPS · ROWS rows of WIDTH channels, then one program a channel adds the sums.
The number of channels is groups · VECTOR; since VECTOR is a constant, the compiler reads that many at once.

The `modulation` of a SPADE layer is a map [rows, 2 · channels]: gamma, then beta in each row, without biases. Their
biases are modulation_bias [2 · channels], in the same order.

Arguments that several kernels share:

x, out, gradient, grad_x: [rows, channels], input, output and their gradients.
mean, inverse: [channels], mean and 1 / √(variance + ε).
weight, bias: [channels], of the batch norm, or None.
residual: [rows, channels], or None.
LEAK: slope of the leaky ReLU below 0.
"""

import triton
import triton.language as tl


@triton.jit
def _places(first, end, groups, VECTOR: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, MAPS: tl.constexpr = 1):
    """Offsets [ROWS, WIDTH] of the values in ROWS rows from `first` on, and whether they exist (rows below `end`).

    MAPS: maps side by side in a row; the offsets are those in the first map.
    """
    row = first + tl.arange(0, ROWS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    channels = groups * VECTOR
    at = (row * (MAPS * channels))[:, None] + channel[None, :]
    return at, (row < end)[:, None] & (channel < channels)[None, :]


@triton.jit
def _own_tile(rows, groups, VECTOR: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Tile of a program that has only one: rows left in the map, the tile's offset, and `_places` relative to it."""
    begin = tl.program_id(0) * ROWS
    at, real = _places(0, rows - begin, groups, VECTOR, ROWS, WIDTH)
    return rows - begin, begin.to(tl.int64) * (groups * VECTOR), at, real


@triton.jit
def _per_channel(values, groups, VECTOR: tl.constexpr, WIDTH: tl.constexpr):
    """This program's part [1, WIDTH] of values [channels]."""
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    return tl.load(values + channel, mask=channel < groups * VECTOR, other=0.0)[None, :]


@triton.jit
def _biased(values, at, real, bias):
    """Values of a map plus bias [1, WIDTH], in the type of the bias."""
    return tl.load(values + at, mask=real, other=0.0).to(bias.dtype) + bias


@triton.jit
def _store_parts(parts, values, groups, VECTOR: tl.constexpr, WIDTH: tl.constexpr):
    """Store this program's sums [WIDTH] in its column of parts [channels, programs]."""
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    at = parts + channel * tl.num_programs(0) + tl.program_id(0)
    tl.store(at, values, mask=channel < groups * VECTOR)


@triton.jit
def _affine(normal, weight, bias, groups, VECTOR: tl.constexpr, WIDTH: tl.constexpr):
    """Normalised values times weight plus bias, if the norm has them."""
    if weight is not None:
        scale = _per_channel(weight, groups, VECTOR, WIDTH).to(normal.dtype)
        normal = normal * scale + _per_channel(bias, groups, VECTOR, WIDTH).to(normal.dtype)
    return normal


@triton.jit
def part_moments(
    x,
    part_means,
    part_squares,
    rows,
    groups,
    STEPS: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """First stage of the moments: mean and sum of squared deviations of each chunk.

    Writes part_means and part_squares [channels, programs]. Both are computed relative to the mean of the chunk's first
    ROWS rows. These rows are part of the chunk, so the chunk's variance is at least 1 / STEPS of the squared distance
    of the two means, and the subtraction at the end loses few digits.
    """
    kind = part_means.dtype.element_ty
    begin = tl.program_id(0) * (STEPS * ROWS)
    end = tl.minimum(begin + STEPS * ROWS, rows)
    at, real = _places(0, end - begin, groups, VECTOR, ROWS, WIDTH)
    base = x + begin.to(tl.int64) * (groups * VECTOR)
    value = tl.load(base + at, mask=real, other=0.0).to(kind)
    # That mean is itself computed relative to the first row: a sum of large values would be rounded too coarsely.
    some = _per_channel(base, groups, VECTOR, WIDTH).to(kind)
    shift = some + tl.sum(tl.where(real, value - some, 0.0), 0)[None, :] / tl.minimum(end - begin, ROWS)
    sums = tl.zeros([ROWS, WIDTH], dtype=kind)
    squares = tl.zeros([ROWS, WIDTH], dtype=kind)
    for step in tl.range(STEPS, loop_unroll_factor=2):
        at, real = _places(step * ROWS, end - begin, groups, VECTOR, ROWS, WIDTH)
        value = tl.load(base + at, mask=real, other=0.0).to(kind)
        deviation = tl.where(real, value - shift, 0.0)
        sums += deviation
        squares += deviation * deviation
    total = tl.sum(sums, 0)[None, :]
    offset = total / (end - begin)
    _store_parts(part_means, tl.sum(shift + offset, 0), groups, VECTOR, WIDTH)
    _store_parts(part_squares, tl.sum(squares, 0) - tl.sum(total * offset, 0), groups, VECTOR, WIDTH)


@triton.jit
def join_moments(
    part_means,
    part_squares,
    mean,
    inverse,
    running_mean,
    running_variance,
    batches,
    rows,
    chunk,
    parts,
    EPSILON: tl.constexpr,
    MOMENTUM: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Second stage of the moments, for one channel: writes `mean` and `inverse`, and updates the running statistics.

    part_means, part_squares: [channels, parts], of `part_moments`. chunk: rows of each part.
    MOMENTUM: of the running statistics; None for plain means over all batches, of which this is number `batches`.
    """
    channel = tl.program_id(0)
    part = tl.arange(0, PARTS)
    real = part < parts
    at = channel * parts + part
    count = tl.maximum(tl.minimum(chunk, rows - part * chunk), 0).to(mean.dtype.element_ty)
    some = tl.load(part_means + channel * parts)
    distance = tl.where(real, tl.load(part_means + at, mask=real, other=0.0) - some, 0.0)
    offset = tl.sum(count * distance, 0) / rows
    squares = tl.load(part_squares + at, mask=real, other=0.0)
    squares += tl.where(real, count * (distance - offset) * (distance - offset), 0.0)
    total = tl.sum(squares, 0)
    middle = some + offset
    tl.store(mean + channel, middle)
    tl.store(inverse + channel, 1.0 / tl.sqrt(total / rows + EPSILON))
    old_mean = tl.load(running_mean + channel).to(middle.dtype)
    old_variance = tl.load(running_variance + channel).to(middle.dtype)
    if MOMENTUM is None:
        share = 1.0 / tl.load(batches).to(middle.dtype)
        new_mean = (1.0 - share) * old_mean + share * middle
        new_variance = (1.0 - share) * old_variance + share * (total / (rows - 1))
    else:
        new_mean = (1.0 - MOMENTUM) * old_mean + MOMENTUM * middle
        new_variance = (1.0 - MOMENTUM) * old_variance + MOMENTUM * (total / (rows - 1))
    tl.store(running_mean + channel, new_mean)
    tl.store(running_variance + channel, new_variance)


@triton.jit
def normalise(
    x,
    mean,
    inverse,
    weight,
    bias,
    residual,
    modulation,
    modulation_bias,
    out,
    rows,
    groups,
    LEAK: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """out = leaky ReLU of norm(x), or of norm(x) + residual, or of norm(x)·(1 + gamma) + beta."""
    left, base, at, real = _own_tile(rows, groups, VECTOR, ROWS, WIDTH)
    middle = _per_channel(mean, groups, VECTOR, WIDTH)
    value = tl.load(x + base + at, mask=real, other=0.0).to(middle.dtype) - middle
    value = _affine(value * _per_channel(inverse, groups, VECTOR, WIDTH), weight, bias, groups, VECTOR, WIDTH)
    if residual is not None:
        value += tl.load(residual + base + at, mask=real, other=0.0).to(middle.dtype)
    if modulation is not None:
        channels = groups * VECTOR
        at_gamma, _ = _places(0, left, groups, VECTOR, ROWS, WIDTH, MAPS=2)
        bias_gamma = _per_channel(modulation_bias, groups, VECTOR, WIDTH).to(middle.dtype)
        bias_beta = _per_channel(modulation_bias + channels, groups, VECTOR, WIDTH).to(middle.dtype)
        value *= _biased(modulation + 2 * base, at_gamma, real, 1.0 + bias_gamma)
        value += _biased(modulation + 2 * base + channels, at_gamma, real, bias_beta)
    value = tl.where(value > 0.0, value, value * LEAK)
    tl.store(out + base + at, value.to(out.dtype.element_ty), mask=real)


@triton.jit
def part_gradients(
    gradient,
    x,
    out,
    mean,
    inverse,
    weight,
    bias,
    modulation,
    modulation_bias,
    grad_residual,
    grad_modulation,
    part_sums,
    rows,
    groups,
    LEAK: tl.constexpr,
    STEPS: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sums of each chunk: gradients of the normalised x, and their products with it.

    part_sums: [2, channels, programs], these two; with modulation [4, channels, programs], then the sums of the
        gradients of gamma and beta.
    out: its sign tells which values the leaky ReLU scaled; None computes the values again.
    grad_residual, grad_modulation: receive the gradients of residual and modulation; None without them.
    """
    middle = _per_channel(mean, groups, VECTOR, WIDTH)
    scale = _per_channel(inverse, groups, VECTOR, WIDTH)
    sums = tl.zeros([ROWS, WIDTH], dtype=middle.dtype)
    products = tl.zeros([ROWS, WIDTH], dtype=middle.dtype)
    begin = tl.program_id(0) * (STEPS * ROWS)
    end = tl.minimum(begin + STEPS * ROWS, rows)
    channels = groups * VECTOR
    base = begin.to(tl.int64) * channels
    if modulation is not None:
        kind = grad_modulation.dtype.element_ty
        sums_gamma = tl.zeros([ROWS, WIDTH], dtype=middle.dtype)
        sums_beta = tl.zeros([ROWS, WIDTH], dtype=middle.dtype)
    for step in range(STEPS):
        at, real = _places(step * ROWS, end - begin, groups, VECTOR, ROWS, WIDTH)
        normal = (tl.load(x + base + at, mask=real, other=0.0).to(middle.dtype) - middle) * scale
        value = tl.load(gradient + base + at, mask=real, other=0.0).to(middle.dtype)
        if out is None:
            positive = _affine(normal, weight, bias, groups, VECTOR, WIDTH) > 0.0
        else:
            positive = tl.load(out + base + at, mask=real, other=0.0) > 0.0
        value = tl.where(positive, value, value * LEAK)
        if grad_residual is not None:
            tl.store(grad_residual + base + at, value.to(grad_residual.dtype.element_ty), mask=real)
        if modulation is not None:
            at_gamma, _ = _places(step * ROWS, end - begin, groups, VECTOR, ROWS, WIDTH, MAPS=2)
            product = value * normal
            tl.store(grad_modulation + 2 * base + at_gamma, product.to(kind), mask=real)
            tl.store(grad_modulation + 2 * base + channels + at_gamma, value.to(kind), mask=real)
            sums_gamma += product
            sums_beta += value
            value *= tl.load(modulation + 2 * base + at_gamma, mask=real, other=0.0).to(middle.dtype)
        sums += value
        products += value * normal
    size = channels * tl.num_programs(0)
    if modulation is not None:
        # 1 + gamma's bias, the same for all rows, is not in the sums yet.
        one = 1.0 + _per_channel(modulation_bias, groups, VECTOR, WIDTH).to(middle.dtype)
        sums += one * sums_beta
        products += one * sums_gamma
        _store_parts(part_sums + 2 * size, tl.sum(sums_gamma, 0), groups, VECTOR, WIDTH)
        _store_parts(part_sums + 3 * size, tl.sum(sums_beta, 0), groups, VECTOR, WIDTH)
    _store_parts(part_sums, tl.sum(sums, 0), groups, VECTOR, WIDTH)
    _store_parts(part_sums + size, tl.sum(products, 0), groups, VECTOR, WIDTH)


@triton.jit
def join_sums(part_sums, sums, parts, PARTS: tl.constexpr):
    """Sum over the parts: part_sums [sums, parts] → sums [sums], one program each."""
    index = tl.program_id(0)
    part = tl.arange(0, PARTS)
    tl.store(sums + index, tl.sum(tl.load(part_sums + index * parts + part, mask=part < parts, other=0.0), 0))


@triton.jit
def input_gradient(
    gradient,
    x,
    mean,
    inverse,
    weight,
    bias,
    modulation,
    modulation_bias,
    sums,
    products,
    grad_x,
    rows,
    groups,
    LEAK: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write grad_x.

    gradient: of the output; if LEAK is None, of the leaky ReLU's input. With modulation it is the modulation's gradient
        [rows, 2 · channels], whose beta part equals the gradient of the leaky ReLU's input.
    sums, products: [channels], of `part_gradients`, summed.
    """
    left, base, at, real = _own_tile(rows, groups, VECTOR, ROWS, WIDTH)
    middle = _per_channel(mean, groups, VECTOR, WIDTH)
    scale = _per_channel(inverse, groups, VECTOR, WIDTH)
    normal = (tl.load(x + base + at, mask=real, other=0.0).to(middle.dtype) - middle) * scale
    if modulation is None:
        value = tl.load(gradient + base + at, mask=real, other=0.0).to(middle.dtype)
    else:
        channels = groups * VECTOR
        at_gamma, _ = _places(0, left, groups, VECTOR, ROWS, WIDTH, MAPS=2)
        one = 1.0 + _per_channel(modulation_bias, groups, VECTOR, WIDTH).to(middle.dtype)
        value = tl.load(gradient + 2 * base + channels + at_gamma, mask=real, other=0.0).to(middle.dtype)
        value *= _biased(modulation + 2 * base, at_gamma, real, one)
    if LEAK is not None:
        value = tl.where(_affine(normal, weight, bias, groups, VECTOR, WIDTH) > 0.0, value, value * LEAK)
    value -= _per_channel(sums, groups, VECTOR, WIDTH) / rows
    value -= normal * (_per_channel(products, groups, VECTOR, WIDTH) / rows)
    if weight is not None:
        scale *= _per_channel(weight, groups, VECTOR, WIDTH).to(middle.dtype)
    tl.store(grad_x + base + at, (value * scale).to(grad_x.dtype.element_ty), mask=real)


@triton.jit
def bias_leaky(
    x,
    bias,
    out,
    rows,
    groups,
    LEAK: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """out = leaky ReLU of x + bias; bias [channels]."""
    _, base, at, real = _own_tile(rows, groups, VECTOR, ROWS, WIDTH)
    value = _biased(x + base, at, real, _per_channel(bias, groups, VECTOR, WIDTH))
    value = tl.where(value > 0.0, value, value * LEAK)
    tl.store(out + base + at, value.to(out.dtype.element_ty), mask=real)


@triton.jit
def part_leaks(
    gradient,
    out,
    grad_x,
    part_sums,
    rows,
    groups,
    LEAK: tl.constexpr,
    STEPS: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Backward pass of `bias_leaky`: writes grad_x, and each chunk's sums of it to part_sums [channels, programs]."""
    sums = tl.zeros([ROWS, WIDTH], dtype=part_sums.dtype.element_ty)
    begin = tl.program_id(0) * (STEPS * ROWS)
    end = tl.minimum(begin + STEPS * ROWS, rows)
    base = begin.to(tl.int64) * (groups * VECTOR)
    for step in range(STEPS):
        at, real = _places(step * ROWS, end - begin, groups, VECTOR, ROWS, WIDTH)
        value = tl.load(gradient + base + at, mask=real, other=0.0).to(sums.dtype)
        positive = tl.load(out + base + at, mask=real, other=0.0) > 0.0
        value = tl.where(positive, value, value * LEAK)
        tl.store(grad_x + base + at, value.to(grad_x.dtype.element_ty), mask=real)
        sums += value
    _store_parts(part_sums, tl.sum(sums, 0), groups, VECTOR, WIDTH)
