"""Portraits: real people for synthetic pairs, with the hair, light and surface colours of a prepared still.

Nothing here imports torch, which worker processes do not need.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import project, unpack_camera
from hidenerf.runtime.face_parts import EYE, SKIN, TONGUE, smooth_step
from hidenerf.training.data.clips.file import ClipFile
from hidenerf.training.data.synthetic.hair_hull import SHORT_HAIR, HairBand, hair_likeness, hair_style
from hidenerf.training.data.synthetic.heads import (
    BODY,
    CURTAIN,
    CURTAIN_BOTTOM,
    CURTAIN_ROWS,
    CURTAIN_TOP,
    SCALP_CENTRE,
    TEETH,
    HeadMesh,
    Style,
    load_head_mesh,
)
from hidenerf.training.data.synthetic.rasterise import Rasteriser
from hidenerf.training.data.synthetic.skin_atlas import CHARTS, SkinAtlas, load_skin_atlas
from hidenerf.training.data.synthetic.skin_completion import complete, spread

Floats = NDArray[np.float32]
Texture = NDArray[np.uint8]

# A surface is believed from the first to the second cosine of the angle at which the camera saw it.
_FACING = (0.12, 0.45)
_FACING_CLOTHES = (0.06, 0.25)
# Shares of a picture's side: how far from the matte's edge, and from eyes and the inside of the mouth, skin begins.
_EDGE = 0.02
_LIDS = 0.008
# How far behind what the camera sees a point may be and still be what it sees, world units.
_DEPTH_SLACK, _DEPTH_SLACK_CLOTHES = 0.025, 0.06
# The share of ambient light that is looked for at least, and of the directed light at most.
_LEAST_AMBIENT = 0.4
_GAMMA = 2.2
# On four people with short hair, seen by their portraits' cameras: 0.95 to 1.03 of the picture's gradient energy, 0.81
# to 0.92 without, and PSNR 0.3 to 0.9 dB higher; at 1 it would be 1.09 to 1.17.
_SHARPENING = 0.5
# Long hair has the picture's strands, but not in their places: so much of it counts as seen.
_HANGING_SEEN = 0.7
_CURTAIN_ROWS = slice(CHARTS[CURTAIN][0], sum(CHARTS[CURTAIN]))


@dataclass(frozen=True)
class Portrait:
    """A person of a portrait, without the texture.

    identity: [K].
    style: of hair and body.
    expression: [E]. camera: [25]. Of the photograph.
    iris: [3], linear RGB; None if it is not visible.
    light_direction: [3], unit vector.
    ambient: share of ambient light; brightness is ambient + (1 - ambient) · cosine, about 1 in front.
    """

    identity: Floats
    style: Style
    expression: Floats
    camera: Floats
    iris: Floats | None
    light_direction: Floats
    ambient: float


class PortraitSkin(NamedTuple):
    """A portrait with its pictures.

    texture: [A, A, 4] uint8, sRGB colour and visibility of each texel of the atlas.
    photograph: [4, S, S] uint8, the picture itself, RGB over black, and its mask.
    """

    portrait: Portrait
    texture: Texture
    photograph: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PortraitSkins:
    """P portraits.

    textures: [P, A, A, 4]. photographs: [P, 4, S, S]. See `PortraitSkin`.
    share: of synthetic people with a portrait, 0 to 1.
    """

    portraits: tuple[Portrait, ...]
    textures: Texture
    photographs: NDArray[np.uint8]
    share: float = 1.0


class _Seen(NamedTuple):
    """A portrait's head as its camera sees it.

    depth: [H, H], of the surface, world units; infinite where there is none.
    inner: [H, H], 1 on eyes, teeth, tongue and the inside of the mouth.
    """

    depth: Floats
    inner: NDArray[np.uint8]


def make_portrait_skin(file: ClipFile) -> PortraitSkin:
    """The portrait of the first frame of a prepared still. Errors: those of `StoredFrame.read`."""
    mesh, atlas = load_head_mesh(), load_skin_atlas()
    clip, frame = file.clip, file.frame(0).read()
    identity, expression, camera = clip.identity, clip.expression[0], clip.camera[0]
    size = len(frame.picture)
    rasteriser = _rasteriser(2 * size)

    def head_of(style: Style) -> Floats:
        return mesh.vertices(mesh.shape(style, mesh.hair_depth(style)), identity, expression)

    bald = replace(SHORT_HAIR, body=False)
    covered = _draw(rasteriser, mesh, head_of(bald), bald, camera)[0] > 0
    head = 255 * covered[::2, ::2].astype(np.uint8)
    picture = _unmultiplied(frame.picture, frame.mask)
    likeness = hair_likeness(picture, frame.mask, head, camera)
    style, band = hair_style(frame.mask, likeness, head, camera)
    vertices = head_of(style)
    triangle, barycentric = _draw(rasteriser, mesh, vertices, style, camera)
    seen = _what_is_seen(mesh, vertices, triangle, barycentric, camera)

    points, normals = atlas.at(mesh, vertices), atlas.at(mesh, _normals(vertices, mesh.triangles))
    pixel = (project(points.astype(np.float64), camera) * size).astype(np.float32)
    scalp, ears, aside = atlas.at(mesh, _regions(mesh, style)).transpose(2, 0, 1)
    colour = _sharpened(_sampled(picture, pixel))
    weight = _visibility(points, normals, pixel, seen, frame.mask, camera)
    if not style.ears:
        weight *= 1 - (1 - scalp) * aside * _covered_by_hair(likeness, pixel)
    light = _fitted_light(colour, weight, normals, atlas, mesh, style)
    colour, weight = complete(colour, weight, scalp, ears)
    if style.curtain_end is not None:
        likeness *= (_shrunk(frame.mask, _EDGE) > 250) & (head == 0)
        colour[_CURTAIN_ROWS] = _hanging_hair(picture, likeness.astype(np.float32), points, band, style, camera)
    weight[_CURTAIN_ROWS] = _HANGING_SEEN
    texture = np.rint(255 * np.clip(np.dstack([colour, weight]), 0, 1)).astype(np.uint8)
    iris = _iris(picture, mesh, triangle, barycentric)
    portrait = Portrait(identity, style, expression, camera, iris, *light)
    return PortraitSkin(portrait, texture, np.dstack([frame.picture, frame.mask]).transpose(2, 0, 1))


def _regions(mesh: HeadMesh, style: Style) -> Floats:
    """Weights [V, 3] of each vertex: may have hair, is on an ear, is where hair hangs into the face."""
    beside = _step(0.28, 0.36, np.abs(mesh.mean[:, 0]))
    return np.stack([_step(-0.01, 0.05, mesh.hair_depth(style)), mesh.ear_distance < 0.04, beside], axis=-1)


def _covered_by_hair(likeness: NDArray[np.float64], pixel: Floats) -> Floats:
    """Weight [A, A] of hair at positions [A, A, 2] of the picture, pixels."""
    around = np.asarray(cv2.blur(likeness, (3, 3)), np.float32)
    return _step(0.2, 0.6, _sampled(around, pixel, cv2.INTER_LINEAR))


@cache
def _rasteriser(size: int) -> Rasteriser:
    return Rasteriser(load_head_mesh().triangles, size)


def _draw(
    rasteriser: Rasteriser, mesh: HeadMesh, vertices: Floats, style: Style, camera: Floats
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    size = rasteriser.size
    triangle, barycentric = np.zeros((size, size), np.int16), np.zeros((2, size, size), np.uint8)
    number = mesh.visible_triangles(style)
    if not style.body:
        kind = mesh.part[mesh.triangles].max(axis=1)
        number = number[np.isin(kind[number], (SKIN, EYE, TEETH, TONGUE))]
    rasteriser.draw(vertices, camera, number, mesh.curtain_start, triangle, barycentric)
    return triangle, barycentric


def _what_is_seen(
    mesh: HeadMesh, vertices: Floats, triangle: NDArray[np.int16], barycentric: NDArray[np.uint8], camera: Floats
) -> _Seen:
    there = triangle > 0
    corners = mesh.triangles[triangle[there] - 1]
    depth = np.full(triangle.shape, np.inf, np.float32)
    depth[there] = (_depth(vertices, camera)[corners] * _weights(barycentric, there)).sum(1)
    kind = mesh.part[corners].max(axis=1)
    inner = np.zeros(triangle.shape, np.uint8)
    inner[there] = np.isin(kind, (EYE, TEETH, TONGUE)) | (mesh.mouth_bag[corners].max(axis=1) > 0.3)
    return _Seen(depth, inner)


def _depth(points: NDArray[np.floating], camera: Floats) -> Floats:
    """Depth [...] of world points [..., 3] along the camera's axis."""
    cam2world, _ = unpack_camera(camera)
    return ((points - cam2world[:3, 3]) @ cam2world[:3, 2]).astype(np.float32)


