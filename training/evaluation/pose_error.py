"""Pose error: angles between heads in images and their truths, found by rendering the true heads turned."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.runtime.camera import turn_head
from hidenerf.training.data.synthetic.people import Pair
from hidenerf.training.evaluation.held_out import HeldOutEvaluation

POSE_AXES = ("yaw", "pitch", "roll")
# Turns of the true head, degrees, among which the pose of a picture is found.
POSE_TURNS = (-4.0, -2.0, 0.0, 2.0, 4.0)


def pose_errors(held_out: HeldOutEvaluation, pairs: Sequence[Pair], frames: Tensor) -> NDArray[np.float64]:
    """Pose errors [3, B] by axis, degrees: the turn of the true head that fits a frame best in mean square.

    pairs: whose targets are the truths.
    frames: [B, 3, S, S].
    """
    turned = [turned_target(pair, axis, turn) for axis in POSE_AXES for turn in POSE_TURNS for pair in pairs]
    repeated = itertools.cycle(frames)
    mismatch = [
        (frame - truth).square().mean()
        for _, batch in held_out.batches(turned, "poses")
        for truth, frame in zip(batch.target, repeated, strict=False)
    ]
    table = torch.stack(mismatch).reshape(len(POSE_AXES), len(POSE_TURNS), len(pairs)).cpu().numpy()
    return np.stack([best_turn(of_axis.T.astype(np.float64)) for of_axis in table])


def turned_target(pair: Pair, axis: str, degrees: float) -> Pair:
    """The pair with its target's head rotated in place. axis: of POSE_AXES. degrees: added to the angle."""
    angles = {name: degrees if name == axis else 0.0 for name in POSE_AXES}
    return dataclasses.replace(pair, camera=turn_head(pair.camera, **angles))


def best_turn(mismatch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns [B], degrees, with the smallest mismatch.

    A parabola through the smallest mismatch and its neighbours interpolates, at most one step beyond the ends.
    mismatch: [B, turns], at POSE_TURNS, which are evenly spaced.
    """
    step = POSE_TURNS[1] - POSE_TURNS[0]
    middle = mismatch.argmin(1).clip(1, len(POSE_TURNS) - 2)
    before, at, after = (mismatch[np.arange(len(mismatch)), middle + offset] for offset in (-1, 0, 1))
    curvature = np.maximum(before - 2 * at + after, 1e-12)
    turn = np.array(POSE_TURNS)[middle] + step * 0.5 * (before - after) / curvature
    return turn.clip(POSE_TURNS[0] - step, POSE_TURNS[-1] + step)
