"""Sample picture: a model's output for a few pairs, to watch a run by."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.hidenerf import Output
from hidenerf.training.data.batch import Batch


def sample_grid(batch: Batch, output: Output) -> NDArray[np.uint8]:
    """Sample picture [B · S, 6 · S, 3] RGB; a row a pair: source, target, driving SECC, rendered, refined, error × 2.

    batch: B pairs. output: of the model for them.
    """
    size = batch.target.shape[-1]

    def enlarged(picture: Tensor) -> Tensor:
        return F.interpolate(picture.float(), size=(size, size), mode="nearest")

    error = 2.0 * (output.frame.float().clamp(0, 1) - batch.target).abs()
    columns = [batch.source_image, batch.target, enlarged(batch.secc_driving), enlarged(output.rendered[:, :3])]
    columns += [output.frame.float(), error]
    grid = torch.cat(columns, 3).clamp(0, 1).permute(0, 2, 3, 1).flatten(0, 1)
    rounded: NDArray[np.uint8] = (grid * 255.0).round().to(torch.uint8).cpu().numpy()
    return rounded
