"""How a model's frontal picture of a person follows when expressions alone go from 0 to 1."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.metrics import change_response
from hidenerf.training.trial import Trial

# Actions that stand for one expression.
EXPRESSIONS = {
    "jawOpen": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "pucker": ("mouthPucker",),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
# An expression that changes less than this of a picture (mean square) does not show, and has no response.
_VISIBLE_CHANGE = 1e-6


def expression_responses(
    trial: Trial, expressions: Mapping[str, Sequence[str]], people: int
) -> list[dict[str, tuple[float, float]]]:
    """For each of the first held-out people, `change_response` by expression; without those that do not show."""
    names = trial.face_model.expression_names
    # The first picture of each person is the one at rest.
    chosen = {"": (), **expressions}
    pairs = [
        dataclasses.replace(
            trial.person(index), expression=np.isin(names, actions).astype(np.float32), camera=canonical_camera()
        )
        for index in range(people)
        for actions in chosen.values()
    ]
    pictures = (
        picture
        for _, batch in trial.batches(pairs, "expressions")
        for picture in zip(batch.target, trial.output(batch).frame.clamp(0, 1), strict=True)
    )
    responses: list[dict[str, tuple[float, float]]] = []
    for name, (truth, frame) in zip(itertools.cycle(chosen), pictures, strict=False):
        if not name:
            rest_truth, rest_frame = truth, frame
            responses.append({})
        elif (truth - rest_truth).square().mean() >= _VISIBLE_CHANGE:
            responses[-1][name] = change_response(frame - rest_frame, truth - rest_truth)
    return responses
