"""A second implementation of geometry and renderer: NumPy in float64, one point at a time, from DESIGN §8."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEAREST = 1e-3
DENSITY_SCALE = 10.0
# Columns and rows of the planes XY, XZ, YZ.
PLANE_AXES = ((0, 1), (0, 2), (1, 2))


def rotation_about(axis: Sequence[float], degrees: float) -> Array:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def make_camera(rotation: Array, position: Sequence[float], intrinsics: Sequence[Sequence[float]]) -> Array:
    """cam2world's rotation [3, 3] and position [3], intrinsics [3, 3] → camera [25] that float32 holds exactly."""
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation, position
    flat = np.concatenate([cam2world.reshape(16), np.asarray(intrinsics, np.float64).reshape(9)])
    return flat.astype(np.float32).astype(np.float64)


def frontal_camera(distance: float, focal: float) -> Array:
    """On the z axis, looking at the origin: OpenCV's y and z axes are opposite to the world's."""
    return make_camera(np.diag([1.0, -1.0, -1.0]), (0, 0, distance), [[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])


def general_camera() -> Array:
    """Nothing in it is zero, one or symmetric: skew, two focal lengths, principal point off the centre, turned."""
    rotation = np.diag([1.0, -1.0, -1.0]) @ rotation_about((0.3, 1.0, 0.2), 25.0)
    position = rotation @ np.array([0.2, -0.15, -5.5])
    return make_camera(rotation, position, [[2.1, 0.13, 0.46], [0, 1.8, 0.55], [0, 0, 1]])


def unpack(camera: Array) -> tuple[Array, Array, Array]:
    cam2world = camera[:16].reshape(4, 4)
    return cam2world[:3, :3], cam2world[:3, 3], camera[16:].reshape(3, 3)


def pixel_ray(camera: Array, size: int, row: int, column: int) -> tuple[Array, Array]:
    """Origin and unit direction through a pixel's centre."""
    rotation, position, intrinsics = unpack(camera)
    in_picture = np.array([(column + 0.5) / size, (row + 0.5) / size, 1.0])
    direction = rotation @ np.linalg.solve(intrinsics, in_picture)
    return position, direction / np.linalg.norm(direction)


def box_interval(origin: Array, direction: Array) -> tuple[float, float]:
    """Distances at which a ray enters and leaves [-1, 1]³; equal if it misses."""
    near, far = NEAREST, math.inf
    for o, d in zip(origin, direction, strict=True):
        if d == 0.0:
            low, high = (-math.inf, math.inf) if abs(o) <= 1 else (math.inf, -math.inf)
        else:
            low, high = sorted(((-1 - o) / d, (1 - o) / d))
        near, far = max(near, low), min(far, high)
    return near, max(near, far)


def point_in_volume(camera: Array, point: Array) -> Array:
    """World point → (u, v, w) of Eq. 1: where the source's picture shows it, and its depth relative to the origin's."""
    rotation, position, intrinsics = unpack(camera)
    in_camera = rotation.T @ (point - position)
    u, v, one = intrinsics @ (in_camera / in_camera[2])
    assert one == 1.0
    depth_of_origin = (rotation.T @ -position)[2]
    return np.array([2 * u - 1, 2 * v - 1, in_camera[2] - depth_of_origin])


def centre(index: int, count: int) -> float:
    """Centre of a cell of [-1, 1]."""
    return -1 + 2 * (index + 0.5) / count


def linear(values: Array, coordinates: Sequence[float]) -> Array:
    """Multilinear sample of values [C, ..., H, W] at coordinates (u, v, ...), the last axis first; zero outside."""
    sizes = values.shape[:0:-1]
    positions = [(c + 1) * size / 2 - 0.5 for c, size in zip(coordinates, sizes, strict=True)]
    total = np.zeros(values.shape[0])
    for corner in np.ndindex(*[2] * len(sizes)):
        indices = [math.floor(p) + offset for p, offset in zip(positions, corner, strict=True)]
        weight = math.prod(1 - abs(p - i) for p, i in zip(positions, indices, strict=True))
        if all(0 <= i < size for i, size in zip(indices, sizes, strict=True)):
            total += weight * values[(slice(None), *indices[::-1])]
    return total


def world_planes(volume: Array, camera: Array, size: int, samples: int) -> Array:
    """Eq. 1: volume [C, D, H, W] → planes [3, C, size, size], each the mean of the samples along its normal."""
    planes = np.zeros((3, len(volume), size, size))
    for plane, (along_columns, along_rows) in enumerate(PLANE_AXES):
        normal = 3 - along_columns - along_rows
        for row, column, sample in np.ndindex(size, size, samples):
            point = np.zeros(3)
            point[along_columns], point[along_rows] = centre(column, size), centre(row, size)
            point[normal] = centre(sample, samples)
            planes[plane, :, row, column] += linear(volume, point_in_volume(camera, point)) / samples
    return planes


def plane_features(planes: Array, point: Array) -> Array:
    """Mean of the bilinear samples of planes [3, C, r, r] at a world point → [C]."""
    samples = [linear(plane, (point[a], point[b])) for plane, (a, b) in zip(planes, PLANE_AXES, strict=True)]
    return np.mean(samples, axis=0)


def encode(point: Array, octaves: int) -> Array:
    """sin(2^k π p) of the three axes, then cos(2^k π p), for k = 0, 1, …"""
    bands = [f(2**k * math.pi * point) for k in range(octaves) for f in (np.sin, np.cos)]
    return np.concatenate(bands)


def render(
    deformation: Array,
    camera: Array,
    planes: Sequence[Array],
    weight_1: Array,
    bias_1: Array,
    weight_2: Array,
    bias_2: Array,
    octaves: int,
) -> tuple[Array, Array]:
    """Eq. 5, interval by interval: deformation [3N, R, R] → picture [K, R, R], alpha [R, R]."""
    size = deformation.shape[-1]
    samples = len(deformation) // 3
    picture, alpha = np.zeros((len(bias_2) - 1, size, size)), np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        origin, direction = pixel_ray(camera, size, row, column)
        near, far = box_interval(origin, direction)
        length = (far - near) / samples
        transmitted = 1.0
        for sample in range(samples):
            observed = origin + (near + (sample + 0.5) * length) * direction
            canonical = observed + deformation[3 * sample : 3 * sample + 3, row, column]
            features = [plane_features(level, canonical) for level in planes] + [encode(observed, octaves)]
            raw = weight_2 @ np.maximum(weight_1 @ np.concatenate(features) + bias_1, 0) + bias_2
            sigma = DENSITY_SCALE * np.logaddexp(0.0, raw[-1])
            absorbed = 1 - math.exp(-sigma * length)
            picture[:, row, column] += transmitted * absorbed / (1 + np.exp(-raw[:-1]))
            alpha[row, column] += transmitted * absorbed
            transmitted *= 1 - absorbed
    return picture, alpha
