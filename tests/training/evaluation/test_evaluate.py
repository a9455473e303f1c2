"""The evaluation: trivial pictures, responses and poses whose figures are known, and the page."""

import pytest
import torch

from hidenerf.model.hidenerf import Output
from hidenerf.training.evaluation.evaluate import Evaluation, candidates
from hidenerf.training.evaluation.expression_response import expression_responses
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.scores import Metrics
from tests.support.tiny import tiny_model
from tests.support.tiny_training import tiny_batch

CPU = torch.device("cpu")


def test_trivial_pictures_by_hand() -> None:
    batch = tiny_batch(1)
    source = torch.zeros(1, 3, 32, 32)
    source[:, :, :16] = 0.8
    half = torch.zeros(1, 1, 32, 32)
    half[:, :, :16] = 1
    batch = batch._replace(source_image=source, source_mask=half)
    output = Output(
        frame=torch.full((1, 3, 32, 32), 1.5),
        alpha=torch.full((1, 1, 32, 32), 0.25),
        # Channels beyond the colours are features.
        rendered=torch.cat([torch.full((1, 3, 16, 16), 0.5), torch.full((1, 4, 16, 16), 9.0)], 1),
        rendered_alpha=torch.full((1, 1, 16, 16), 0.75),
        deformation=torch.zeros(1, 18, 16, 16),
        place=torch.zeros(1, 3, 16, 16),
    )
    found = candidates(batch, output)
    assert found["refined"][0].unique().tolist() == [1.0]
    assert found["refined"][1].unique().tolist() == [0.25]
    assert [values.shape for values in found["rendered, enlarged"]] == [(1, 3, 32, 32), (1, 1, 32, 32)]
    assert [values.unique().tolist() for values in found["rendered, enlarged"]] == [[0.5], [0.75]]
    assert torch.equal(found["the source itself"][0], source)
    assert torch.equal(found["the source itself"][1], half)
    inside = batch.mask.bool().expand(-1, 3, -1, -1)
    mean = found["mean colour in the true mask"][0]
    assert mean[inside].unique().tolist() == pytest.approx([0.8])
    assert mean[~inside].unique().tolist() == [0.0]
    assert found["mean colour everywhere"][0].unique().tolist() == pytest.approx([0.4])


def test_expressions_are_means_over_the_people_they_show_on() -> None:
    held_out = HeldOutEvaluation(tiny_model(), CPU)
    chosen = {"jaw": ("jawOpen",), "nothing": ()}
    found = Evaluation(held_out, Metrics()).expressions(chosen, 2)
    first, second = (responses["jaw"] for responses in expression_responses(held_out, chosen, 2))
    assert found.keys() == {"jaw"}
    assert found["jaw"].correlation == pytest.approx((first[0] + second[0]) / 2)
    assert found["jaw"].gain == pytest.approx((first[1] + second[1]) / 2)
