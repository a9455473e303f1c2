"""Hair hull: the shape of a person's hair, estimated from the matte of a nearly frontal portrait.

Nothing here imports torch.
"""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import project
from hidenerf.training.data.synthetic.heads import (
    CURTAIN_BOTTOM,
    CURTAIN_ROWS,
    CURTAIN_TOP,
    HULL_ANGLES,
    SCALP_CENTRE,
    SHOULDER_HEIGHT,
    SHOULDER_WIDTH,
    USUAL_SLOPE,
    Style,
)

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]

# As far as hair is looked for, world units from the scalp's centre, and how finely.
_REACH = 1.1
_STEPS = 280
# Hair beside the jaw hangs that is at least so thick, and on average so much like hair in colour.
_HANGING = 0.07
_LIKE_HAIR = 0.3
_HEIGHTS = np.linspace(CURTAIN_TOP, CURTAIN_BOTTOM, CURTAIN_ROWS)
# From the shoulders' height on the matte tells nothing of how far hair reaches; this is the last row above it.
_LAST_SEEN = int(np.flatnonzero(_HEIGHTS > -0.58)[-1])

# By how much more long hair reaches out from one height to the next: beyond that there are shoulders.
_WIDENING = 0.04
# By how much more hair may stand off on one side than on the other.
_MOST_ONE_SIDED = 0.08
# Where the fitted head ends, and how wide it is there.
_NECK_END, _NECK_WIDTH = -0.66, 0.25

# The hair of somebody whose portrait shows none.
SHORT_HAIR = Style(
    hairline=(-0.45, -0.30, -0.05, 0.20, 0.42, 0.46),
    thickness=0.01,
    top=0.0,
    unevenness=0.0,
    phase=(0.0, 0.0, 0.0),
    curtain_end=None,
    curtain_opening=float(np.radians(122)),
    waves=0.0,
    body=True,
)


class HairBand(NamedTuple):
    """Inner and outer edges of hair beside the head, [2, CURTAIN_ROWS]: |x| at the scalp centre's depth, world units.

    The first dimension is the subject's right and left, the second the heights of `HeadMesh.skull_radius`.
    """

    inner: Array
    outer: Array


