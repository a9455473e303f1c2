"""Painter: computes the colours of synthetic heads on the device, per pixel, from the triangles that pixels see.

Colours are functions of a point's position on the mean shape, so they stay on the skin in every pose and expression.
Light is fixed to the head, as if the camera moved around it. In the shading functions the first dimension holds
components and the second one M points; all values are float32, colours are linear RGB.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.runtime.face_parts import EYE, LOWER_GUMS, SKIN, TONGUE, UPPER_GUMS
from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING
from hidenerf.training.data.synthetic.heads import BODY, CURTAIN, TEETH, HeadMesh, on_mouth_or_eyes
from hidenerf.training.data.synthetic.occlusion import bake_occlusion, harmonics
from hidenerf.training.data.synthetic.people import LOOK_SIZES
from hidenerf.training.data.synthetic.photography import Camera
from hidenerf.training.data.synthetic.portraits import PortraitSkins
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE, CHARTS, atlas_place

# Pixels painted at once: limited by the memory of a GPU and by the cache of a CPU.
_POINTS_ON_GPU = 1 << 22
_POINTS_ON_CPU = 1 << 14

Floats = NDArray[np.float32]


class Views(NamedTuple):
    """n rasterised pictures of heads, with H = SUPERSAMPLING × S.

    vertices: [n, V, 3] float32, world units.
    hair_depth: [n, V] float32, see `HeadMesh.hair_depth`.
    look: [n, L] float32, see LOOK_SIZES.
    camera_position: [n, 3] float32, world units.
    triangle: [n, H, H] int16, 1 + the number of the visible triangle, 0 for none.
    barycentric: [n, 2, H, H] uint8, weights of the triangle's first two corners times 255.
    """

    vertices: Tensor
    hair_depth: Tensor
    look: Tensor
    camera_position: Tensor
    triangle: Tensor
    barycentric: Tensor


class Painting(NamedTuple):
    """n painted pictures, float32 in [0, 1]; see `hidenerf.training.data.batch.Batch`.

    color: [n, 3, S, S], sRGB over black.
    mask, region: [n, 1, S, S].
    """

    color: Tensor
    mask: Tensor
    region: Tensor


class Painter:
    """Paints heads of one mesh on one device.

    mesh: of the heads.
    compiled: whether to use torch.compile, which takes a minute first and pays off for thousands of pictures.
    skins: the portraits whose numbers looks have; None without portraits.

    Its `camera` applies camera settings to painted pictures, and its `photographs` [P, 4, S, S] uint8 are those of the
    portraits; both are None without portraits.
    """

    def __init__(
        self,
        mesh: HeadMesh,
        device: torch.device,
        compiled: bool = False,
        skins: PortraitSkins | None = None,
    ) -> None:
        ambient, shadow = bake_occlusion(mesh)
        self._triangles = torch.from_numpy(mesh.triangles.astype(np.int64)).to(device)
        self._shadow = torch.from_numpy(shadow).to(device)
        fixed = [mesh.mean, mesh.sheet, mesh.lips[:, None], mesh.mouth_bag[:, None], ambient[:, None]]
        self._fixed = torch.from_numpy(np.concatenate(fixed, axis=1)).to(device)
        # Triangles between skin and body, at the neck, belong to the body.
        self._part = torch.from_numpy(mesh.part[mesh.triangles].max(axis=1).astype(np.int64)).to(device)
        self._neighbours = torch.from_numpy(_adjacency(mesh.triangles, len(mesh.mean))).to(device)
        # The colours of portraits come from photographs, so their pictures get a camera's blur, noise and JPEG.
        self.camera = None if skins is None else Camera(device)
        self.photographs = None if skins is None else torch.from_numpy(skins.photographs).to(device)
        textures = None if skins is None else Skins(torch.from_numpy(skins.textures).to(device))
        self._points = PointPainter(mesh, _noise_volume().to(device), textures)
        self._points_at_once = _POINTS_ON_GPU if device.type == "cuda" else _POINTS_ON_CPU
        self._paint_points: Callable[..., Tensor] = self._paint_pixels
        if compiled:
            self._paint_points = torch.compile(self._paint_pixels, dynamic=True)

    @torch.no_grad()
    def paint(self, views: Views) -> Painting:
        """Paint pictures and average them down to S. views: on the painter's device."""
        count, size = views.triangle.shape[:2]
        triangle = views.triangle.reshape(-1)
        drawn = triangle.nonzero()[:, 0]
        canvas = torch.zeros(5, count * size * size, device=triangle.device)
        given = (self._moving_attributes(views), triangle, views.barycentric, views.look, views.camera_position)
        for pixels in drawn.chunk(max(1, -(-len(drawn) // self._points_at_once))):
            canvas[:, pixels] = self._paint_points(pixels, *given)
        picture = canvas.reshape(5, count, size, size).transpose(0, 1)
        picture = F.avg_pool2d(picture, SUPERSAMPLING)
        return Painting(picture[:, :3], picture[:, 3:4], picture[:, 4:])

    def invented(self, triangle: Tensor) -> Tensor:
        """How much of each pixel is eye, tongue or teeth, which no portrait's texture has: [n, 1, S, S] in [0, 1].

        triangle: [n, H, H], as in `Views`.
        """
        part = self._part[(triangle.long() - 1).clamp_min(0)]
        inner = (triangle > 0) & ((part == EYE) | (part == TONGUE) | (part == TEETH))
        return F.avg_pool2d(inner[:, None].float(), SUPERSAMPLING)

    def _paint_pixels(
        self, pixels: Tensor, moving: Tensor, triangle: Tensor, barycentric: Tensor, look: Tensor, camera: Tensor
    ) -> Tensor:
        """Values [5, M] of pixels, as `PointPainter.paint` returns them.

        pixels: [M], numbers of pixels over all pictures.
        moving: [n, V, 9], see `_moving_attributes`.
        triangle: [n · H · H], as in `Views`, flat.
        barycentric: [n, 2, H, H]. look: [n, L]. camera: [n, 3], position. As in `Views`.
        """
        area = barycentric.shape[2] * barycentric.shape[3]
        view, place = pixels // area, pixels % area
        number = triangle[pixels].long() - 1
        shares = barycentric.flatten(2)
        first, second = shares[view, 0, place].float() / 255, shares[view, 1, place].float() / 255
        weight = torch.stack([first, second, 1 - first - second])[..., None]
        corner = self._triangles[number].T
        on_mesh = (self._fixed[corner] * weight).sum(0).T
        on_head = (moving[view, corner] * weight).sum(0).T
        return self._points.paint(on_mesh, on_head, self._part[number], look[view].T, camera[view].T)

    def _moving_attributes(self, views: Views) -> Tensor:
        """Attributes [n, V, 9] of vertices: position, normal, hair depth, and visible shares of key and fill light."""
        corners = views.vertices[:, self._triangles]
        faces = torch.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], dim=-1)
        # Summed over a vertex's triangles in a fixed order. The last entry, 0, fills the lists of `_adjacency`.
        faces = F.pad(faces, (0, 0, 0, 1))
        normals = F.normalize(faces[:, self._neighbours].sum(2), dim=-1)
        lights = [
            (harmonics(look_of(views.look, name)) @ self._shadow.T).clamp(0, 1)[..., None]
            for name in ("key_direction", "fill_direction")
        ]
        return torch.cat([views.vertices, normals, views.hair_depth[..., None], *lights], -1)


def look_of(packed: Tensor, name: str) -> Tensor:
    """One entry [..., size] of packed looks [..., L]."""
    start = sum(list(LOOK_SIZES.values())[: list(LOOK_SIZES).index(name)])
    return packed[..., start : start + LOOK_SIZES[name]]


class Skins:
    """Colours of portraits, looked up by portrait number and position on the mean shape.

    textures: [P, A, A, 4] uint8, see `hidenerf.training.data.synthetic.portraits.PortraitSkin`.
    """

    def __init__(self, textures: Tensor) -> None:
        self._texels = textures.reshape(-1, 4)

    def at(self, portrait: Tensor, part: Tensor, place: Tensor, sheet: Tensor) -> tuple[Tensor, Tensor]:
        """sRGB colours [3, M] in [0, 1], and their visibility [1, M] in [0, 1]: 1 where the portrait shows the point.

        portrait: [1, M], 1 + the portrait's number; results at 0 are undefined.
        part: [1, M], as `HeadMesh.part`.
        place: [3, M], position on the mean shape, world units.
        sheet: [2, M], as `HeadMesh.sheet`.
        """
        column, row = atlas_place(torch, part, tuple(place.split(1)), tuple(sheet.split(1)))
        first = torch.full_like(row, float(CHARTS[SKIN][0]))
        last = torch.full_like(row, float(sum(CHARTS[SKIN]) - 1))
        for kind in (BODY, CURTAIN):
            first = torch.where(part == kind, float(CHARTS[kind][0]), first)
            last = torch.where(part == kind, float(sum(CHARTS[kind]) - 1), last)
        row = torch.minimum(torch.maximum(row - 0.5, first), last)
        # All charts but that of long hair wrap around.
        column = column - 0.5
        column = torch.where(part == CURTAIN, column.clamp(0, ATLAS_SIZE - 1), column)
        left, top = column.floor(), row.floor()
        across, down = column - left, row - top
        start = (portrait - 1).clamp_min(0).long() * ATLAS_SIZE**2
        left, top = left.long(), top.long()
        right, bottom = (left + 1) % ATLAS_SIZE, (top + 1).clamp_max(ATLAS_SIZE - 1)
        left = left % ATLAS_SIZE
        total: Tensor | float = 0.0
        for vertical, share in ((top, 1 - down), (bottom, down)):
            for horizontal, part_of_it in ((left, 1 - across), (right, across)):
                texel = self._texels[(start + vertical * ATLAS_SIZE + horizontal)[0]]
                total = total + (share * part_of_it) * texel.T.float()
        assert isinstance(total, Tensor)
        return total[:3] / 255, total[3:] / 255


def _light_in_front(look: dict[str, Tensor]) -> Tensor:
    """Brightness [1, M] of skin that faces the front in a look's light."""
    front = _rgb(look["key"], 0.0, 0.0, 1.0)
    soft = torch.ones_like(look["key"][:1])
    light = look["key"] * _diffuse(front, look["key_direction"], soft)
    light = light + look["fill"] * _diffuse(front, look["fill_direction"], soft)
    return (light + 0.5 * (look["sky"] + look["ground"])).mean(0, keepdim=True).clamp_min(0.1)


def _own_light(look: dict[str, Tensor], normal: Tensor, ambient: Tensor) -> Tensor:
    """Brightness [1, M] of surfaces in a portrait's own light, relative to those that face the front."""
    share = look["own_ambient"]
    return share * ambient + (1 - share) * _dot(normal, look["own_light_direction"]).clamp_min(0)


class PointPainter:
    """Computes the colours of points of heads.

    mesh: of the heads. noise: [1, 4, D, D, D], as `_noise_volume` makes it. skins: colours of portraits, if any.
    """

    def __init__(self, mesh: HeadMesh, noise: Tensor, skins: Skins | None = None) -> None:
        self._noise, self._skins = noise, skins
        self._eyeball = mesh.left_eyeball.tolist()
        self._iris = mesh.left_iris.tolist()
        self._neck_plane = mesh.neck_plane.tolist()

    def paint(
        self, on_mesh: Tensor, on_head: Tensor, part: Tensor, packed_look: Tensor, camera_position: Tensor
    ) -> Tensor:
        """Values [5, M] of points: sRGB colour times alpha, alpha, and region times alpha.

        on_mesh: [8, M], position on the mean shape, sheet, lips, mouth bag and ambient occlusion.
        on_head: [9, M], see `Painter._moving_attributes`.
        part: [M], as `HeadMesh.part`.
        packed_look: [L, M], see LOOK_SIZES.
        camera_position: [3, M], world units.
        """
        noise = self._noise
        place, sheet, lips, bag, ambient = on_mesh.split([3, 2, 1, 1, 1])
        position, normal, hair_depth, key, fill = on_head.split([3, 3, 1, 1, 1])
        look = dict(zip(LOOK_SIZES, packed_look.split(list(LOOK_SIZES.values())), strict=True))
        part = part[None]
        skin, eye, tongue, teeth, body, curtain = (part == kind for kind in (SKIN, EYE, TONGUE, TEETH, BODY, CURTAIN))
        x, y, z = place.split(1)
        side = x.abs()
        spot = place + 10 * look["noise_offset"]
        coarse, fine, grain = (_noise(noise, frequency * spot) for frequency in (5, 28, 75))
        strands, unmixed = _strands(noise, look, place, sheet, curtain)

        color = _skin(look, place, coarse, fine, grain)
        color = _mix(color, look["lip"] * (1 + 0.15 * fine[:1]), lips)
        brow = _brows(look, side, y, z, strands)
        beard = _beard(look, side, y, z, lips, grain)
        color = _mix(color, look["brow"], torch.maximum(brow, beard))
        color = _mix(color, torch.full_like(color, 0.012), look["lashes"] * self._lashes(side, y, z))

        uneven_edge = 0.03 * coarse[1:2] + 0.012 * strands
        hair = _step(-0.012, 0.02, hair_depth + uneven_edge * (1 - look["capped"])) * skin
        # Hair casts a shadow on the skin at the hairline.
        color = color * (1 - 0.3 * _step(-0.07, 0.0, hair_depth) * skin)
        capped = look["capped"] * skin
        hair_color = look["hair"] * (1 + look["hair_contrast"] * strands * unmixed)
        color = _mix(color, _mix(hair_color, _cap(look, place, hair_depth), capped), hair)
        depth = 0.06 + 0.94 * _step(0.15, 0.55, z)
        color = _mix(color, _rgb(x, 0.26, 0.06, 0.06) * depth, _step(0.3, 0.7, bag))
        cloth, cover = _cloth(look, sheet, position, fine)
        cover = cover * body
        color = _mix(color, cloth, cover)
        color = torch.where(curtain, hair_color, color)
        color = torch.where(tongue, _rgb(x, 0.45, 0.16, 0.15) * depth * (1 + 0.2 * fine[:1]), color)
        color = torch.where(teeth, _teeth(look, side, y), color)
        color = torch.where(eye, self._eyes(look, side, x, y), color)
        hair = torch.maximum(hair * (1 - capped), curtain.float())
        bare = (skin | body) * (1 - hair) * (1 - capped * _step(0.0, 0.02, hair_depth)) * (1 - cover) * (1 - bag)

        towards = _unit(camera_position - position)
        normal = _unit(normal)
        # Long hair is visible from inside too.
        inside = (curtain & (_dot(normal, towards) < 0)).float()
        normal = normal * (1 - 2 * inside)
        across = _across_strands(place, sheet, curtain)
        normal = _unit(normal + 0.35 * hair * strands * unmixed * across)
        in_mouth = tongue | teeth | (skin & (bag > 0.3))
        ambient = _mix(ambient, torch.ones_like(ambient), 0.4 * lips)
        ambient = torch.where(in_mouth, 1.0, torch.where(eye, 0.35 + 0.65 * ambient, ambient)) * (1 - 0.6 * inside)
        key = torch.maximum(key, 0.6 * lips) * (1 - 0.8 * inside)

        light = look["key"] * key * _diffuse(normal, look["key_direction"], bare)
        light = light + look["fill"] * fill * _diffuse(normal, look["fill_direction"], bare)
        light = light + ambient * _mix(look["ground"], look["sky"], 0.5 + 0.5 * normal[1:2])
        strength = look["key"]
        if self._skins is not None:
            # On portraits, light is relative to that of surfaces that face the front.
            real = look["portrait"] > 0
            in_front = torch.where(real, _light_in_front(look), 1.0)
            light, strength = light / in_front, torch.where(real, 0.35, 1.0) * strength / in_front
            skin_light = light
            # Photographs are white-balanced, so the light on a portrait is grey.
            light = torch.where(real, light.mean(0, keepdim=True), light)
        # Scattering inside the mouth evens out the light there.
        scattered = 0.12 + 0.45 * light
        if self._skins is not None:
            scattered = torch.where(real, 0.15 + 0.65 * light, scattered)
        light = torch.where(in_mouth, scattered, light)

        gloss = 0.035 * look["shine"] + 0.10 * look["gloss"] * lips
        gleam = gloss * _highlight(normal, towards, look["key_direction"], 18 + 20 * lips) * key * bare
        gleam = torch.where(teeth, 0.15 * _highlight(normal, towards, look["key_direction"], 40.0), gleam)
        gleam = torch.where(eye, _wet(look, normal, towards), gleam)
        gleam = gleam + hair * _hair_gleam(look, across, normal, towards, strands) * key
        srgb = _to_srgb(color * light + strength * gleam)
        if self._skins is not None:
            texture, seen = self._skins.at(look["portrait"], part, place, sheet)
            # Where the portrait does not show the surface, its texture is smooth: add noise.
            detail = 1 + (1 - seen) * (hair * look["hair_contrast"] * strands * unmixed + (1 - hair) * 0.06 * fine[:1])
            own_light = _own_light(look, normal, ambient)
            relit = (skin_light / own_light.clamp_min(0.2)).clamp(0.35, 1.4) ** look["relighting"]
            # Where the portrait does not show the surface, its texture is as bright as a surface that faces the front.
            surface = texture**2.2 * detail * relit * _mix(own_light.clamp(0.3, 1), torch.ones_like(seen), seen)
            surface = _mix(surface, torch.full_like(surface, 0.012), look["lashes"] * self._lashes(side, y, z))
            inner = torch.where(eye | tongue | teeth, 1.0, _step(0.3, 0.7, bag))
            rolled = torch.where(surface > 0.8, 0.8 + 0.2 * torch.tanh((surface - 0.8) / 0.2), surface)
            real_srgb = _mix(rolled.clamp(1e-6, 1) ** (1 / 2.2), srgb, inner)
            srgb = torch.where(real, real_srgb, srgb)

        alpha = self._alpha(look, place, position, skin, body)
        region = (skin & on_mouth_or_eyes(side, y, z)) | eye | tongue | teeth
        return torch.cat([srgb * alpha, alpha, region * alpha])

    def _lashes(self, side: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Weight [1, M] of the lids' rims, which touch the eyeball; the upper one is much darker."""
        eye_x, eye_y, eye_z = self._eyeball
        gap = ((side - eye_x) ** 2 + (y - eye_y) ** 2 + (z - eye_z) ** 2).sqrt()
        upper = _step(-0.03, 0.02, y - self._iris[1])
        return _step(0.121, 0.110, gap) * _step(0.36, 0.42, z) * (0.12 + 0.88 * upper)

    def _eyes(self, look: dict[str, Tensor], side: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Colour [3, M] of the eyes. side: |x|; x, y: on the mean shape."""
        right, up = side - self._iris[0], y - self._iris[1]
        radius = (right**2 + up**2).sqrt()
        iris, pupil, blur = look["iris_radius"], look["pupil_radius"], 0.004
        white = _rgb(x, 0.62, 0.58, 0.56) * (1 - 0.35 * _step(0.055, 0.1, radius))
        angle = torch.atan2(up, right)
        spokes = torch.sin(11 * angle + 3 * torch.sin(4 * angle)) * torch.sin(7 * angle + radius * 90)
        ring = look["iris"] * (1 + 0.25 * spokes) * (0.65 + 0.7 * _step(iris, pupil, radius))
        ring = ring * (1 - 0.75 * _step(iris - 0.011, iris, radius))
        color = _mix(white, ring, _step(iris + blur, iris - blur, radius))
        color = color * (1 - 0.99 * _step(pupil + blur, pupil - blur, radius))
        under_the_lid = _step(0.0, 0.045, up)
        return color * (1 - 0.5 * under_the_lid)

    def _alpha(self, look: dict[str, Tensor], place: Tensor, position: Tensor, skin: Tensor, body: Tensor) -> Tensor:
        """Alpha [1, M]: fades out at the bottom and sides of the rendered box, and at the end of some necks."""
        within_box = _step(-1.0, -0.9, position[1:2]) * _step(1.0, 0.92, position[:1].abs())
        x, y, z, offset = self._neck_plane
        height = x * place[:1] + y * place[1:2] + z * place[2:] + offset
        neck = torch.where(skin, _step(0.0, 0.14, height), torch.where(body, 0.0, 1.0))
        return within_box * (1 - look["fading"] * (1 - neck))


def _skin(look: dict[str, Tensor], place: Tensor, coarse: Tensor, fine: Tensor, grain: Tensor) -> Tensor:
    """Colour [3, M] of skin. place: [3, M] on the mean shape. coarse, fine, grain: [4, M], noise."""
    x, y, z = place.split(1)
    side = x.abs()
    uneven = look["unevenness"]
    color = look["skin"] * (1 + uneven * (0.13 * coarse[:1] + 0.07 * fine[:1]))
    cheeks = torch.exp(-((side - 0.29) ** 2 + (y + 0.09) ** 2) / 0.025)
    nose = torch.exp(-(x**2 / 0.006 + (y + 0.11) ** 2 / 0.012)) * _step(0.5, 0.6, z)
    ears = _step(0.44, 0.5, side) * _step(0.15, 0.05, y)
    red = 0.35 * look["blush"] * (cheeks + nose + ears) + 0.07 * uneven * coarse[2:3]
    color = color * (1 + red * _rgb(x, 1.0, -0.7, -0.5))
    hollow = torch.exp(-(((side - 0.18) / 0.1) ** 2) - ((y + 0.03) / 0.035) ** 2) * _step(0.3, 0.4, z)
    color = color * (1 - look["eye_bags"] * hollow * _rgb(x, 0.25, 0.32, 0.25))
    lids = torch.exp(-(((side - 0.19) / 0.12) ** 2) - ((y - 0.115) / 0.045) ** 2) * _step(0.25, 0.4, z)
    color = _mix(color, look["eye_shadow"], look["eye_shadow_strength"] * lids)
    spots = _step(0.3, 0.6, grain[3:] + 0.3 * coarse[3:]) * torch.exp(-((y + 0.02) ** 2) / 0.03) * _step(0.3, 0.45, z)
    return color * (1 - look["freckles"] * spots * _rgb(x, 0.35, 0.5, 0.6))


def _brows(look: dict[str, Tensor], side: Tensor, y: Tensor, z: Tensor, strands: Tensor) -> Tensor:
    """Weight [1, M] of brows. side, y, z: [1, M] on the mean shape, side being |x|. strands: [1, M] noise."""
    middle = 0.205 + look["brow_height"] + 0.04 * (1 - ((side - 0.21) / 0.15) ** 2) + look["brow_tilt"] * (side - 0.2)
    thickness = look["brow_thickness"] * (1 - 0.5 * _step(0.2, 0.36, side))
    band = torch.exp(-(((y - middle + 0.006 * strands) / thickness) ** 4))
    ends = _step(0.035, 0.09, side) * _step(0.38, 0.31, side) * _step(0.15, 0.3, z)
    return look["brow_density"] * band * ends * (0.85 + 0.3 * strands).clamp(0, 1)


def _beard(look: dict[str, Tensor], side: Tensor, y: Tensor, z: Tensor, lips: Tensor, grain: Tensor) -> Tensor:
    """Weight [1, M] of beard and moustache. side, y, z, lips: [1, M]. grain: [4, M], noise."""
    # The upper edge rises from the corners of the mouth to the ears; the lower one is under the jaw.
    upper = -0.30 + 0.38 * _step(0.42, -0.05, z) + 0.01 * grain[:1]
    jaw = _step(0.0, -0.10, y - upper) * _step(-0.78, -0.62, y - 0.25 * (z - 0.3)) * _step(-0.16, -0.05, z)
    # The skin below the lower lip is nearly bare, except in the middle.
    jaw = jaw * (1 - 0.6 * _step(0.045, 0.015, (y + 0.43).abs()) * _step(0.04, 0.08, side) * _step(0.2, 0.14, side))
    moustache = torch.exp(-(((y + 0.245) / 0.036) ** 4)) * _step(0.21, 0.13, side) * _step(0.38, 0.5, z)
    strength = torch.maximum(look["beard"] * jaw, look["moustache"] * moustache)
    return (strength * (1 - lips) * (1 + (0.3 + 0.3 * look["stubble_length"]) * grain[1:2])).clamp(0, 0.95)


def _cap(look: dict[str, Tensor], place: Tensor, depth: Tensor) -> Tensor:
    """Colour [3, M] of a knitted cap; its rim has another colour. depth: [1, M], hair depth."""
    x, _, z = place.split(1)
    radius = (x**2 + (z + 0.08) ** 2).sqrt()
    ribs = 1 - 0.35 * _step(0.03, 0.2, radius) * _step(-0.6, 0.6, torch.sin(60 * torch.atan2(x, z + 0.08)))
    return _mix(look["cap"], look["second_cloth"], _step(0.11, 0.10, depth)) * ribs


def _teeth(look: dict[str, Tensor], side: Tensor, y: Tensor) -> Tensor:
    """Colour [3, M] of teeth and gums. side, y: [1, M] on the mean shape, side being |x|."""
    gap = torch.ones_like(side)
    for boundary in (0.0, 0.052, 0.090, 0.122, 0.145):
        gap = torch.minimum(gap, _step(0.0, 0.006, (side - boundary).abs()))
    gum = torch.maximum(
        _step(UPPER_GUMS - 0.005, UPPER_GUMS + 0.005, y), _step(LOWER_GUMS + 0.005, LOWER_GUMS - 0.005, y)
    )
    color = look["teeth"] * (0.55 + 0.45 * gap) * (1 - 0.55 * _step(0.07, 0.17, side))
    return _mix(color, _rgb(side, 0.42, 0.14, 0.13), gum)


def _cloth(look: dict[str, Tensor], sheet: Tensor, position: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
    """Colour [3, M] of clothes, and their alpha [1, M] over the body."""
    cosine, down = sheet.split(1)
    below = down - look["collar"] - look["neckline"] * _step(0.4, 1.0, cosine)
    stripes = look["stripes"] * _step(-0.15, 0.15, torch.sin(look["stripe_frequency"] * position[1:2]))
    color = _mix(look["cloth"], look["second_cloth"], stripes)
    return color * (1 - 0.35 * _step(0.035, 0.03, below)) * (1 + 0.12 * fine[:1]), _step(0.0, 0.012, below)


def _strands(
    noise: Tensor, look: dict[str, Tensor], place: Tensor, sheet: Tensor, curtain: Tensor
) -> tuple[Tensor, Tensor]:
    """Brightness [1, M] of strands, about -1 to 1, and a factor [1, M] that is 0 at the crown, where strands meet."""
    x, y, z = place.split(1)
    across, down = sheet.split(1)
    x = x - look["parting"] * _step(0.2, 0.6, y)
    radius = (x**2 + (z + 0.08) ** 2).sqrt()
    elevation = torch.atan2(y - 0.1, radius)
    bent = 0.35 * torch.sin(3 * elevation)
    around = torch.cat([6 * x / (radius + 1e-4) + bent, 6 * (z + 0.08) / (radius + 1e-4) - bent, 1.2 * elevation])
    hanging = torch.cat([12 * across, torch.sin(5 * down), 1.5 * down])
    broad = torch.where(curtain, hanging, around) + 10 * look["noise_offset"]
    value = 0.9 * _noise(noise, broad)[:1] + 0.7 * _noise(noise, _rgb(x, 3.3, 3.3, 1.5) * broad)[1:2]
    return value, torch.where(curtain, 1.0, _step(0.03, 0.2, radius))


def _across_strands(place: Tensor, sheet: Tensor, curtain: Tensor) -> Tensor:
    """Unit vectors [3, M] in the surface, perpendicular to the strands."""
    x, _, z = place.split(1)
    angle = 2.0 * sheet[:1]
    zero = torch.zeros_like(x)
    hanging = torch.cat([torch.cos(angle), zero, torch.sin(angle)])
    return torch.where(curtain, hanging, _unit(torch.cat([z + 0.08, zero, -x])))


def _hair_gleam(look: dict[str, Tensor], across: Tensor, normal: Tensor, towards: Tensor, strands: Tensor) -> Tensor:
    """Highlight [1, M] of hair, a band across the strands (Kajiya and Kay 1989, with the half vector)."""
    along = torch.linalg.cross(normal, across, dim=0)
    half = _unit(towards + look["key_direction"])
    sine = (1 - _dot(along, half) ** 2).clamp_min(0).sqrt()
    lit = _dot(normal, look["key_direction"]).clamp(0, 1)
    return 0.10 * look["hair_shine"] * sine**24 * lit * (1 + strands).clamp(0, 2)


def _wet(look: dict[str, Tensor], normal: Tensor, towards: Tensor) -> Tensor:
    """Highlights [1, M] of the eyes, of key and fill light."""
    sharp = 0.9 * _highlight(normal, towards, look["key_direction"], 260.0)
    return sharp + 0.12 * _highlight(normal, towards, look["fill_direction"], 60.0)


def _diffuse(normal: Tensor, direction: Tensor, soft: Tensor) -> Tensor:
    """Diffuse shading [3, M]: Lambert's law, wrapped around the edge of shadows for skin, most in red. soft: [1, M]."""
    wrap = 0.08 + soft * _rgb(normal, 0.27, 0.12, 0.08)
    return ((_dot(normal, direction) + wrap) / (1 + wrap)).clamp_min(0)


def _highlight(normal: Tensor, towards: Tensor, direction: Tensor, exponent: float | Tensor) -> Tensor:
    """Highlight [1, M] of Blinn and Phong, roughly normalised: its peak grows with the exponent."""
    half = _unit(towards + direction)
    return _dot(normal, half).clamp(1e-6, 1) ** exponent * ((exponent + 8) / 25)


def _to_srgb(linear: Tensor) -> Tensor:
    """Linear light → sRGB in [0, 1]; values above 0.6 are compressed smoothly."""
    rolled = torch.where(linear > 0.6, 0.6 + 0.4 * torch.tanh((linear - 0.6) / 0.8), linear)
    return rolled.clamp(0, 1) ** (1 / 2.2)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Dot products [1, M] of vectors [3, M]."""
    return (one * other).sum(0, keepdim=True)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors [3, M] scaled to length 1; 0 stays 0."""
    return vectors * (_dot(vectors, vectors) + 1e-12).rsqrt()


def _mix(below: Tensor, above: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation from `below` at weight 0 to `above` at weight 1."""
    return below + (above - below) * weight


def _rgb(like: Tensor, red: float, green: float, blue: float) -> Tensor:
    """A colour [3, 1] on the device of another tensor, made there without a copy from the host."""
    return torch.cat([torch.full((1, 1), value, device=like.device) for value in (red, green, blue)])


def _step(start: float | Tensor, end: float | Tensor, values: Tensor) -> Tensor:
    """Smooth step from 0 at `start` to 1 at `end`, which may be the smaller one."""
    t = ((values - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


_NOISE_CELLS = 32


def _noise_volume() -> Tensor:
    """Uniform noise [1, 4, D, D, D] in [-1, 1], periodic with _NOISE_CELLS; D is one more, to interpolate the wrap."""
    random = np.random.default_rng(0).uniform(-1, 1, (4, _NOISE_CELLS, _NOISE_CELLS, _NOISE_CELLS))
    return torch.from_numpy(np.pad(random, ((0, 0), *[(0, 1)] * 3), mode="wrap").astype(np.float32))[None]


def _noise(volume: Tensor, points: Tensor) -> Tensor:
    """Smooth noise [4, M] in [-1, 1] at points [3, M], in cells."""
    points = points.remainder(_NOISE_CELLS)
    cell = points.floor()
    part = points - cell
    # Smooth interpolation within each cell hides the lattice.
    eased = cell + part * part * (3 - 2 * part)
    grid = ((eased + 0.5) * (2 / (_NOISE_CELLS + 1)) - 1).T
    return F.grid_sample(volume, grid[None, None, None], align_corners=False)[0, :, 0, 0]


def _adjacency(triangles: NDArray[np.int32], vertices: int) -> NDArray[np.int64]:
    """Triangles around each vertex, [V, most]; rows are filled up with the number of triangles."""
    corner = triangles.ravel()
    order = np.argsort(corner, kind="stable")
    count = np.bincount(corner, minlength=vertices)
    rank = np.arange(len(corner)) - np.repeat(np.cumsum(count) - count, count)
    around = np.full((vertices, count.max()), len(triangles))
    around[corner[order], rank] = order // 3
    return around
