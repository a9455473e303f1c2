"""Matting: a person cut out of an aligned crop by a network, with soft edges at the hair.

The network says where people are. Of them the one is kept whose fitted head it is, and the guided filter then lays the
opacity's edges where those of the picture are, at the picture's own resolution.
"""

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.alignment import warp
from hidenerf.runtime.sources.cut_out import below_and_aside, disc, person_mask, triangle_mask
from hidenerf.runtime.sources.guided_filter import guided_filter
from hidenerf.runtime.sources.matting_network import MattingNetwork

Array = NDArray[np.float64]
Float = NDArray[np.float32]
Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

logger = logging.getLogger(__name__)

# The network sees the crop's surroundings, so many times as wide as the crop, as far as the picture goes.
VIEW = 1.6
# Heads that lean further are turned upright for the network, radians.
LARGEST_TILT = np.radians(30)
# Where less than this share of what the network sees is brighter than DARK, it sees the brightest of it as BRIGHT.
BRIGHTEST = 0.02
DARK = 200
BRIGHT = 235
# The opacity is refined in crops up to this side, pixels.
LARGEST_CROP = 1024
# From this opacity on a pixel surely belongs to a person. Flags and chairs behind them often get less.
SURE = 0.8
# Within the fitted head it does so from the second opacity on, and below the first it does not.
LIKELY = (0.1, 0.3)
# What is thinner than twice this, a share of the crop's side, connects nobody with the person.
BRIDGE = 0.015
# Hair and edges reach this far from what is sure, a share of the crop's side, and end at twice this.
REACH = 0.015
# The inner part of the fitted head: without a margin, a share of the crop's side.
CORE_MARGIN = 0.02
# Of the guided filter: radius in pixels of the network, and smoothness in squared colours from 0 to 1.
GUIDED_RADIUS = 3
GUIDED_SMOOTHNESS = 1e-4
GUIDED_SIDE = 512
# Opacities this near to 0 or 1 after filtering become 0 or 1.
HAZE = 0.08
# Where the network's mean opacity of the head is lower it has not seen the person.
SEEN = 0.5
# Eyes are this far above the chin, in heights of the head.
EYES = -0.35
# What is joined to the head by less than twice this, a share of the crop's side, may be somebody else.
JOINED = 0.05
# A piece of a mask that is larger than this share of the crop and not joined to the head is somebody or something else.
SOMEBODY = 0.005
# Chests begin this far below the chin, in heights of the head, and widen by so many of its widths for each height: that
# of the person by the first number, those of others, who may be behind, by the second.
CHEST_BELOW = 0.17
CHEST_SLOPES = (2.5, 0.8)
# Other people are told apart in a copy with this side, pixels.
_PARTING_SIZE = 256


def cut_out_person(
    picture: Picture,
    matrix: Array,
    crop: Picture,
    inside: Mask,
    vertices: Array,
    face_model: FaceModel,
    network: MattingNetwork | None,
    others: Sequence[Array] = (),
) -> Mask:
    """The mask [S, S] uint8 of the person in an aligned crop, 0 outside the picture.

    GrabCut finds it where there is no network, or where that does not see the head.
    picture: [H, W, 3] uint8 RGB.
    matrix: [2, 3] float64, from the picture's pixels to the crop's.
    crop: [S, S, 3] uint8 RGB, the picture's. inside: [S, S] uint8, 0 where the crop reaches beyond the picture.
    vertices: [V, 2] float64, the fitted head in the crop's pixels.
    others: [N, 2] float64 each, landmarks of other people's faces in the picture's pixels.
    """
    mask = None
    if network is not None:
        mask = mask_by_network(network, picture, matrix, len(crop), vertices, face_model, others)
    if mask is None:
        mask = person_mask(crop, inside, vertices, face_model)
    return np.minimum(mask, inside)


def one_of_several(
    crop: Picture, mask: Mask, matrix: Array, vertices: Array, face_model: FaceModel, others: Sequence[Array] = ()
) -> Mask:
    """The mask [S, S] uint8 of one person in the mask of all people of an aligned crop; of a single one it is the same.

    The other arguments: see `cut_out_person`.
    """
    side = len(crop)
    head = triangle_mask(vertices, face_model.triangles, side)
    core = np.asarray(cv2.erode(head, disc(CORE_MARGIN * side)), np.uint8)
    if not core.any():
        return mask
    opacity = np.asarray(mask / np.float32(255), np.float32)
    places = [place @ matrix[:, :2].T + matrix[:, 2] for place in others]
    alone = opacity * (1 - _of_others(crop, opacity, np.full_like(mask, 255), head, core, places))
    _, pieces, sizes, _ = cv2.connectedComponentsWithStats((alone > 0.03).astype(np.uint8), connectivity=8)
    large = np.flatnonzero(sizes[:, cv2.CC_STAT_AREA] > SOMEBODY * side**2)
    away = np.setdiff1d(large, np.append(np.unique(pieces[core > 0]), 0))
    return np.asarray((alone * ~np.isin(pieces, away) * 255).round(), np.uint8)


