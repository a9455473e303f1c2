"""The background of a source: an aligned crop with the person painted out."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.sources.cut_out import grown

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

# Painting works on a copy with this side, pixels.
BACKGROUND_SIZE = 128
# The person's edge and shadow are kept out by this margin, a share of the crop's side.
BACKGROUND_MARGIN = 0.04


def paint_background(crop: Picture, hidden: Mask) -> Picture:
    """The crop with its hidden pixels, and a margin around them, painted over smoothly from their surroundings.

    crop: [S, S, 3] uint8 RGB.
    hidden: [S, S] uint8, not 0 where the background cannot be seen.
    """
    size = len(crop)
    hidden_wide = grown((hidden > 0).astype(np.uint8), BACKGROUND_MARGIN).astype(np.float32)
    small_size = min(size, BACKGROUND_SIZE)
    small = cv2.resize(crop, (small_size, small_size), interpolation=cv2.INTER_AREA).astype(np.float32)
    small_hidden = cv2.resize(hidden_wide, (small_size, small_size), interpolation=cv2.INTER_AREA)
    known = (np.asarray(small_hidden) == 0).astype(np.float32)
    painted = cv2.resize(_spread(small, known), (size, size), interpolation=cv2.INTER_CUBIC)
    share = cv2.GaussianBlur(hidden_wide, (0, 0), BACKGROUND_MARGIN / 4 * size)[..., None]
    return np.asarray((painted * share + crop * (1 - share)).round().clip(0, 255), np.uint8)


def _spread(colours: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours [H, W, 3] where `known` [H, W] is 1; elsewhere averages of known colours nearby, coarse to fine."""
    if min(known.shape) <= 1:
        return colours
    share = np.asarray(cv2.pyrDown(known), np.float32)
    average = np.asarray(cv2.pyrDown(colours * known[..., None])) / np.maximum(share, 1e-6)[..., None]
    wide = _spread(average.astype(np.float32), np.minimum(1, 4 * share))
    wide = np.asarray(cv2.pyrUp(wide, dstsize=(known.shape[1], known.shape[0])), np.float32)
    return colours * known[..., None] + wide * (1 - known[..., None])
