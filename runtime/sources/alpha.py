"""The alpha channel of a portrait: whether it cuts a person out, or only rounds corners, adds a shadow or fades all.

Transparency that cuts nobody out is replaced by a neutral ground, and the person is cut out as in an opaque picture.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.alignment import warp
from hidenerf.runtime.sources.cut_out import below_and_aside, disc, grown, triangle_mask
from hidenerf.runtime.sources.matting import CORE_MARGIN, SEEN, seen_opacity
from hidenerf.runtime.sources.matting_network import MattingNetwork

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
Alpha = NDArray[np.uint8]

GREY = 128
# A picture of which less than this share is transparent has no background to leave out.
LEAST_TRANSPARENT = 0.005
# The face of a person cut out is this opaque in the mean.
OPAQUE_FACE = 0.8
# Of what is opaque around the head so much may be no person to the matting network. Of 47 mattes of portraits it was at
# most 0.5 %; of rounded corners, circles, shadows, stars and notches around them in the median 14 to 39 %.
MOST_BACKGROUND = 0.08
# An opaque part that is this convex (its area over that of its convex hull), with so much of it beside and above the
# head and farther from it than hair, is a frame, whatever the network says.
CONVEX = 0.95
BESIDE_THE_HEAD = 0.05
HAIR = 0.12


def normalised(alpha: Alpha) -> Alpha | None:
    """An alpha channel [H, W] uint8 whose largest opacity is whole; None if it leaves nothing out.

    A channel that is the same everywhere, such as 250, or 0, says nothing about the picture.
    """
    largest = int(alpha.max())
    if largest == 0:
        return None
    scaled = alpha if largest == 255 else np.asarray((alpha * np.float32(255 / largest)).round(), np.uint8)
    return None if (scaled < 128).mean() < LEAST_TRANSPARENT and scaled.min() > 192 else scaled


def over_grey(picture: Picture, alpha: Alpha) -> Picture:
    """A picture [H, W, 3] over grey: its colours under full transparency are arbitrary. alpha: [H, W] uint8."""
    opacity = alpha[..., None] / np.float32(255)
    return np.asarray((picture * opacity + GREY * (1 - opacity)).round(), np.uint8)


def cuts_a_person_out(
    ground: Picture,
    alpha: Alpha,
    matrix: Array,
    size: int,
    vertices: Array,
    face_model: FaceModel,
    network: MattingNetwork | None,
) -> bool:
    """Whether what is opaque around a fitted head is a person, not a picture of one with its background.

    ground: [H, W, 3] uint8 RGB, the picture over grey. alpha: [H, W] uint8.
    matrix: [2, 3], from the picture's pixels to those of the aligned crop. size: the crop's side.
    vertices: [V, 2], the fitted head in the crop's pixels.
    network: tells what belongs to a person; without it, or if it does not see the head, only the opaque part's shape
    counts.
    """  # fmt: skip
    if (alpha < 128).mean() < LEAST_TRANSPARENT:
        return False
    head = triangle_mask(vertices, face_model.triangles, size)
    core = np.asarray(cv2.erode(head, disc(CORE_MARGIN * size)), np.uint8) > 0
    opacity = warp(alpha, matrix, size, cv2.BORDER_CONSTANT)
    if not core.any() or opacity[core].mean() < OPAQUE_FACE * 255:
        return False
    opaque = opacity > 127
    below, _ = below_and_aside(head)
    beside = opaque & (grown(head, HAIR) == 0) & (below < 0)
    if _convexity(opaque, head) >= CONVEX and beside.sum() >= BESIDE_THE_HEAD * opaque.sum():
        return False
    if network is not None:
        person, _ = seen_opacity(network, ground, matrix, size)
        if person[core].mean() >= SEEN:
            near = grown((person > 0.3).astype(np.uint8) | head, 0.03) > 0
            return bool((opaque & ~near).sum() <= MOST_BACKGROUND * opaque.sum())
    return True


def _convexity(opaque: NDArray[np.bool_], head: NDArray[np.uint8]) -> float:
    """The area of the opaque piece with the head over that of its convex hull."""
    _, pieces = cv2.connectedComponents(opaque.astype(np.uint8), connectivity=4)
    piece = (pieces == np.bincount(pieces[(head > 0) & opaque]).argmax()).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros_like(piece)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outlines)), 1)
    return float(piece.sum() / hull.sum())
