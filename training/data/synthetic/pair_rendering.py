"""Pair rendering: batches of given synthetic pairs, and of the fixed pairs for evaluation."""

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
from hidenerf.training.data.synthetic.photo_settings import PHOTO_SIZES
from hidenerf.training.data.synthetic.portraits import PortraitSkins
from hidenerf.training.data.synthetic.rasterise import Rasteriser

# Pairs that are drawn and painted together.
_CHUNK = 32


def held_out_pairs(config: ModelConfig, device: torch.device, indices: Sequence[int]) -> Batch:
    """A batch of the evaluation pairs with these numbers; their people are not in training."""
    model = load_head_mesh().face_model
    return render_pairs(config, device, [make_held_out_pair(model, index) for index in indices])


def render_pairs(
    config: ModelConfig,
    device: torch.device,
    pairs: Sequence[Pair],
    seccs: SeccChoice = DEFAULT_SECCS,
    skins: PortraitSkins | None = None,
) -> Batch:
    """A batch of pairs, in their order, drawn in this process. skins: of the pairs' portraits, if they have any."""
    painter = _painter(device) if skins is None else Painter(load_head_mesh(), device, skins=skins)
    mesh = load_head_mesh()
    layout = PairLayout(mesh, config.image_size, config.secc_size, seccs)
    rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * config.image_size)
    batches = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        rows = np.zeros((len(chunk), layout.bytes), np.uint8)
        for pair, row in zip(chunk, rows, strict=True):
            draw_pair(mesh, rasteriser, pair, seccs, layout.views(row))
        batches.append(_batch(paint_rows(painter, layout, torch.from_numpy(rows).to(device)), seccs))
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def paint_pairs(layout: PairLayout, device: torch.device, rows: NDArray[np.uint8], seccs: SeccChoice) -> Batch:
    """A batch of the pairs in rows [n, bytes] of `draw_pair`, in their order."""
    return _batch(painted(layout, device, rows), seccs)


def _batch(image_pairs: ImagePairs, seccs: SeccChoice) -> Batch:
    count = len(image_pairs.picture)
    return image_pairs.batch(torch.arange(count), torch.zeros(count, dtype=torch.long), seccs)


def painted(layout: PairLayout, device: torch.device, rows: NDArray[np.uint8]) -> ImagePairs:
    """Image pairs of rows [n, bytes] of `draw_pair`, painted on a device."""
    return paint_rows(_painter(device), layout, torch.from_numpy(rows).to(device))


@cache
def _painter(device: torch.device) -> Painter:
    return Painter(load_head_mesh(), device)


def paint_rows(painter: Painter, layout: PairLayout, rows: Tensor) -> ImagePairs:
    """Image pairs of rows [n, bytes] uint8 of `draw_pair`; all on the painter's device."""
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
    painting = painter.paint(views)
    if painter.camera is not None:
        settings = _settings(arrays["photo"])
        painting = painting._replace(color=painter.camera.take(painting.color, painting.mask, settings))
    color, mask, region = ((values * 255).round().to(torch.uint8).unflatten(0, (-1, 2)) for values in painting)
    photograph = arrays["photograph"].long()
    if painter.photographs is not None:
        own = painter.photographs[(photograph[:, 0] - 1).clamp_min(0)]
        here = (photograph > 0)[..., None, None]
        color[:, 0], mask[:, 0] = torch.where(here, own[:, :3], color[:, 0]), torch.where(here, own[:, 3:], mask[:, 0])
        # Of what the photograph shows, it is the truth, and not a drawing of it. Nor are the drawing's own eyes and
        # teeth, but inside a mouth that the photograph does not show.
        weight, known = arrays["face_sight"][:, 1, 2:].float().chunk(2, 1)
        not_its_own = (painter.invented(arrays["triangle"][:, 1]) > 0) & (known >= 0)
        told = region[:, 1] * (weight - known.clamp_min(0)).clamp(0, 1) * ~not_its_own
        region[:, 1] = torch.where(here, told.round().to(torch.uint8), region[:, 1])
    secc, camera, surface, sight = (arrays[name] for name in ("secc", "cameras", "surface", "face_sight"))
    return ImagePairs(color, mask, region, secc, camera, surface, sight, photograph[:, 0] > 0)


def _settings(photos: Tensor) -> dict[str, Tensor]:
    """Camera settings [2n, size] by name, of the packed photos [n, P] of pairs."""
    both = photos.repeat_interleave(2, 0)
    settings = dict(zip(PHOTO_SIZES, both.split(list(PHOTO_SIZES.values()), 1), strict=True))
    settings["noise_place"] = settings["noise_place"].reshape(-1, 2, 4)[:, 0].reshape(-1, 2)
    return settings
