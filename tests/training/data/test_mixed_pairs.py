import pytest
import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.data.mixed_pairs import MixedPairs
from tests.support.tiny_training import tiny_batch


class Marked:
    """Batches whose target says where they come from."""

    def __init__(self, mark: float) -> None:
        self.mark = mark

    def sample(self, batch_size: int) -> Batch:
        return tiny_batch(batch_size)._replace(target=torch.full((batch_size, 1), self.mark))


def drawn(share: float, seed: int = 0) -> list[float]:
    pairs = MixedPairs(Marked(0.0), Marked(1.0), share, seed)
    batches = [pairs.sample(2) for _ in range(200)]
    assert all(batch.target.unique().numel() == 1 for batch in batches)
    return [float(batch.target[0]) for batch in batches]


def test_batches_come_from_both_by_the_share() -> None:
    assert set(drawn(0.0)) == {0.0}
    assert set(drawn(1.0)) == {1.0}
    assert sum(drawn(0.3)) / 200 == pytest.approx(0.3, abs=0.1)
    assert drawn(0.3) == drawn(0.3)
    assert drawn(0.3) != drawn(0.3, seed=1)
