"""A contact sheet of the synthetic pairs that training sees.

python -m hidenerf.training.data.synthetic.sample_sheet OUT.png
"""

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.commands.errors import user_errors
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path

SAMPLES, COLUMNS = 32, 4
CELL = 90


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@user_errors
def main(output: Path) -> None:
    """Write a PNG of 32 pairs: source, target, and the SECC of each without and with the target's expression."""
    import torch

    from hidenerf.model.config import PRESETS
    from hidenerf.training.data.synthetic.heads import load_head_mesh
    from hidenerf.training.data.synthetic.pair_rendering import render_pairs
    from hidenerf.training.data.synthetic.people import make_pair

    if output.suffix.lower() != ".png":
        raise HideNerfError(f"{output}: the sheet is a PNG file; give a name that ends in .png.")
    model = load_head_mesh().face_model
    pairs = [make_pair(model, number) for number in range(SAMPLES)]
    batch = render_pairs(PRESETS["demo"], torch.device("cpu"), pairs)
    columns = (batch.source_image, batch.target, batch.secc_canonical, batch.secc_driving)
    sheet = contact_sheet([np.rint(255 * values.permute(0, 2, 3, 1).numpy()).astype(np.uint8) for values in columns])
    with atomic_path(output) as partial:
        partial.write_bytes(cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def contact_sheet(columns: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures [n, H, W, 3] RGB of each column → a sheet with the columns of a sample side by side."""
    samples = [
        np.hstack([cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_AREA) for picture in row])
        for row in zip(*columns, strict=True)
    ]
    samples += [np.zeros_like(samples[0])] * (-len(samples) % COLUMNS)
    rows = [np.hstack(samples[start : start + COLUMNS]) for start in range(0, len(samples), COLUMNS)]
    return np.vstack(rows).astype(np.uint8)


if __name__ == "__main__":
    main()
