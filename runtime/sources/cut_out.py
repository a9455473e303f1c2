"""Cutting a person out of an aligned crop: GrabCut, seeded by the fitted head."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

# GrabCut works on a copy with this side, pixels.
CUT_OUT_SIZE = 256
CUT_OUT_ITERATIONS = 6
# Shares of the crop's side.
SURE_MARGIN = 0.02
HAIR_MARGIN = 0.12
EDGE_BLUR = 0.006


def person_mask(crop: Picture, inside: Mask, vertices: Array, face_model: FaceModel) -> Mask:
    """Which pixels of an aligned crop belong to the person: [S, S] uint8, 255 on the person, with soft edges.

    GrabCut is seeded with the head; it looks for hair around the head and for the torso below it.

    crop: [S, S, 3] uint8 RGB.
    inside: [S, S] uint8, 0 where the crop reaches beyond the picture.
    vertices: [V, 2] float64, the fitted head in the crop's pixels.
    """
    size = len(crop)
    work = min(size, CUT_OUT_SIZE)
    small = cv2.resize(crop, (work, work), interpolation=cv2.INTER_AREA)
    head = triangle_mask(vertices * (work / size), face_model.triangles, work)
    seeds = _seeds(head, np.asarray(cv2.resize(inside, (work, work), interpolation=cv2.INTER_AREA), np.uint8))
    # Without the border outside the picture, which must not count among the background's colours.
    rows, columns = (np.flatnonzero((seeds != cv2.GC_BGD).any(axis=axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colours, labels = np.ascontiguousarray(small[part]), np.ascontiguousarray(seeds[part])
    # GrabCut fails without any background pixel, as when the face fills the picture.
    if np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        models = np.zeros((1, 65)), np.zeros((1, 65))
        # GrabCut's clustering of colours starts from random numbers.
        cv2.setRNGSeed(0)
        cv2.grabCut(colours, labels, (0, 0, 1, 1), models[0], models[1], CUT_OUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    seeds[part] = labels
    person = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = _one_piece(person, head)
    soft = cv2.GaussianBlur(person * np.float32(255), (0, 0), max(0.5, EDGE_BLUR * work))
    return np.asarray(cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR).round(), np.uint8)


def over_black(crop: Picture, mask: Mask) -> Picture:
    """A crop [S, S, 3] uint8 over black, its opacity the mask [S, S] uint8."""
    return np.asarray((crop * (mask[..., None] / np.float32(255))).round(), np.uint8)


def triangle_mask(vertices: Array, triangles: NDArray[np.int32], size: int) -> Mask:
    """Which pixels any of the triangles covers: [size, size] uint8, 0 or 1.

    vertices: [V, 2] float64, pixels.
    triangles: [F, 3] int32.
    """
    filled = np.zeros((size, size), np.uint8)
    for corners in (vertices[triangles] - 0.5).round().astype(np.int32):
        cv2.fillConvexPoly(filled, corners, 1)
    return filled


def grown(mask: Mask, share: float) -> Mask:
    """A mask dilated by a disc whose radius is this share of its side."""
    return np.asarray(cv2.dilate(mask, disc(share * len(mask))), np.uint8)


def below_and_aside(head: Mask) -> tuple[Array, Array]:
    """Where the pixels of a crop lie beside a head: [S, S] rows from the chin down, and columns from its middle.

    In heights and widths of the head.
    head: [S, S], above 0 on the fitted head, which includes the neck.
    """
    rows, columns = np.nonzero(head)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    y, x = np.mgrid[: len(head), : len(head)]
    height, width = bottom - top, right - left
    return (y - (bottom - 0.22 * height)) / height, np.abs(x - (left + right) / 2) / width


def _seeds(head: Mask, inside: Mask) -> Mask:
    work = len(head)
    below, aside = below_and_aside(head)
    # Shoulders soon reach twice the head's width. The chest below the throat surely belongs to the person and gives
    # GrabCut the colours of the clothes.
    shoulders = (below > 0) & (aside < 0.4 + 4.0 * below)
    chest = (below > 0.17) & (aside < 0.25 + 0.8 * (below - 0.17))
    neck = (below > 0.07) & (aside < 0.2)
    # Hair is probable all around the skull; beside the jaw the colours alone decide.
    upper = head * (below < -0.18)
    hair = (grown(upper.astype(np.uint8), HAIR_MARGIN) > 0) & (below < -0.13)
    hair |= grown(head, SURE_MARGIN) > 0
    sure = cv2.erode(head, disc(SURE_MARGIN * work)) > 0
    seeds = np.full(head.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[hair | shoulders] = cv2.GC_PR_FGD
    seeds[sure | neck | chest] = cv2.GC_FGD
    seeds[inside < 128] = cv2.GC_BGD
    return seeds


def disc(radius: float) -> NDArray[np.uint8]:
    """A structuring element, round, radius in pixels and at least 1."""
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _one_piece(person: Mask, head: Mask) -> Mask:
    """The connected piece of a 0/1 mask that holds the head, with smoothed edges and its holes filled."""
    element = disc(0.008 * len(person))
    core = np.asarray(cv2.erode(head, element), np.uint8)
    person = np.asarray(cv2.morphologyEx(person, cv2.MORPH_OPEN, element), np.uint8) | core
    _, labels = cv2.connectedComponents(person, connectivity=4)
    label = np.bincount(labels[core > 0]).argmax()
    outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(person)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled
