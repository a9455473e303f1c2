"""Checkpoints of small untrained models, and what makes their networks fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.model.hidenerf import random_model
from tests.support.tiny import SMALL_DEMO


def write_small_checkpoint(path: Path) -> Path:
    """Random weights of `SMALL_DEMO`, with 4 samples per ray, in single precision."""
    save_checkpoint(random_model(replace(SMALL_DEMO, samples_per_ray=4), 1), path)
    return path


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest in one thread, and many times faster where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
