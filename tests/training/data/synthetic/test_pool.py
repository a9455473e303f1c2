"""The pool: the oldest make room, every pair is one that was put in, and errors reach who waits."""

import threading

import pytest
import torch

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.synthetic.geometry import SeccChoice
from hidenerf.training.data.synthetic.image_pairs import ImagePairs
from hidenerf.training.data.synthetic.pool import ImagePairPool
from tests.support.tiny import TINY

CPU = torch.device("cpu")
PLAIN = SeccChoice(own_expression=False, posed=False)
SIZE, SECC = TINY.image_size, TINY.secc_size


def image_pairs(first: int, count: int = 2) -> ImagePairs:
    """People numbered from `first` on: the number is in every picture's colour, the view in its mask."""
    number = torch.arange(first, first + count, dtype=torch.uint8)[:, None, None, None, None]
    view = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None]
    return ImagePairs(
        picture=number.expand(count, 2, 3, SIZE, SIZE),
        mask=view.expand(count, 2, 1, SIZE, SIZE),
        region=view.expand(count, 2, 1, SIZE, SIZE),
        secc=torch.ones(count, 3, 3, SECC, SECC, dtype=torch.uint8),
        camera=torch.zeros(count, 2, 25),
        surface=torch.zeros(count, 2, 6, TINY.render_size, TINY.render_size, dtype=torch.float16),
        face_sight=torch.zeros(count, 2, 4, SIZE, SIZE, dtype=torch.float16),
        photographed=torch.zeros(count, dtype=torch.bool),
    )


def put(pool: ImagePairPool, new: ImagePairs) -> None:
    pool.replace(new)
    pool.publish()


def people_in(pool: ImagePairPool) -> set[int]:
    batch = pool.sample(200)
    assert torch.equal(batch.source_image, batch.target)
    # Source and target are different views, either way round.
    assert torch.equal(batch.source_mask[:, 0, 0, 0], 1 - batch.mask[:, 0, 0, 0])
    assert 0.3 < batch.mask.mean() < 0.7
    return set((255 * batch.target[:, 0, 0, 0]).round().int().tolist())


def test_the_oldest_make_room() -> None:
    pool = ImagePairPool(TINY, CPU, capacity=11, seed=0, seccs=PLAIN)
    with pytest.raises(HideNerfError, match="call warm_up first"):
        pool.sample(1)
    assert pool.chunk == 2
    put(pool, image_pairs(0))
    assert people_in(pool) == {0, 1}
    put(pool, image_pairs(2))
    assert people_in(pool) == {0, 1, 2, 3}
    pool.replace(image_pairs(4))
    assert people_in(pool) == {2, 3}
    pool.publish()
    assert people_in(pool) == {2, 3, 4, 5}
    assert pool.pairs_made == 12
    assert pool.pairs_per_second > 0


def test_the_same_seed_draws_the_same() -> None:
    def draws(seed: int) -> torch.Tensor:
        pool = ImagePairPool(TINY, CPU, capacity=32, seed=seed, seccs=PLAIN)
        put(pool, image_pairs(0, 8))
        return torch.cat([values.flatten() for values in pool.sample(20)])

    assert torch.equal(draws(1), draws(1))
    assert not torch.equal(draws(1), draws(2))


def test_warm_up_waits_for_pairs_and_errors_end_the_wait() -> None:
    pool = ImagePairPool(TINY, CPU, capacity=8, seed=0, seccs=PLAIN)

    def fill() -> None:
        put(pool, image_pairs(0))
        put(pool, image_pairs(2))

    filling = threading.Timer(0.1, fill)
    filling.start()
    # More than fit are not waited for.
    pool.warm_up(1000)
    assert people_in(pool) == {0, 1, 2, 3}
    fresh = ImagePairPool(TINY, CPU, capacity=8, seed=0, seccs=PLAIN)
    failing = threading.Timer(0.1, lambda: fresh.fail(HideNerfError("no more")))
    failing.start()
    with pytest.raises(HideNerfError, match="no more"):
        fresh.warm_up(1)
    with pytest.raises(HideNerfError, match="no more"):
        fresh.sample(1)


def test_nothing_is_published_that_was_not_put_in() -> None:
    pool = ImagePairPool(TINY, CPU, capacity=8, seed=0, seccs=PLAIN)
    pool.publish()
    put(pool, image_pairs(0))
    pool.publish()
    assert pool.pairs_made == 4
    assert people_in(pool) == {0, 1}
