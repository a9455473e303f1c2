"""Small things to train on: a few smooth pictures of squares for the tiny model."""

import torch
from torch.nn import functional as F

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.processes import Processes
from hidenerf.training.loop.trainer import Trainer
from tests.support.tiny import TINY, tiny_inputs

CPU = Processes(torch.device("cpu"))


def tiny_batch(count: int = 2, seed: int = 0) -> Batch:
    """A square with smooth random colours before black, seen by the tiny model's cameras."""
    generator = torch.Generator().manual_seed(seed)
    size = TINY.image_size
    mask = torch.zeros(count, 1, size, size)
    mask[:, :, 8:24, 8:24] = 1
    colours = torch.rand(count, 3, 4, 4, generator=generator)
    target = F.interpolate(colours, size=(size, size), mode="bilinear") * mask
    region = torch.zeros_like(mask)
    region[:, :, 16:20, 12:20] = 1
    surface, source_surface = torch.rand(2, count, 3, TINY.render_size, TINY.render_size, generator=generator) - 0.5
    others = {"region": region, "source_mask": mask, "surface": surface, "source_surface": source_surface}
    return Batch(**tiny_inputs(count, seed), target=target, mask=mask, trusted=torch.ones_like(mask), **others)


class Pairs:
    """The same sequence of batches every time; with `same`, one batch over and over."""

    def __init__(self, same: bool = False) -> None:
        self.drawn, self.same = 0, same

    def sample(self, batch_size: int) -> Batch:
        self.drawn += 1
        return tiny_batch(batch_size, 0 if self.same else self.drawn)


def tiny_trainer(steps: int = 100, **changes: object) -> Trainer:
    settings = {"steps": steps, "batch_size": 2, **changes}
    return Trainer(TINY, TrainingConfig.from_dict(settings), CPU)
