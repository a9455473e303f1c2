"""Skin atlas: the map from a head's surface to its square texture, the same for all people.

It has three charts, one above the other: skin by direction from the head's middle, the body around the vertical axis,
and long hair by its sheet. Each is as wide as the atlas. The first two wrap around from left to right, and mirrored
points are in mirrored columns. Nothing here imports torch.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_parts import SKIN
from hidenerf.runtime.secc import draw_frontal
from hidenerf.training.data.synthetic.heads import BODY, CURTAIN, HeadMesh, load_head_mesh

Array = NDArray[np.float64]

ATLAS_SIZE = 512
# Of each chart the first row and the number of rows.
CHARTS = {SKIN: (0, 352), BODY: (352, 96), CURTAIN: (448, 64)}

_MIDDLE = (0.0, 0.05, -0.05)
_LOWEST, _HIGHEST = np.radians(-78), np.radians(90)
_BODY_DEPTH = -0.2

_SETTLING_TURNS = 4
_SMALL = 1e-4
_BEYOND = 0.25


def atlas_place(xp: Any, part: Any, place: tuple[Any, Any, Any], sheet: tuple[Any, Any]) -> tuple[Any, Any]:
    """Column and row of points in the atlas, in texels, whose centres are at i + 0.5.

    xp: NumPy or PyTorch, the library of the arrays; all have one shape.
    part: as `HeadMesh.part`; parts without a chart count as skin.
    place: x, y, z on the mean shape.
    sheet: the two coordinates of `HeadMesh.sheet`.
    """
    x, y, z = (axis - middle for axis, middle in zip(place, _MIDDLE, strict=True))
    across, down = sheet
    body, curtain = part == BODY, part == CURTAIN
    turn = xp.where(body, xp.arctan2(x, z - (_BODY_DEPTH - _MIDDLE[2])), xp.arctan2(x, z)) / np.pi
    # Denser in front than behind.
    turn = turn * (1.5 - 0.5 * abs(turn))
    elevation = xp.arctan2(y, xp.hypot(x, z))
    share = xp.clip((_HIGHEST - elevation) / (_HIGHEST - _LOWEST), 0.0, 1.0)
    # Shoulders widen fast below the neck.
    share = xp.where(body, xp.sqrt(xp.clip(down, 1e-6, 1.0)), xp.where(curtain, down, share))
    column = (0.5 + 0.5 * xp.where(curtain, across, turn)) * ATLAS_SIZE
    row = CHARTS[SKIN][0] + share * CHARTS[SKIN][1]
    for kind, which in ((BODY, body), (CURTAIN, curtain)):
        first, rows = CHARTS[kind]
        row = xp.where(which, first + share * rows, row)
    return column, row


@dataclass(frozen=True, eq=False)
class SkinAtlas:
    """The mesh point of each texel.

    Texels without a point get that of the nearest one in their column.
    triangle: [A, A], number.
    barycentric: [A, A, 3].
    """

    triangle: NDArray[np.int32]
    barycentric: NDArray[np.float32]

    def at(self, mesh: HeadMesh, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values [A, A, n] at all texels, interpolated from those of the vertices [V, n]."""
        corners = mesh.triangles[self.triangle]
        return np.einsum("hwk,hwkn->hwn", self.barycentric, values[corners].astype(np.float32))


@cache
def load_skin_atlas() -> SkinAtlas:
    """The atlas of the shipped head mesh."""
    return make_skin_atlas(load_head_mesh())


def make_skin_atlas(mesh: HeadMesh) -> SkinAtlas:
    """Make the atlas of a mesh; where its surface overlaps in a chart, the outermost layer is taken."""
    kind = mesh.part[mesh.triangles].max(axis=1)
    inner = mesh.mouth_bag[mesh.triangles].max(axis=1) > 0.5
    triangle = np.full((ATLAS_SIZE, ATLAS_SIZE), -1, np.int32)
    barycentric = np.zeros((ATLAS_SIZE, ATLAS_SIZE, 3), np.float32)
    for part, (first, rows) in CHARTS.items():
        number = np.flatnonzero((kind == part) & ~inner)
        drawn_number, weight = _draw_chart(mesh, number, part)
        chart = np.s_[first : first + rows]
        there = drawn_number >= 0
        weight[there] = _settled(
            mesh, part, drawn_number[there], weight[there], np.asarray(np.argwhere(there) + 0.5, np.float64)
        )
        nearest = _nearest_row(drawn_number[chart] >= 0)
        triangle[chart] = np.take_along_axis(drawn_number[chart], nearest, axis=0)
        barycentric[chart] = np.take_along_axis(weight[chart], nearest[..., None], axis=0)
    return SkinAtlas(triangle, barycentric)


