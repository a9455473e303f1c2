"""Responses of a model whose picture is the driving SECC itself."""

import pytest
import torch
from torch import Tensor, nn

from hidenerf.model.hidenerf import Output
from hidenerf.training.data.synthetic.people import Pair, make_held_out_pair
from hidenerf.training.evaluation.expression_response import Response, expression_responses, response
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from tests.support.tiny import TINY

CPU = torch.device("cpu")
CHOSEN = {"jaw": ("jawOpen",), "pucker": ("mouthPucker",)}


class Oracle(nn.Module):
    """Stands where a model stands, and draws from the driving SECC alone: its picture is the SECC."""

    config = TINY

    def forward(
        self,
        source: Tensor,
        source_camera: Tensor,
        canonical: Tensor,
        driving: Tensor,
        camera: Tensor,
        face_sight: Tensor,
    ) -> Output:
        del source, source_camera, canonical, camera, face_sight
        return Output(
            frame=driving, alpha=driving, rendered=driving, rendered_alpha=driving, deformation=driving, place=driving
        )


class OthersFirst(HeldOutEvaluation):
    """An evaluation whose first person is the second."""

    def person(self, index: int) -> Pair:
        return make_held_out_pair(self.face_model, index + 1)


def test_a_response_with_and_without_fine_detail_by_hand() -> None:
    """Of four pixels to one, a lit one of strength 4 leaves 1; a grid of opposite signs leaves nothing."""
    true_change = torch.zeros(3, 4, 4)
    true_change[:, 0, 0] = 4.0
    grid = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2).expand(3, 4, 4)
    found = response(true_change + grid, true_change, 2)
    assert found.gain == pytest.approx(1.25)
    assert 0 < found.correlation < 1
    assert (found.coarse_correlation, found.coarse_gain) == pytest.approx((1.0, 1.0))
    # Enlarged, the corner keeps its value: 1 where the truth has 4.
    assert found.gain_of_coarse_truth == pytest.approx(0.25)


def responses(kind: type[HeldOutEvaluation], people: int, **chosen: tuple[str, ...]) -> list[dict[str, Response]]:
    return expression_responses(kind(Oracle(), CPU), chosen, people)


def test_what_the_secc_shows_has_a_response_and_nothing_has_none() -> None:
    (found,) = responses(HeldOutEvaluation, 1, jaw=("jawOpen",), nothing=())
    assert found.keys() == {"jaw"}
    assert 0 < abs(found["jaw"].correlation) < 1
    assert found["jaw"].gain != 0


def test_responses_are_of_each_person_against_the_same_person_at_rest() -> None:
    """Batches reach over both people."""
    (first,), (second,) = responses(HeldOutEvaluation, 1, **CHOSEN), responses(OthersFirst, 1, **CHOSEN)
    together = responses(HeldOutEvaluation, 2, **CHOSEN)
    assert first["jaw"] != second["jaw"]
    for found, expected in zip(together, (first, second), strict=True):
        for name in CHOSEN:
            assert found[name] == pytest.approx(expected[name], abs=1e-6)