def _weights(barycentric: NDArray[np.uint8], there: NDArray[np.bool_]) -> Floats:
    two = barycentric[:, there].T.astype(np.float32) / 255
    return np.concatenate([two, 1 - two.sum(1, keepdims=True)], axis=1)


def _unmultiplied(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Floats:
    """Picture [S, S, 3] in [0, 1], sRGB, divided by its mask: without the dark edge over black."""
    share = np.maximum(mask[..., None].astype(np.float32) / 255, 0.3)
    return np.clip(picture / share / 255, 0, 1).astype(np.float32)


def _sampled(values: NDArray[np.floating], pixel: Floats, method: int = cv2.INTER_CUBIC) -> Floats:
    """Values [S, S, n] or [S, S] at positions [A, A, 2], pixel centres at i + 0.5."""
    taken = cv2.remap(
        values.astype(np.float32), pixel[..., 0] - 0.5, pixel[..., 1] - 0.5, method, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(taken, 0, 1), np.float32)


def _sharpened(colour: Floats) -> Floats:
    """Colours [A, A, 3] sharpened, to compensate for the painter's interpolation between texels."""
    around = np.asarray(cv2.GaussianBlur(colour, (0, 0), 1.0), np.float32)
    return np.clip(colour + _SHARPENING * (colour - around), 0, 1).astype(np.float32)


def _visibility(
    points: Floats,
    normals: Floats,
    pixel: Floats,
    seen: _Seen,
    mask: NDArray[np.uint8],
    camera: Floats,
) -> Floats:
    """Visibility [A, A] of texels in the picture, in [0, 1], with soft edges."""
    size = len(mask)
    towards = unpack_camera(camera)[0][:3, 3] - points
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    unit = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    cosine = (unit * towards).sum(-1)
    facing = _step(*_FACING, cosine)
    first, rows = CHARTS[BODY]
    facing[first : first + rows] = _step(*_FACING_CLOTHES, cosine[first : first + rows])
    column, row = np.clip((pixel * (len(seen.depth) / size)).astype(int), 0, len(seen.depth) - 1).transpose(2, 0, 1)
    slack = np.full(facing.shape, _DEPTH_SLACK, np.float32)
    slack[first : first + rows] = _DEPTH_SLACK_CLOTHES
    before = _depth(points, camera) < seen.depth[row, column] + slack
    clear = _shrunk(mask, _EDGE) / np.float32(255)
    clear *= 1 - cv2.resize(_grown(seen.inner, _LIDS), (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    inside = ((pixel >= 1) & (pixel <= size - 1)).all(axis=-1)
    hard = (before & inside).astype(np.float32)
    # Softer towards what was not seen, never beyond it.
    soft = np.minimum(hard, _step(0.5, 1.0, cv2.blur(hard, (7, 7))))
    weight = (facing * soft * _step(0.6, 0.98, _sampled(clear, pixel, cv2.INTER_LINEAR))).astype(np.float32)
    # The body's triangles are large, and seen at so flat an angle that each would show.
    weight[first : first + rows] = cv2.blur(weight[first : first + rows], (41, 3), borderType=cv2.BORDER_REPLICATE)
    return weight


def _fitted_light(
    colour: Floats, weight: Floats, normals: Floats, atlas: SkinAtlas, mesh: HeadMesh, style: Style
) -> tuple[Floats, float]:
    """Direction [3] and ambient share of the light that fits the brightness of skin, in least squares."""
    unit = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    skin = np.stack([mesh.hair_depth(style), mesh.lips], axis=-1)
    hair, lips = atlas.at(mesh, skin).transpose(2, 0, 1)
    chart = np.zeros(weight.shape, bool)
    chart[: CHARTS[SKIN][1]] = True
    chosen = chart & (weight > 0.7) & (hair < -0.05) & (lips < 0.1)
    usual = np.array([0.0, 0.3, 0.95], np.float32), 0.55
    if chosen.sum() < 500:
        return usual
    luminance = (colour[chosen] ** _GAMMA) @ np.array([0.21, 0.72, 0.07], np.float32)
    # Beards, brows and gleams are no part of it.
    low, high = np.percentile(luminance, (15, 97))
    kept = (luminance > low) & (luminance < high)
    basis = np.concatenate([np.ones((kept.sum(), 1)), unit[chosen][kept]], axis=1)
    scale = luminance[kept].mean()
    # Pulled to the usual light, by as much as 500 texels.
    prior = np.array([usual[1], *((1 - usual[1]) * usual[0])])
    pull = 500 / len(basis)
    normal = basis.T @ basis / len(basis) + pull * np.eye(4)
    found = np.linalg.solve(normal, basis.T @ (luminance[kept] / scale) / len(basis) + pull * prior)
    strength = float(np.linalg.norm(found[1:]))
    direction = found[1:] / max(strength, 1e-6)
    # Light from behind shows nothing.
    direction[2] = max(direction[2], 0.3)
    ambient = max(found[0] / max(found[0] + strength, 1e-6), _LEAST_AMBIENT)
    return (direction / np.linalg.norm(direction)).astype(np.float32), float(min(ambient, 1.0))


def _iris(
    picture: Floats,
    mesh: HeadMesh,
    triangle: NDArray[np.int16],
    barycentric: NDArray[np.uint8],
) -> Floats | None:
    """Colour [3] of the irises in even light, linear RGB; None if too few pixels show it."""
    there = triangle > 0
    corners = mesh.triangles[np.maximum(triangle, 1) - 1]
    on_eye = there & (mesh.part[corners].min(axis=2) == EYE)
    place = (mesh.mean[corners[on_eye]] * _weights(barycentric, on_eye)[..., None]).sum(1)
    distance = np.hypot(np.abs(place[:, 0]) - mesh.left_iris[0], place[:, 1] - mesh.left_iris[1])
    ring = (distance > 0.022) & (distance < 0.037)
    if ring.sum() < 24:
        return None
    row, column = np.nonzero(on_eye)
    scale = len(triangle) // len(picture)
    found = picture[row[ring] // scale, column[ring] // scale] ** _GAMMA
    return np.asarray(0.9 * np.percentile(found, 35, axis=0), np.float32)


def _hanging_hair(
    picture: Floats, likeness: Floats, points: Floats, band: HairBand, style: Style, camera: Floats
) -> Floats:
    """Colours of the texels of long hair [rows, A, 3].

    The front edges and the middle of the back get the colours next to the face; the sides get those of the band's outer
    edge. So strands stay vertical, and those in front are near their place in the picture.
    """
    part = points[_CURTAIN_ROWS].astype(np.float64)
    x, y, z = part.transpose(2, 0, 1)
    angle = np.arctan2(np.abs(x), -(z - SCALP_CENTRE[2]))
    quarter = np.pi / 2
    outwards = np.where(angle < quarter, angle / quarter, 1 - (angle - quarter) / (style.curtain_opening - quarter))
    outwards = np.clip(outwards, 0, 1)
    row = (CURTAIN_TOP - y) / (CURTAIN_TOP - CURTAIN_BOTTOM) * (CURTAIN_ROWS - 1)
    inner, outer = (np.where(x < 0, *(np.interp(row, np.arange(CURTAIN_ROWS), side) for side in edge)) for edge in band)
    place = np.sign(x) * (inner + 0.01 + outwards * np.maximum(outer - inner - 0.04, 0.02))
    looked_up = np.stack([place, y, np.full_like(x, SCALP_CENTRE[2])], axis=-1)
    hair = spread(picture, likeness)
    return _sampled(hair, (project(looked_up, camera) * len(picture)).astype(np.float32))


def _shrunk(mask: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.erode(mask, _disc(share * len(mask))), np.uint8)


def _grown(mask: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.dilate(mask, _disc(share * len(mask))), np.uint8)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _normals(vertices: Floats, triangles: NDArray[np.int32]) -> Floats:
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _step(start: float, end: float, values: Floats) -> Floats:
    """Smooth step from 0 at `start` to 1 at `end`."""
    return smooth_step(values, start, end).astype(np.float32)
