"""Expression response: how a model's frontal image of a person changes when expressions alone go from 0 to 1."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.metrics import change_response
from hidenerf.training.loop.losses import resized

# Actions that stand for one expression.
EXPRESSIONS = {
    "jawOpen": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "pucker": ("mouthPucker",),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
# An expression whose mean square change of a picture is below this is not visible and has no response.
_VISIBLE_CHANGE = 1e-6


class Response(NamedTuple):
    """Response of an image to an expression.

    correlation, gain: `change_response` of the image's change.
    coarse ones: the same at the rendered image's size, without finer detail.
    coarse gain of the truth: the gain of the true change without that detail.
    """

    correlation: float
    gain: float
    coarse_correlation: float
    coarse_gain: float
    gain_of_coarse_truth: float


def expression_responses(
    held_out: HeldOutEvaluation, expressions: Mapping[str, Sequence[str]], people: int
) -> list[dict[str, Response]]:
    """Responses of the first held-out people, by expression; expressions that are not visible are left out.

    expressions: names of the actions by expression.
    people: number of people.
    """
    names = held_out.face_model.expression_names
    # The first picture of each person is the one at rest.
    chosen = {"": (), **expressions}
    pairs = [
        dataclasses.replace(
            held_out.person(index), expression=np.isin(names, actions).astype(np.float32), camera=canonical_camera()
        )
        for index in range(people)
        for actions in chosen.values()
    ]
    pictures = (
        picture
        for _, batch in held_out.batches(pairs, "expressions")
        for picture in zip(batch.target, held_out.output(batch).frame.clamp(0, 1), strict=True)
    )
    responses: list[dict[str, Response]] = []
    for name, (truth, frame) in zip(itertools.cycle(chosen), pictures, strict=False):
        if not name:
            rest_truth, rest_frame = truth, frame
            responses.append({})
        elif (truth - rest_truth).square().mean() >= _VISIBLE_CHANGE:
            responses[-1][name] = response(frame - rest_frame, truth - rest_truth, held_out.model.config.render_size)
    return responses


def response(change: Tensor, true_change: Tensor, size: int) -> Response:
    """Response of an image's change [3, S, S] to the true one [3, S, S]. size: R, of the coarse comparison."""
    coarse, true_coarse = (resized(one[None], size) for one in (change, true_change))
    enlarged = F.interpolate(true_coarse, size=change.shape[-2:], mode="bilinear", align_corners=False)[0]
    _, gain_of_coarse_truth = change_response(enlarged, true_change)
    return Response(*change_response(change, true_change), *change_response(coarse, true_coarse), gain_of_coarse_truth)
