"""Sample sheet: a contact sheet of the synthetic image pairs that training sees."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hidenerf.model.config import PRESETS
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_portrait_pair
from hidenerf.training.data.synthetic.portraits import PortraitSkins

COLUMNS = 4


def sample_sheet(
    count: int, cell: int, preset: str, seed: int = 0, people: PortraitSkins | None = None
) -> NDArray[np.uint8]:
    """Picture [H, W, 3] RGB of image pairs: source, target, and, without `people`, the SECC of each.

    count: of pairs.
    cell: pixels a picture is wide.
    preset: whose sizes the pairs have.
    people: real people, in the place of those made up.
    """
    model = load_head_mesh().face_model
    portraits = () if people is None else people.portraits
    pairs = [make_portrait_pair(model, portraits, 1.0, number, seed) for number in range(count)]
    batch = render_pairs(PRESETS[preset], torch.device("cpu"), pairs, skins=people)
    columns = [batch.source_image, batch.target]
    if people is None:
        columns += [batch.secc_canonical, batch.secc_driving]
    pictures = [np.rint(255 * values.permute(0, 2, 3, 1).numpy()).astype(np.uint8) for values in columns]
    return contact_sheet(pictures, cell)


def contact_sheet(columns: list[NDArray[np.uint8]], cell: int) -> NDArray[np.uint8]:
    """Pictures [n, H, W, 3] RGB of each column → a sheet with the columns of a sample side by side."""
    samples = [
        np.hstack([cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_AREA) for picture in row])
        for row in zip(*columns, strict=True)
    ]
    samples += [np.zeros_like(samples[0])] * (-len(samples) % COLUMNS)
    rows = [np.hstack(samples[start : start + COLUMNS]) for start in range(0, len(samples), COLUMNS)]
    return np.vstack(rows).astype(np.uint8)
