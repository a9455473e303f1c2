import numpy as np
import pytest
import torch

from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.pose_error import POSE_TURNS, best_turn, pose_errors, turned_target
from tests.support.tiny import TINY, tiny_model

CPU = torch.device("cpu")


def test_the_best_turn_lies_between_the_turns_or_just_beyond() -> None:
    turns = np.array(POSE_TURNS)
    mismatch = np.stack([(turns - 1.25) ** 2 + 7, np.abs(turns + 3), 3 * (turns + 30) ** 2, -turns])
    assert best_turn(mismatch).tolist() == pytest.approx([1.25, -3.0, -6.0, 6.0])


@pytest.mark.parametrize("axis", ["yaw", "roll"])
def test_poses_of_turned_heads_are_found(axis: str) -> None:
    held_out = HeldOutEvaluation(tiny_model(), CPU)
    pairs = [held_out.person(index) for index in (0, 2)]
    frames = render_pairs(TINY, CPU, [turned_target(pair, axis, 3.0) for pair in pairs]).target
    found = dict(zip(("yaw", "pitch", "roll"), pose_errors(held_out, pairs, frames), strict=True))
    assert found[axis].tolist() == pytest.approx([3.0, 3.0], abs=0.5)
    for other in found.keys() - {axis}:
        # One axis is tried at a time, and a head turned sideways that rolls looks a little as if it turned.
        assert np.abs(found[other]).max() < 2.5
