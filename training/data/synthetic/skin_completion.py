"""Skin completion: fills the texels that a portrait does not show from the other side or from neighbours.

Colours are sRGB in [0, 1], [A, A, 3] or the rows of one chart. Nothing here imports torch.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_parts import SKIN
from hidenerf.training.data.synthetic.heads import BODY
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE, CHARTS

Floats = NDArray[np.float32]

# How far colours lie from those of hair, or skin, and still count.
_UNLIKE = 0.14
# The other side's colours are shifted to this side's by averages over so many texels.
_BAND = 8
_LARGEST_SHIFT = 0.4
# At the atlas's upper edge a ring of texels is one point: so many rows are not believed.
_POLE_ROWS = 20


def complete(colour: Floats, seen: Floats, scalp: Floats, ears: Floats) -> tuple[Floats, Floats]:
    """Complete colours [A, A, 3], and their visibility on either side [A, A].

    Texels that are not visible get the colour of the mirrored texel, adapted to this side's light. If that is not
    visible either, they get colours around: of hair on the scalp, of skin elsewhere.
    colour: [A, A, 3].
    seen: [A, A] in [0, 1], visibility of `colour`.
    scalp: [A, A] in [0, 1], where hair may be.
    ears: [A, A], 1 on the ears.
    """
    first, rows = CHARTS[SKIN]
    believed = seen.copy()
    believed[first : first + _POLE_ROWS] *= np.linspace(0, 1, _POLE_ROWS, dtype=np.float32)[:, None]
    other = believed[:, ::-1] * (1 - believed)
    total = believed + other
    mixed = colour * believed[..., None] + in_this_light(colour, believed) * other[..., None]
    mixed = (mixed / np.maximum(total, 1e-6)[..., None]).astype(np.float32)
    filled = np.zeros_like(colour)
    skin = np.s_[first : first + rows]
    filled[skin] = _hair_and_skin(mixed[skin], total[skin], scalp[skin], ears[skin])
    first, rows = CHARTS[BODY]
    body = np.s_[first : first + rows]
    filled[body] = spread_around(mixed[body], total[body])
    return (mixed * total[..., None] + filled * (1 - total[..., None])).astype(np.float32), total


def in_this_light(colour: Floats, seen: Floats) -> Floats:
    """Mirrored colours [A, A, 3] adapted to this side's light: shifted by the mean difference of both sides near by.

    seen: [A, A] in [0, 1], visibility.
    """
    mirrored = colour[:, ::-1]
    both = seen * seen[:, ::-1]
    shift = np.zeros_like(colour)
    for first, rows in CHARTS.values():
        part = np.s_[first : first + rows]
        size = ATLAS_SIZE // _BAND, rows // _BAND
        share = np.asarray(cv2.resize(both[part], size, interpolation=cv2.INTER_AREA), np.float32)
        difference = (colour - mirrored)[part] * both[part][..., None]
        coarse = np.asarray(cv2.resize(difference, size, interpolation=cv2.INTER_AREA), np.float32)
        known = spread_around((coarse / np.maximum(share, 1e-6)[..., None]).astype(np.float32), share)
        coarse = np.clip(known, -_LARGEST_SHIFT, _LARGEST_SHIFT)
        shift[part] = cv2.resize(coarse, (ATLAS_SIZE, rows), interpolation=cv2.INTER_LINEAR)
    return np.clip(mirrored + shift, 0, 1).astype(np.float32)


def _hair_and_skin(colours: Floats, known: Floats, scalp: Floats, ears: Floats) -> Floats:
    """Colours to fill the chart of skin with: those of hair on the scalp, those of skin elsewhere."""
    on_scalp, off_scalp = known * (scalp > 0.9), known * (scalp < 0.1) * (1 - ears)
    # Below a high hairline there is skin, so hair is what is on top; and there are collars on necks.
    height = np.cumsum(on_scalp.sum(axis=1)) / max(float(on_scalp.sum()), 1e-6)
    crown = on_scalp * ((height > 0.1) & (height < 0.5))[:, None]
    rows = np.arange(len(colours)) / len(colours)
    face = off_scalp * ((rows > 0.35) & (rows < 0.7))[:, None]
    hair = spread_around(colours, on_scalp * _likeness(colours, crown))
    skin = spread_around(colours, off_scalp * _likeness(colours, face))
    return skin + (hair - skin) * scalp[..., None]


def _likeness(colours: Floats, sample: Floats) -> Floats:
    """Similarity [H, W], above 0, of colours to those where `sample` [H, W] exceeds 0.5."""
    chosen = sample > 0.5
    if not chosen.any():
        return np.ones_like(sample)
    distance = ((colours - np.median(colours[chosen], axis=0)) ** 2).sum(-1)
    return np.asarray(np.exp(-distance / (2 * _UNLIKE**2)) + 1e-4, np.float32)


def spread_around(values: Floats, known: Floats) -> Floats:
    """`spread` of a chart [H, W, 3] that wraps around from left to right."""
    width = values.shape[1]
    tripled = spread(np.concatenate([values] * 3, axis=1), np.concatenate([known] * 3, axis=1))
    return tripled[:, width : 2 * width]


def spread(values: Floats, known: Floats) -> Floats:
    """Values [H, W, n] with gaps filled by means of known values around. known: [H, W] in [0, 1], weight of a value."""
    share = known[..., None]
    if min(known.shape) <= 1:
        mean = (values * share).sum((0, 1)) / max(float(known.sum()), 1e-6)
        return np.broadcast_to(mean, values.shape).astype(np.float32)
    down = np.asarray(cv2.pyrDown(known), np.float32)
    average = np.asarray(cv2.pyrDown(values * share)) / np.maximum(down, 1e-6)[..., None]
    wide = spread(average.astype(np.float32), np.minimum(1, 4 * down))
    wide = np.asarray(cv2.pyrUp(wide, dstsize=(known.shape[1], known.shape[0])), np.float32)
    return np.asarray(values * share + wide * (1 - share), np.float32)