def _draw_chart(mesh: HeadMesh, number: NDArray[np.intp], part: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    corners = mesh.triangles[number]
    place = mesh.mean[corners].astype(np.float64)
    sheet = mesh.sheet[corners].astype(np.float64)
    column, row = atlas_place(
        np, np.full(corners.shape, part), (place[..., 0], place[..., 1], place[..., 2]), (sheet[..., 0], sheet[..., 1])
    )
    if part != CURTAIN:
        # Triangles across the seam behind are drawn on both sides of it.
        split = np.ptp(column, axis=1) > ATLAS_SIZE / 2
        column[split] = np.where(column[split] < ATLAS_SIZE / 2, column[split] + ATLAS_SIZE, column[split])
        number = np.concatenate([number, number[split]])
        column = np.concatenate([column, column[split] - ATLAS_SIZE])
        row, place = np.concatenate([row, row[split]]), np.concatenate([place, place[split]])
    height = np.linalg.norm(place - _MIDDLE, axis=-1) / 2
    points = np.stack([2 * column / ATLAS_SIZE - 1, 1 - 2 * row / ATLAS_SIZE, height], axis=-1).reshape(-1, 3)
    code = np.full((len(number), 3, 3), 0.5, np.float32)
    code[..., 0] += np.arange(len(number))[:, None]
    code[..., 1:] = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    canvas = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), -1, np.float32)
    faces = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
    seen = draw_frontal(points, faces, np.ascontiguousarray(code.reshape(-1, 3)), canvas)
    there = seen[..., 0] >= 0
    drawn = np.where(there, number[np.clip(seen[..., 0].astype(int), 0, len(number) - 1)], -1)
    weight = np.concatenate([seen[..., 1:], 1 - seen[..., 1:].sum(-1, keepdims=True)], axis=-1)
    return drawn.astype(np.int32), np.where(there[..., None], weight, 0).astype(np.float32)


def _settled(
    mesh: HeadMesh, part: int, number: NDArray[np.int32], barycentric: NDArray[np.float32], centre: Array
) -> NDArray[np.float32]:
    """Barycentric coordinates [n, 3] of the points at texels' centres, refined by Newton's method.

    Triangles are curved in the chart, so those drawn as flat ones are a first estimate. Points may lie slightly outside
    their triangles.
    number: [n], triangles.
    barycentric: [n, 3], first estimate.
    centre: [n, 2], row and column.
    """
    place = mesh.mean[mesh.triangles[number]].astype(np.float64)
    sheet = mesh.sheet[mesh.triangles[number]].astype(np.float64)
    kind = np.full(len(number), part)

    def miss(two: Array) -> Array:
        weight = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)[..., None]
        x, y, z = (place * weight).sum(axis=1).T
        across, down = (sheet * weight).sum(axis=1).T
        column, row = atlas_place(np, kind, (x, y, z), (across, down))
        aside = (column - centre[:, 1] + ATLAS_SIZE / 2) % ATLAS_SIZE - ATLAS_SIZE / 2
        return np.stack([aside, row - centre[:, 0]], axis=1)

    two = barycentric[:, :2].astype(np.float64)
    for _ in range(_SETTLING_TURNS):
        off = miss(two)
        slope = np.stack([(miss(two + step) - off) / _SMALL for step in _SMALL * np.eye(2)], axis=2)
        step = np.linalg.solve(slope + 1e-9 * np.eye(2), off[..., None])[..., 0]
        two = np.clip(two - np.clip(step, -0.5, 0.5), -_BEYOND, 1 + _BEYOND)
    worse = np.linalg.norm(miss(two), axis=1) > np.linalg.norm(miss(barycentric[:, :2].astype(np.float64)), axis=1)
    two[worse] = barycentric[worse, :2]
    return np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1).astype(np.float32)


def _nearest_row(there: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Row [H, W], for each texel, of the nearest texel in its column where `there` [H, W] is true."""
    rows = np.arange(len(there))[:, None]
    above = np.maximum.accumulate(np.where(there, rows, -len(there)), axis=0)
    below = np.minimum.accumulate(np.where(there, rows, 2 * len(there))[::-1], axis=0)[::-1]
    return np.asarray(np.where(rows - above <= below - rows, above, below))
