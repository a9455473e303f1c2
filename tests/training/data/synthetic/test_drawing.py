"""Pairs drawn by processes are the pairs drawn on the spot."""

import numpy as np
import pytest
import torch

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.synthetic.drawing import PairDrawing
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_held_out_pair
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from tests.support.tiny import TINY, tiny_model

CPU = torch.device("cpu")


def test_processes_draw_the_same_pairs_in_order() -> None:
    pairs = [make_held_out_pair(load_head_mesh().face_model, index) for index in range(6)]
    with PairDrawing(TINY.image_size, TINY.secc_size, DEFAULT_SECCS, 2) as drawing:
        found = list(HeldOutEvaluation(tiny_model(), CPU, drawing=drawing).batches(pairs, "pairs"))
    assert [len(some) for some, _ in found] == [4, 2]
    for start, (some, batch) in zip((0, 4), found, strict=True):
        assert some == pairs[start : start + 4]
        for values, expected in zip(batch, render_pairs(TINY, CPU, some), strict=True):
            assert torch.equal(values, expected)


def test_a_process_that_dies_is_one_sentence() -> None:
    pair = make_held_out_pair(load_head_mesh().face_model, 0)
    with PairDrawing(TINY.image_size, TINY.secc_size, DEFAULT_SECCS, 1) as drawing:
        (first,) = drawing.rows([[pair]])
        assert np.count_nonzero(first)
        (worker,) = drawing._workers._workers
        worker.process.kill()
        with pytest.raises(HideNerfError, match="A process that draws pairs ended with code -9"):
            list(drawing.rows([[pair]] * 3))