def mask_by_network(
    network: MattingNetwork,
    picture: Picture,
    matrix: Array,
    size: int,
    vertices: Array,
    face_model: FaceModel,
    others: Sequence[Array] = (),
) -> Mask | None:
    """The mask [S, S] uint8 that the network finds; None, which is logged, if it does not see the head.

    size: S. The others: see `cut_out_person`.
    """
    # At the picture's own resolution, as far as memory allows.
    enlarged = max(1, min(int(np.ceil(1 / _scale(matrix))), LARGEST_CROP // size))
    side, fine = size * enlarged, matrix * enlarged
    crop = warp(picture, fine, side, cv2.BORDER_REPLICATE)
    head = triangle_mask(vertices * enlarged, face_model.triangles, side)
    core = np.asarray(cv2.erode(head, disc(CORE_MARGIN * side)), np.uint8)
    opacity, pixel = seen_opacity(network, picture, fine, side)
    if not core.any() or opacity[core > 0].mean() < SEEN:
        logger.warning("The matting network does not see the person; the person is cut out by colour.")
        return None
    places = [place @ fine[:, :2].T + fine[:, 2] for place in others]
    inside = warp(np.full(picture.shape[:2], 255, np.uint8), fine, side, cv2.BORDER_CONSTANT)
    opacity = opacity * (1 - _of_others(crop, opacity, inside, head, core, places))
    opacity = np.maximum(_connected(opacity, head, core), head * _at_least_likely(opacity))
    guide, radius = np.asarray(crop / np.float32(255), np.float32), max(1, round(GUIDED_RADIUS * pixel))
    step = max(1, min(radius, side // GUIDED_SIDE))
    refined = guided_filter(guide, opacity, radius, GUIDED_SMOOTHNESS, step)
    sharp = ((refined - HAZE) / (1 - 2 * HAZE)).clip(0, 1)
    sharp[core > 0] = 1
    return np.asarray(cv2.resize(sharp * 255, (size, size), interpolation=cv2.INTER_AREA).round(), np.uint8)


def _at_least_likely(opacity: Float) -> Float:
    """1 where the network does not rule a person out: rims of ears get little of it, and the fitted head says more."""
    return np.asarray(((opacity - LIKELY[0]) / (LIKELY[1] - LIKELY[0])).clip(0, 1), np.float32)


def _scale(matrix: Array) -> float:
    """How many pixels of the crop one of the picture becomes."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def seen_opacity(network: MattingNetwork, picture: Picture, matrix: Array, side: int) -> tuple[Float, float]:
    """The network's opacity [side, side] float32 in a crop, and how many of the crop's pixels one of its pixels is."""
    seen, to_crop = _view(picture, matrix, side)
    opacity = network.opacity(_brightened(seen))
    to_crop = to_crop @ np.diag([seen.shape[1] / network.size, seen.shape[0] / network.size, 1.0])
    pixel = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
    # OpenCV puts pixel centres at integers: add half a pixel before the matrix and subtract it after.
    to_crop[:, 2] += to_crop[:, :2] @ np.array([0.5, 0.5]) - 0.5
    placed = cv2.warpAffine(opacity, to_crop, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(placed, np.float32), pixel


def _view(picture: Picture, matrix: Array, side: int) -> tuple[Picture, Array]:
    """What the network sees, [h, w, 3], and the matrix [2, 3] from its pixels to the crop's.

    matrix: [2, 3], from the picture's pixels to the crop's; side: of the crop, pixels.
    """
    if abs(np.arctan2(matrix[0, 1], matrix[0, 0])) > LARGEST_TILT:
        return warp(picture, matrix, side, cv2.BORDER_REFLECT), np.eye(2, 3)
    back = np.asarray(cv2.invertAffineTransform(matrix))
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ back[:, :2].T + back[:, 2]
    middle = corners.mean(axis=0)
    reach = VIEW * np.abs(corners - middle).max(axis=0)
    # Only what the picture has: borders made up would be taken for something.
    end = np.array(picture.shape[1::-1])
    low = np.clip(np.floor(middle - reach), 0, end - 1).astype(int)
    high = np.clip(np.ceil(middle + reach), low + 1, end).astype(int)
    seen = picture[low[1] : high[1], low[0] : high[0]]
    return seen, np.column_stack([matrix[:, :2], matrix[:, :2] @ low + matrix[:, 2]])


def _brightened(picture: Picture) -> Picture:
    """A dark picture [H, W, 3] as if it had been exposed for longer; others as they are."""
    brightest = float(np.quantile(picture.max(axis=2), 1 - BRIGHTEST))
    if brightest >= DARK:
        return picture
    return np.asarray((picture * (BRIGHT / max(brightest, 1.0))).clip(0, 255).round(), np.uint8)


def _of_others(crop: Picture, opacity: Float, inside: Mask, head: Mask, core: Mask, places: Sequence[Array]) -> Float:
    """Which pixels [S, S] float32, 0 to 1, belong to other people: the watershed between them and this head.

    Others are those whose faces were found, and what looks like somebody who is cut off by the picture's edge.
    crop: [S, S, 3] uint8 RGB. opacity: [S, S] of all people. inside: [S, S], 0 beyond the picture.
    head, core: [S, S], the fitted head and its inner part.
    places: [N, 2] each, landmarks of the others' faces in the crop's pixels.
    """
    size = _PARTING_SIZE
    small, small_inside, small_head, small_core = (
        np.asarray(cv2.resize(one, (size, size), interpolation=method), np.uint8)
        for one, method in (
            (crop, cv2.INTER_AREA), (inside, cv2.INTER_AREA), (head, cv2.INTER_NEAREST), (core, cv2.INTER_NEAREST)
        )
    )  # fmt: skip
    people = np.asarray(cv2.resize(opacity, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    below, aside = below_and_aside(small_head)
    theirs = _cut_off(people, small_inside, small_core, below)
    for place in places:
        theirs |= cv2.erode(_head_and_chest(place * (size / len(crop)), size), disc(0.015 * size)) > 0
    if not theirs.any():
        return np.zeros_like(opacity)
    own = (small_core > 0) | ((below > 0.07) & (aside < 0.2))
    own |= (below > CHEST_BELOW) & (aside < 0.25 + CHEST_SLOPES[0] * (below - CHEST_BELOW))
    nobody, others, this = 1, 2, 3
    labels = np.zeros((size, size), np.int32)
    labels[theirs] = others
    labels[people < 0.1] = nobody
    labels[own] = this
    cv2.watershed(small, labels)
    # The line between two regions is in neither; that around others is theirs.
    parted = np.asarray(cv2.dilate((labels == others).astype(np.uint8), disc(2)), np.float32) * (labels != this)
    return np.asarray(cv2.resize(parted, (len(crop), len(crop)), interpolation=cv2.INTER_LINEAR))


def _cut_off(people: Float, inside: Mask, core: Mask, below: Array) -> NDArray[np.bool_]:
    """Where somebody else surely is who is cut off by an edge, so that no face was found: [s, s].

    That is what reaches from an edge, beside the head up to its eyes at least, and is joined to the head below the chin
    alone or by little. Of the person it could only be a raised arm.
    people: [s, s] opacity. inside: [s, s], 0 beyond the picture. core: [s, s]. below: see `below_and_aside`.
    """
    within = inside > 127
    seen = (people > SURE) & (below < 0) & within
    # What lies beyond the picture thins nobody.
    thick = cv2.erode((seen | ~within).astype(np.uint8), disc(JOINED * len(people)))
    _, pieces = cv2.connectedComponents(np.asarray(thick, np.uint8) * seen, connectivity=4)
    rim = np.asarray(cv2.erode(within.astype(np.uint8), disc(1), borderValue=0)) == 0
    others = set(np.unique(pieces[rim])) & set(np.unique(pieces[below < EYES]))
    others -= set(np.unique(pieces[core > 0])) | {0}
    return np.isin(pieces, sorted(others))


def _head_and_chest(points: Array, size: int) -> Mask:
    """Where somebody with these facial landmarks [N, 2] surely is: face, hair above it and chest, [size, size], 0 or 1.

    Somebody whose head leans has only a face here.
    """
    covered = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(covered, cv2.convexHull(points.round().astype(np.int32)), 1)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    width, height, middle = right - left, bottom - top, (left + right) / 2
    y, x = np.mgrid[:size, :size]
    # The skull: an ellipse from the eyes to above the forehead.
    covered[((x - middle) / (0.5 * width)) ** 2 + ((y - (top + 0.1 * height)) / (0.4 * height)) ** 2 < 1] = 1
    below, aside = (y - bottom) / height, np.abs(x - middle) / width
    covered[(below > -0.3) & (aside < 0.3)] = 1
    covered[(below > CHEST_BELOW) & (aside < 0.3 + CHEST_SLOPES[1] * (below - CHEST_BELOW))] = 1
    return covered


def _connected(opacity: Float, head: Mask, core: Mask) -> Float:
    """The opacity [S, S] of the person alone: what is sure and connected with the head, and what is near to that.

    Holes in the clothes are closed; holes beside the head may show what is behind the hair.
    opacity: [S, S] float32. head, core: [S, S], the fitted head and its inner part.
    """
    side = len(opacity)
    sure = (opacity > SURE).astype(np.uint8) | core
    sure = np.asarray(cv2.morphologyEx(sure, cv2.MORPH_OPEN, disc(BRIDGE * side)), np.uint8) | core
    _, labels = cv2.connectedComponents(sure, connectivity=4)
    person = labels == np.bincount(labels[core > 0]).argmax()
    distance = np.asarray(cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5)) / side
    alone = (opacity * (2 - distance / REACH).clip(0, 1)).astype(np.float32)
    below, _ = below_and_aside(head)
    count, holes = cv2.connectedComponents((alone < 0.5).astype(np.uint8), connectivity=8)
    edge = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    beside_the_head = np.union1d(edge, holes[below < 0])
    closed = np.setdiff1d(np.arange(1, count), beside_the_head)
    alone[np.isin(holes, closed) | (core > 0)] = 1
    return alone
