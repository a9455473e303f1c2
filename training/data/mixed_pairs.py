"""Mixed pairs: batches from two sources at random."""

import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.trainer import PairSource


class MixedPairs:
    """A source of batches that mix pairs of two sources, in random order.

    Every batch has both kinds, so that the batch norms of a step see the same mixture as their running statistics.
    first, second: the sources.
    share: of `second`, in [0, 1].
    seed: of the order and of the rounding of the share.
    """

    def __init__(self, first: PairSource, second: PairSource, share: float, seed: int) -> None:
        self._first, self._second, self._share = first, second, share
        self._random = torch.Generator().manual_seed(seed)

    def sample(self, batch_size: int) -> Batch:
        """A batch of so many pairs of both sources."""
        of_second = int(self._share * batch_size + float(torch.rand((), generator=self._random)))
        order = torch.randperm(batch_size, generator=self._random)
        if of_second in (0, batch_size):
            return (self._second if of_second else self._first).sample(batch_size)
        one, other = self._first.sample(batch_size - of_second), self._second.sample(of_second)
        return Batch(*(torch.cat(both)[order.to(both[0].device)] for both in zip(one, other, strict=True)))