def hair_likeness(picture: NDArray[np.floating], matte: Mask, head: Mask, camera: NDArray[np.floating]) -> Array:
    """Similarity of each pixel's colour to that of the hair, [S, S] in [0, 1]; 0 everywhere if no hair is visible.

    The hair's colour is taken where the matte extends around the upper head.
    picture: [S, S, 3] in [0, 1].
    matte, head: [S, S], see `hair_style`.
    camera: [25].
    """
    size = len(matte)
    margin = max(1, round(0.012 * size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    around = (cv2.erode(matte, disc) > 250) & (cv2.dilate(head, disc) == 0)
    # Below the ears there may be a collar.
    _, lowest = project(np.array([0.0, -0.15, SCALP_CENTRE[2]]), camera) * size
    around[max(0, round(float(lowest))) :] = False
    colours = picture[around]
    if len(colours) < 0.001 * size**2:
        return np.zeros(matte.shape)
    middle = np.median(colours, axis=0)
    spread = np.cov((colours - middle).T) + 0.05**2 * np.eye(3)
    off = picture.reshape(-1, 3) - middle
    distance = np.einsum("pc,cd,pd->p", off, np.linalg.inv(spread), off).reshape(matte.shape)
    return np.asarray(np.exp(-np.maximum(distance - 3, 0) / 10) * (matte > 200))


def hair_style(matte: Mask, likeness: Array, head: Mask, camera: NDArray[np.floating]) -> tuple[Style, HairBand]:
    """The style whose hair fills a matte, and the hair beside the head.

    matte: [S, S].
    likeness: [S, S], of `hair_likeness`.
    head: [S, S], above 0 on the head without hair.
    camera: [25].
    """
    band, hair = _beside_the_head(matte, likeness, head, camera)
    style = replace(SHORT_HAIR, slope=_shoulder_slope(band.outer))
    hangs = (band.outer - band.inner > _HANGING) & (hair > _LIKE_HAIR)
    rows = np.flatnonzero(_HEIGHTS < -0.2)
    long_hair = bool(hangs[:, rows[:2]].all())
    if long_hair:
        # It ends where no hair is seen any more.
        below = rows[~hangs[:, rows].all(axis=0)]
        last = len(_HEIGHTS) - 1 if len(below) == 0 else int(below[0])
        band = _going_on_down(band, min(_LAST_SEEN, last - 1))
        right, left = _smoothed(np.clip(band.outer - 0.02, 0.3, 0.95)).tolist()
        style = replace(style, curtain_end=float(_HEIGHTS[last]) + 0.03, curtain_widths=(tuple(right), tuple(left)))

    angle = np.radians(HULL_ANGLES)
    directions = np.stack([np.sin(angle), np.cos(angle), np.zeros(len(angle))], axis=-1)
    starts = np.broadcast_to(SCALP_CENTRE, directions.shape)
    volume = _exit(matte, camera, starts, directions) - _exit(head, camera, starts, directions)
    # Limits hair that sticks out on one side only.
    volume = np.minimum(volume, volume[::-1] + _MOST_ONE_SIDED)
    at_ears = volume[(np.abs(HULL_ANGLES) > 75) & (np.abs(HULL_ANGLES) < 105)]
    ears = not (np.median(at_ears) > (0.04 if long_hair else 0.1) and _over_the_ears(likeness, camera))
    # The matte's edge is soft and frayed.
    volume = _smoothed(np.clip(volume - 0.015, -0.04, 0.5))
    # Downwards there are the shoulders.
    volume *= np.interp(np.abs(HULL_ANGLES), (95, 130) if ears else (110, 145), (1, 0))
    return replace(style, hull=tuple(volume.tolist()), ears=ears), band


def _beside_the_head(matte: Mask, likeness: Array, head: Mask, camera: NDArray[np.floating]) -> tuple[HairBand, Array]:
    """The matte's extent beside the head, and its mean likeness to hair next to the head, [2, CURTAIN_ROWS]."""
    starts = np.stack([np.zeros(CURTAIN_ROWS), _HEIGHTS, np.full(CURTAIN_ROWS, SCALP_CENTRE[2])], axis=-1)
    inner, outer, hair = (np.empty((2, CURTAIN_ROWS)) for _ in range(3))
    for side, sign in enumerate((-1.0, 1.0)):
        outwards = np.broadcast_to([sign, 0.0, 0.0], starts.shape)
        inner[side] = _exit(head, camera, starts, outwards)
        outer[side] = _exit(matte, camera, starts, outwards)
        # Long hair goes on beside where the jaw was.
        inner[side, _LAST_SEEN + 1 :] = max(inner[side, _LAST_SEEN], 0.3)
        hair[side] = _along(likeness, camera, starts, outwards, inner[side] + 0.01, inner[side] + 0.15)
    return HairBand(inner, outer), hair


def _going_on_down(band: HairBand, row: int) -> HairBand:
    """The band with straight edges below a row, a minimum width, and a limit on its widening."""
    inner, outer = (edge[:, np.minimum(np.arange(CURTAIN_ROWS), row)] for edge in band)
    for below in range(1, CURTAIN_ROWS):
        outer[:, below] = np.minimum(outer[:, below], outer[:, below - 1] + _WIDENING)
    return HairBand(inner, np.maximum(outer, inner + 0.06))


def _shoulder_slope(reach: Array) -> float:
    """`Style.slope` of shoulders whose matte reaches to `reach` [2, CURTAIN_ROWS]."""
    row = int(np.abs(_HEIGHTS + 0.87).argmin())
    down = (_NECK_END - _HEIGHTS[row]) / (_NECK_END - SHOULDER_HEIGHT)
    width = (np.clip(reach[:, row].mean(), 0.3, 0.95) - _NECK_WIDTH) / (SHOULDER_WIDTH - _NECK_WIDTH)
    return float(np.clip(np.log(width) / np.log(down), 0.6, USUAL_SLOPE))


def _over_the_ears(likeness: Array, camera: NDArray[np.floating]) -> bool:
    """Whether hair covers the ears."""
    on_ears = np.meshgrid((-0.5, -0.47, 0.47, 0.5), np.linspace(-0.15, 0.1, 8), (-0.05, 0.0))
    on_cheeks = np.meshgrid((-0.2, -0.15, 0.15, 0.2), np.linspace(-0.2, -0.1, 8), (0.48,))
    size = len(likeness)
    found = []
    for points in (on_ears, on_cheeks):
        column, row = np.clip((project(np.stack(points, -1), camera) * size).astype(int), 0, size - 1).reshape(-1, 2).T
        found.append(likeness[row, column].mean())
    # Fair hair has the colour of skin, so compare with the cheeks.
    return bool(found[0] > _LIKE_HAIR + found[1])


def _exit(mask: Mask, camera: NDArray[np.floating], starts: Array, directions: Array) -> Array:
    """Distances [n], world units, at which rays from starts [n, 3] in directions [n, 3] first leave the mask [S, S]."""
    size = len(mask)
    way = np.linspace(0, _REACH, _STEPS)
    points = starts[:, None] + way[:, None] * directions[:, None]
    column, row = np.floor(project(points, camera) * size).astype(int).transpose(2, 0, 1)
    within = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    there = within & (mask[np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)] > 127)
    # A start outside, as above a bald head, is left at once.
    return np.asarray(way[np.where(there.all(axis=1), _STEPS - 1, (~there).argmax(axis=1))])


def _along(
    values: Array, camera: NDArray[np.floating], starts: Array, directions: Array, first: Array, last: Array
) -> Array:
    """Means [n] of values [S, S] along rays from starts [n, 3] in directions [n, 3], between two distances [n]."""
    size = len(values)
    way = first[:, None] + np.linspace(0, 1, 16) * (last - first)[:, None]
    points = starts[:, None] + way[..., None] * directions[:, None]
    column, row = np.clip((project(points, camera) * size).astype(int), 0, size - 1).transpose(2, 0, 1)
    return np.asarray(values[row, column].mean(axis=1))


def _smoothed(values: Array) -> Array:
    """Values [..., n] averaged with their neighbours."""
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(1, 1)], mode="edge")
    return np.asarray((padded[..., :-2] + 2 * values + padded[..., 2:]) / 4)
