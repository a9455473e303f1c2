"""Batches of two sources of pairs."""

import pytest
import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.data.mixed_pairs import MixedPairs
from tests.support.tiny_training import tiny_batch


class Marked:
    """Batches whose target and mask say where they come from."""

    def __init__(self, mark: float) -> None:
        self.mark = mark

    def sample(self, batch_size: int) -> Batch:
        marks = torch.full((batch_size, 1), self.mark)
        return tiny_batch(batch_size)._replace(target=marks, mask=marks)


def drawn(share: float, seed: int = 0) -> list[float]:
    pairs = MixedPairs(Marked(0.0), Marked(1.0), share, seed)
    batches = [pairs.sample(4) for _ in range(100)]
    assert all(torch.equal(batch.target, batch.mask) for batch in batches)
    return [float(mark) for batch in batches for mark in batch.target[:, 0]]


def test_pairs_come_from_both_by_the_share() -> None:
    assert set(drawn(0.0)) == {0.0}
    assert set(drawn(1.0)) == {1.0}
    assert sum(drawn(0.3)) / 400 == pytest.approx(0.3, abs=0.02)
    assert drawn(0.3) == drawn(0.3)
    assert drawn(0.3) != drawn(0.3, seed=1)


def test_every_batch_has_both_in_any_order() -> None:
    marks = torch.tensor(drawn(0.5)).reshape(100, 4)
    assert (marks.sum(1) == 2).all()
    assert marks.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.15)
