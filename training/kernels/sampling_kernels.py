# mypy: disable-error-code="no-untyped-def, import-not-found"
"""Triton kernels of `sampling.py`: gather forward, scatter-add backward, channels innermost.

One program computes all channels of BLOCK points or plane cells, so that one corner of one point is one contiguous
read of C values. Coordinates, weights and sums have the type of the coordinates, FP32 in training. WIDTH is CHANNELS
rounded up to a power of two; strides are in values.
"""

import triton
import triton.language as tl


@triton.jit
def _cell(position, size):
    """Index of the last cell whose centre is at or below `position`, and the fraction of the way to the next one.

    position: in cells, with centres at whole numbers; clamped to just outside the grid, so that the index cannot
        overflow.
    """
    clamped = tl.minimum(tl.maximum(position, -2.0), size + 1.0)
    below = tl.floor(clamped)
    return below.to(tl.int32), clamped - below


@triton.jit
def _load_points(points, batch, index, inside, pixels, total):
    """x, y, z of points [B, N, 3, P] of one batch entry by flat index n · P + p; outside the grid where masked."""
    at = points + batch * 3 * total + (index // pixels) * 3 * pixels + index % pixels
    x = tl.load(at, mask=inside, other=9.0)
    y = tl.load(at + pixels, mask=inside, other=9.0)
    z = tl.load(at + 2 * pixels, mask=inside, other=9.0)
    return x, y, z


@triton.jit
def planes_forward(
    planes,
    points,
    out,
    size,
    pixels,
    total,
    stride_batch,
    stride_plane,
    stride_row,
    stride_column,
    out_width,
    out_column,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Mean of the bilinear samples of the three planes, written to out.

    planes: [B, 3, C, size, size], any strides. points: [B, N, 3, pixels]; total = N · pixels.
    out: [B, total, out_width], columns from out_column on.
    """
    batch = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < total
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    x, y, z = _load_points(points, batch, index, inside, pixels, total)
    total_sum = tl.zeros([BLOCK, WIDTH], dtype=x.dtype)
    for plane in tl.static_range(3):
        across = y if plane == 2 else x
        along = y if plane == 0 else z
        column, right = _cell(((across + 1.0) * size - 1.0) * 0.5, size)
        row, down = _cell(((along + 1.0) * size - 1.0) * 0.5, size)
        base = planes + batch * stride_batch + plane * stride_plane
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                weight = (right if dx == 1 else 1.0 - right) * (down if dy == 1 else 1.0 - down)
                r, c = row + dy, column + dx
                valid = inside & (r >= 0) & (r < size) & (c >= 0) & (c < size)
                at = (r * stride_row + c * stride_column)[:, None] + channel[None, :]
                value = tl.load(base + at, mask=valid[:, None] & real[None, :], other=0.0).to(x.dtype)
                total_sum += weight[:, None] * value
    to = out + batch * total * out_width + (index * out_width + out_column)[:, None] + channel[None, :]
    tl.store(to, (total_sum / 3.0).to(out.dtype.element_ty), mask=inside[:, None] & real[None, :])


@triton.jit
def planes_backward(
    planes,
    points,
    grad_out,
    grad_planes,
    grad_points,
    size,
    pixels,
    total,
    stride_batch,
    stride_plane,
    stride_row,
    stride_column,
    out_width,
    out_column,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    ADD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Backward pass of `planes_forward`.

    grad_planes: [B, size, size, 3, C], added to. grad_points: [B, N, 3, pixels], added to if ADD, else written.
    """
    batch = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < total
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    x, y, z = _load_points(points, batch, index, inside, pixels, total)
    read = grad_out + batch * total * out_width + (index * out_width + out_column)[:, None] + channel[None, :]
    grad = tl.load(read, mask=inside[:, None] & real[None, :], other=0.0).to(x.dtype) / 3.0
    grad_x = tl.zeros([BLOCK], dtype=x.dtype)
    grad_y = tl.zeros([BLOCK], dtype=x.dtype)
    grad_z = tl.zeros([BLOCK], dtype=x.dtype)
    for plane in tl.static_range(3):
        across = y if plane == 2 else x
        along = y if plane == 0 else z
        column, right = _cell(((across + 1.0) * size - 1.0) * 0.5, size)
        row, down = _cell(((along + 1.0) * size - 1.0) * 0.5, size)
        base = planes + batch * stride_batch + plane * stride_plane
        sums = grad_planes + batch * size * size * 3 * CHANNELS + plane * CHANNELS
        grad_across = tl.zeros([BLOCK], dtype=x.dtype)
        grad_along = tl.zeros([BLOCK], dtype=x.dtype)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                weight_x = right if dx == 1 else 1.0 - right
                weight_y = down if dy == 1 else 1.0 - down
                r, c = row + dy, column + dx
                valid = inside & (r >= 0) & (r < size) & (c >= 0) & (c < size)
                where = valid[:, None] & real[None, :]
                at = (r * stride_row + c * stride_column)[:, None] + channel[None, :]
                value = tl.load(base + at, mask=where, other=0.0).to(x.dtype)
                product = tl.sum(value * grad, 1)
                grad_across += product * weight_y * (1.0 if dx == 1 else -1.0)
                grad_along += product * weight_x * (1.0 if dy == 1 else -1.0)
                to = ((r * size + c) * 3 * CHANNELS)[:, None] + channel[None, :]
                tl.atomic_add(sums + to, (weight_x * weight_y)[:, None] * grad, mask=where, sem="relaxed")
        if plane == 2:
            grad_y += grad_across
        else:
            grad_x += grad_across
        if plane == 0:
            grad_y += grad_along
        else:
            grad_z += grad_along
    scale = size * 0.5
    at = grad_points + batch * 3 * total + (index // pixels) * 3 * pixels + index % pixels
    grad_x, grad_y, grad_z = grad_x * scale, grad_y * scale, grad_z * scale
    if ADD:
        grad_x += tl.load(at, mask=inside, other=0.0)
        grad_y += tl.load(at + pixels, mask=inside, other=0.0)
        grad_z += tl.load(at + 2 * pixels, mask=inside, other=0.0)
    tl.store(at, grad_x, mask=inside)
    tl.store(at + pixels, grad_y, mask=inside)
    tl.store(at + 2 * pixels, grad_z, mask=inside)


@triton.jit
def _volume_position(view, column, row, normal, plane, nearest, width, height, depth):
    """Position of plane cells in the source camera's volume, in voxels; the formulas of `geometry.volume_grid`."""
    x = tl.where(plane == 2, normal, column)
    y = tl.where(plane == 0, row, tl.where(plane == 1, normal, column))
    z = tl.where(plane == 0, normal, row)
    in_x = tl.load(view) * x + tl.load(view + 1) * y + tl.load(view + 2) * z + tl.load(view + 9)
    in_y = tl.load(view + 3) * x + tl.load(view + 4) * y + tl.load(view + 5) * z + tl.load(view + 10)
    offset = tl.load(view + 11)
    in_z = tl.load(view + 6) * x + tl.load(view + 7) * y + tl.load(view + 8) * z + offset
    distance = tl.maximum(in_z, nearest)
    right, down = in_x / distance, in_y / distance
    u = tl.load(view + 12) * right + tl.load(view + 13) * down + tl.load(view + 14)
    v = tl.load(view + 15) * down + tl.load(view + 16)
    return u * width - 0.5, v * height - 0.5, ((in_z - offset + 1.0) * depth - 1.0) * 0.5


@triton.jit
def _plane_cells(views, size, BLOCK: tl.constexpr):
    """This program's cells of a plane: numbers, whether they exist, and world coordinates along columns and rows."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = ((cell % size).to(views.dtype.element_ty) + 0.5) * (2.0 / size) - 1.0
    row = ((cell // size).to(views.dtype.element_ty) + 0.5) * (2.0 / size) - 1.0
    return cell, cell < size * size, column, row


@triton.jit
def _corner(u, v, w, width, height, depth, dx: tl.constexpr, dy: tl.constexpr, dz: tl.constexpr):
    """One of the eight voxels around positions: index in [H, W, D], trilinear weight, and whether it exists."""
    i, right = _cell(u, width)
    j, down = _cell(v, height)
    k, far = _cell(w, depth)
    weight = (right if dx == 1 else 1.0 - right) * (down if dy == 1 else 1.0 - down) * (far if dz == 1 else 1.0 - far)
    r, c, s = j + dy, i + dx, k + dz
    valid = (r >= 0) & (r < height) & (c >= 0) & (c < width) & (s >= 0) & (s < depth)
    return (r * width + c) * depth + s, weight, valid


@triton.jit
def resample_forward(
    volume,
    views,
    out,
    size,
    depth,
    height,
    width,
    nearest,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Mean of the trilinear samples along each normal, written to out.

    volume: [B, H, W, D, C]. views: [B, 17], see `sampling._views`. out: [B, size, size, 3, C].
    """
    batch = tl.program_id(2).to(tl.int64)
    plane = tl.program_id(1)
    cell, inside, column, row = _plane_cells(views, size, BLOCK)
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    view = views + batch * 17
    base = volume + batch * height * width * depth * CHANNELS
    total_sum = tl.zeros([BLOCK, WIDTH], dtype=column.dtype)
    for sample in range(SAMPLES):
        normal = (sample + 0.5) * (2.0 / SAMPLES) - 1.0
        u, v, w = _volume_position(view, column, row, normal, plane, nearest, width, height, depth)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                for dz in tl.static_range(2):
                    voxel, weight, valid = _corner(u, v, w, width, height, depth, dx, dy, dz)
                    at = (voxel * CHANNELS)[:, None] + channel[None, :]
                    where = (inside & valid)[:, None] & real[None, :]
                    total_sum += weight[:, None] * tl.load(base + at, mask=where, other=0.0).to(column.dtype)
    to = out + batch * size * size * 3 * CHANNELS + ((cell * 3 + plane) * CHANNELS)[:, None] + channel[None, :]
    tl.store(to, (total_sum / SAMPLES).to(out.dtype.element_ty), mask=inside[:, None] & real[None, :])


@triton.jit
def resample_backward(
    grad_out,
    views,
    grad_volume,
    size,
    depth,
    height,
    width,
    nearest,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Backward pass of `resample_forward`: adds to grad_volume [B, H, W, D, C]. grad_out: [B, size, size, 3, C]."""
    batch = tl.program_id(2).to(tl.int64)
    plane = tl.program_id(1)
    cell, inside, column, row = _plane_cells(views, size, BLOCK)
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    view = views + batch * 17
    base = grad_volume + batch * height * width * depth * CHANNELS
    read = grad_out + batch * size * size * 3 * CHANNELS + ((cell * 3 + plane) * CHANNELS)[:, None] + channel[None, :]
    grad = tl.load(read, mask=inside[:, None] & real[None, :], other=0.0).to(column.dtype) / SAMPLES
    for sample in range(SAMPLES):
        normal = (sample + 0.5) * (2.0 / SAMPLES) - 1.0
        u, v, w = _volume_position(view, column, row, normal, plane, nearest, width, height, depth)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                for dz in tl.static_range(2):
                    voxel, weight, valid = _corner(u, v, w, width, height, depth, dx, dy, dz)
                    at = (voxel * CHANNELS)[:, None] + channel[None, :]
                    where = (inside & valid)[:, None] & real[None, :]
                    tl.atomic_add(base + at, weight[:, None] * grad, mask=where, sem="relaxed")
