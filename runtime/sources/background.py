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


def continued(picture: Picture, alpha: Mask) -> Picture:
    """A picture [H, W, 3] uint8 whose transparent parts continue smoothly what is beside them. alpha: [H, W] uint8."""
    height, width = alpha.shape
    scale = min(1.0, BACKGROUND_SIZE / max(height, width))
    small_size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(picture, small_size, interpolation=cv2.INTER_AREA), np.float32)
    # Only what is wholly opaque: elsewhere colours are arbitrary.
    clear = np.asarray(cv2.resize((alpha < 255).astype(np.float32), small_size, interpolation=cv2.INTER_AREA))
    painted = cv2.resize(
        _spread(small, (clear == 0).astype(np.float32)), (width, height), interpolation=cv2.INTER_LINEAR
    )
    opacity = alpha[..., None] / np.float32(255)
    return np.asarray((picture * opacity + painted * (1 - opacity)).round().clip(0, 255), np.uint8)


def _spread(colours: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours [H, W, 3] where `known` [H, W] is 1; elsewhere averages of known colours nearby, coarse to fine."""
    if min(known.shape) <= 1:
        return colours
    share = np.asarray(cv2.pyrDown(known), np.float32)
    average = np.asarray(cv2.pyrDown(colours * known[..., None])) / np.maximum(share, 1e-6)[..., None]
    wide = _spread(average.astype(np.float32), np.minimum(1, 4 * share))
    wide = np.asarray(cv2.pyrUp(wide, dstsize=(known.shape[1], known.shape[0])), np.float32)
    return colours * known[..., None] + wide * (1 - known[..., None])
