"""Windows: background that a cut-out encloses, such as between hair and shoulder, told by its colours.

Networks see a person at 256 pixels and fill small windows. One is opened only where all speaks for it: its colours are
frequent in the background beside the person and rare in the person, there is an edge all around it, and it lies where
neither the face nor a collar can be.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.sources.cut_out import below_and_aside, disc, grown

Float = NDArray[np.float32]
Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

# Windows are looked for in a copy with this side, pixels.
WINDOW_SIZE = 256
# Colours are counted in cells of this many levels of L, a and b.
CELL = 8
# The background beside the person, a share of the crop's side, is what a window may show.
BESIDE = 0.25
# A pixel may belong to a window if its colour is so many times as frequent in the background as in the person,
BACKGROUND_OVER_PERSON = 8.0
# and no rarer than this in the background.
LEAST_FREQUENT = 0.01
# Areas of windows, shares of the crop.
SMALLEST, LARGEST = 0.0008, 0.03
# They lie no lower than this below the chin, in heights of the head: farther down clothes often have the wall's colour.
LOWEST = 0.3
# Nor so near to the throat, in widths of the head: there collars are.
COLLAR = 0.5
# So much of a window's rim is person, in other colours.
ENCLOSED = 0.9
# Mean difference in colour between a window and its rim, levels.
EDGE = 25.0


def windows(crop: Picture, mask: Mask, head: Mask) -> Float:
    """Which pixels [S, S] float32, 0 to 1, of a cut-out are windows.

    crop: [S, S, 3] uint8 RGB. mask: [S, S] uint8, of the person. head: [S, S], above 0 on the fitted head.
    """
    size = WINDOW_SIZE
    small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    opaque = np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA))
    fitted = np.asarray(cv2.resize(head, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))
    person = opaque > 127
    background = (opaque < 5) & (grown(person.astype(np.uint8), BESIDE) > 0)
    opened = np.zeros((size, size), np.float32)
    if background.sum() < SMALLEST * size**2 or not fitted.any():
        return np.zeros(mask.shape, np.float32)
    cells = (lab // CELL).astype(np.int64) @ np.array([1024, 32, 1])
    seen, own = (_frequency(cells, where) for where in (background, person))
    below, aside = below_and_aside(fitted)
    possible = person & (grown(fitted, 0.01) == 0) & (aside > np.where(below > -0.15, COLLAR, 0.3)) & (below < LOWEST)
    alike = possible & (seen > LEAST_FREQUENT) & (seen > BACKGROUND_OVER_PERSON * own)
    closed = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(np.asarray(closed, np.uint8), connectivity=4)
    for piece in range(1, count):
        if SMALLEST <= stats[piece, cv2.CC_STAT_AREA] / size**2 <= LARGEST:
            here = pieces == piece
            wide, wider = (cv2.dilate(here.astype(np.uint8), disc(radius)) > 0 for radius in (2, 5))
            rim = wider & ~wide
            edge = np.linalg.norm(lab[here].mean(axis=0) - lab[rim].mean(axis=0))
            if (person & ~alike)[rim].mean() >= ENCLOSED and edge >= EDGE:
                opened[wide] = 1
    soft = cv2.GaussianBlur(opened, (0, 0), 0.7)
    return np.asarray(cv2.resize(soft, mask.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _frequency(cells: NDArray[np.int64], where: NDArray[np.bool_]) -> Float:
    """How frequent the colour cell [s, s] of each pixel, or one beside it, is in a region of the picture: [s, s]."""
    counts = np.bincount(cells[where], minlength=32**3).reshape(32, 32, 32).astype(np.float64)
    for axis in range(3):
        counts = counts + np.roll(counts, 1, axis) / 2 + np.roll(counts, -1, axis) / 2
    return np.asarray((counts / counts.sum()).ravel()[cells], np.float32)
