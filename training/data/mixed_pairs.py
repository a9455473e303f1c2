"""Mixed pairs: batches from two sources at random."""

import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.trainer import PairSource


class MixedPairs:
    """Whole batches of `second` with probability `share`, else of `first`; the seed alone decides which."""

    def __init__(self, first: PairSource, second: PairSource, share: float, seed: int) -> None:
        self._first, self._second, self._share = first, second, share
        self._random = torch.Generator().manual_seed(seed)

    def sample(self, batch_size: int) -> Batch:
        """A batch of one of the two."""
        chosen = self._second if torch.rand((), generator=self._random) < self._share else self._first
        return chosen.sample(batch_size)
