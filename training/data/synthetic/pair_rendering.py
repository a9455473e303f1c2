"""Synthetic pairs as batches: the same pairs every time for evaluation, or given ones."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.model.config import ModelConfig
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SUPERSAMPLING, PairLayout, SeccChoice, draw_pair
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.image_pairs import ImagePairs
from hidenerf.training.data.synthetic.painting import Painter, Views
from hidenerf.training.data.synthetic.people import Pair, make_held_out_pair
from hidenerf.training.data.synthetic.rasterise import Rasteriser

# Pairs that are drawn and painted together.
_CHUNK = 32


def held_out_pairs(config: ModelConfig, device: torch.device, indices: Sequence[int]) -> Batch:
    """Pairs of evaluation, of people never seen in training; the same for the same indices."""
    model = load_head_mesh().face_model
    return render_pairs(config, device, [make_held_out_pair(model, index) for index in indices])


def render_pairs(
    config: ModelConfig, device: torch.device, pairs: Sequence[Pair], seccs: SeccChoice = DEFAULT_SECCS
) -> Batch:
    """Given pairs as a batch, in their order; made on the spot, without workers."""
    mesh = load_head_mesh()
    layout = PairLayout(mesh, config.image_size, config.secc_size, seccs)
    rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * config.image_size)
    batches = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        rows = np.zeros((len(chunk), layout.bytes), np.uint8)
        for pair, row in zip(chunk, rows, strict=True):
            draw_pair(mesh, rasteriser, pair, seccs, layout.views(row))
        batches.append(paint_pairs(layout, device, rows, seccs))
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def paint_pairs(layout: PairLayout, device: torch.device, rows: NDArray[np.uint8], seccs: SeccChoice) -> Batch:
    """Pairs that `draw_pair` has put into rows [n, bytes] as a batch, in their order."""
    image_pairs = painted(layout, device, rows)
    return image_pairs.batch(torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.long), seccs)


def painted(layout: PairLayout, device: torch.device, rows: NDArray[np.uint8]) -> ImagePairs:
    """What `draw_pair` has put into rows [n, bytes], painted on a device."""
    return paint_rows(_painter(device), layout, torch.from_numpy(rows).to(device))


@cache
def _painter(device: torch.device) -> Painter:
    return Painter(load_head_mesh(), device)


def paint_rows(painter: Painter, layout: PairLayout, rows: Tensor) -> ImagePairs:
    """What `draw_pair` has put into rows [n, bytes] of uint8, painted; all on the painter's device."""
    arrays = {}
    for name, (shape, dtype, start) in layout.fields.items():
        used = int(np.prod(shape)) * dtype.itemsize
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        arrays[name] = rows[:, start : start + used].contiguous().view(kind).reshape(len(rows), *shape)
    views = Views(
        vertices=arrays["vertices"].flatten(0, 1),
        hair_depth=arrays["hair_depth"].repeat_interleave(2, 0),
        look=arrays["look"].repeat_interleave(2, 0),
        camera_position=arrays["cameras"].reshape(-1, 25)[:, [3, 7, 11]],
        triangle=arrays["triangle"].flatten(0, 1),
        barycentric=arrays["barycentric"].flatten(0, 1),
    )
    color, mask, region = (
        (values * 255).round().to(torch.uint8).unflatten(0, (-1, 2)) for values in painter.paint(views)
    )
    return ImagePairs(color, mask, region, arrays["secc"], arrays["cameras"], arrays["surface"])
