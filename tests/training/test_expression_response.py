"""Responses of a model whose picture is the driving SECC itself."""

import pytest
import torch
from torch import Tensor, nn

from hidenerf.model.hidenerf import Output
from hidenerf.training.expression_response import expression_responses
from hidenerf.training.people import Pair, make_held_out_pair
from hidenerf.training.trial import Trial
from tests.model.tiny import TINY

CPU = torch.device("cpu")
CHOSEN = {"jaw": ("jawOpen",), "pucker": ("mouthPucker",)}


class Oracle(nn.Module):
    """Stands where a model stands, and draws from the driving SECC alone: its picture is the SECC."""

    config = TINY

    def forward(
        self, source: Tensor, source_camera: Tensor, canonical: Tensor, driving: Tensor, camera: Tensor
    ) -> Output:
        del source, source_camera, canonical, camera
        return Output(frame=driving, alpha=driving, rendered=driving, rendered_alpha=driving, deformation=driving)


class OthersFirst(Trial):
    """A trial whose first person is the second."""

    def person(self, index: int) -> Pair:
        return make_held_out_pair(self.face_model, index + 1)


def responses(kind: type[Trial], people: int, **chosen: tuple[str, ...]) -> list[dict[str, tuple[float, float]]]:
    return expression_responses(kind(Oracle(), CPU, lambda _: None), chosen, people)  # type: ignore[arg-type]


def test_what_the_secc_shows_has_a_response_and_nothing_has_none() -> None:
    (found,) = responses(Trial, 1, jaw=("jawOpen",), nothing=())
    assert found.keys() == {"jaw"}
    correlation, gain = found["jaw"]
    assert 0 < abs(correlation) < 1
    assert gain != 0


def test_responses_are_of_each_person_against_the_same_person_at_rest() -> None:
    """Batches reach over both people."""
    (first,), (second,) = responses(Trial, 1, **CHOSEN), responses(OthersFirst, 1, **CHOSEN)
    together = responses(Trial, 2, **CHOSEN)
    assert first["jaw"] != second["jaw"]
    for found, wanted in zip(together, (first, second), strict=True):
        for name in CHOSEN:
            assert found[name] == pytest.approx(wanted[name], abs=1e-6)
