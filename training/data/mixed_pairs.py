"""Mixed pairs: batches from two sources at random."""

import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.trainer import PairSource


class MixedPairs:
    """Batches of image pairs of `first` and, by the share, of `second`, in a random order that the seed decides.

    Every batch has both, so that batch norms see at each step what their running statistics are of.
    """

    def __init__(self, first: PairSource, second: PairSource, share: float, seed: int) -> None:
        self._first, self._second, self._share = first, second, share
        self._random = torch.Generator().manual_seed(seed)

    def sample(self, batch_size: int) -> Batch:
        """A batch of both."""
        of_second = int(self._share * batch_size + float(torch.rand((), generator=self._random)))
        order = torch.randperm(batch_size, generator=self._random)
        if of_second in (0, batch_size):
            return (self._second if of_second else self._first).sample(batch_size)
        one, other = self._first.sample(batch_size - of_second), self._second.sample(of_second)
        return Batch(*(torch.cat(both)[order.to(both[0].device)] for both in zip(one, other, strict=True)))
