"""Sample sheet: a contact sheet of the synthetic image pairs that training sees."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hidenerf.model.config import PRESETS
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_pair

SAMPLES, COLUMNS = 32, 4
CELL = 90


def sample_sheet() -> NDArray[np.uint8]:
    """Picture [H, W, 3] RGB of 32 image pairs: source, target, canonical SECC and driving SECC of each."""
    model = load_head_mesh().face_model
    pairs = [make_pair(model, number) for number in range(SAMPLES)]
    batch = render_pairs(PRESETS["demo"], torch.device("cpu"), pairs)
    columns = (batch.source_image, batch.target, batch.secc_canonical, batch.secc_driving)
    return contact_sheet([np.rint(255 * values.permute(0, 2, 3, 1).numpy()).astype(np.uint8) for values in columns])


def contact_sheet(columns: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures [n, H, W, 3] RGB of each column → a sheet with the columns of a sample side by side."""
    samples = [
        np.hstack([cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_AREA) for picture in row])
        for row in zip(*columns, strict=True)
    ]
    samples += [np.zeros_like(samples[0])] * (-len(samples) % COLUMNS)
    rows = [np.hstack(samples[start : start + COLUMNS]) for start in range(0, len(samples), COLUMNS)]
    return np.vstack(rows).astype(np.uint8)
