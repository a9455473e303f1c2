"""The refine network trained alone: what it is given, that it learns, and that nothing else changes."""

import copy
import logging
from pathlib import Path

import pytest
import torch

from hidenerf.model.checkpoint import load_checkpoint
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_pair
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.refiner_tuning import RefinerPairs, RefinerTuning, refiner_inputs, refiner_pairs
from tests.support.tiny import tiny_model
from tests.support.tiny_training import tiny_batch


def tiny_pairs(count: int = 4) -> RefinerPairs:
    """What the tiny model makes of smooth squares."""
    with torch.no_grad():
        return refiner_inputs(tiny_model(), tiny_batch(count))


def test_it_learns_and_only_refiner_and_id_encoder_change() -> None:
    model = tiny_model()
    before = copy.deepcopy(dict(model.named_parameters()))
    config = TrainingConfig(steps=40, batch_size=4, learning_rate=5e-3, ema_decay=0.5)
    tuning = RefinerTuning(model, tiny_pairs(), config)
    terms = [tuning.step() for _ in range(config.steps)]
    assert terms[-1]["absolute_refined"] < 0.7 * terms[0]["absolute_refined"]
    after = tuning.tuned(0.0).named_parameters()
    changed = {name.split(".")[0] for name, values in after if not torch.equal(values, before[name])}
    assert changed == {"refiner", "id_encoder"}


@pytest.mark.slow
def test_the_tuned_model_draws_what_was_learned() -> None:
    """In evaluation mode and single precision, with the EMA's own statistics."""
    pairs = tiny_pairs()
    config = TrainingConfig(steps=60, batch_size=4, learning_rate=5e-3, ema_decay=0.5)
    tuning = RefinerTuning(tiny_model(), pairs, config)
    terms = [tuning.step() for _ in range(config.steps)]
    model = tuning.tuned(0.0)
    assert not any(module.training for module in model.modules())
    some = pairs.chosen(torch.arange(4))
    with torch.no_grad():
        frame, _ = model.refiner(some.rendered, some.rendered_alpha, model.id_encoder(some.source_image))
    weight = 1 + some.mask + 5 * some.region
    error = float(((frame - some.target).abs() * weight).mean())
    assert error == pytest.approx(terms[-1]["absolute_refined"], rel=0.25)


def test_a_share_of_the_weights_before_is_kept() -> None:
    model = tiny_model()
    before = model.refiner.head.weight.detach().clone()
    tuning = RefinerTuning(model, tiny_pairs(), TrainingConfig(steps=5, batch_size=2, ema_decay=0.5))
    for _ in range(5):
        tuning.step()
    after, between, all_before = (tuning.tuned(share).refiner.head.weight for share in (0.0, 0.25, 1.0))
    assert not torch.equal(after, before)
    torch.testing.assert_close(between, 0.75 * after + 0.25 * before)
    torch.testing.assert_close(all_before, before)


def test_a_gradient_that_is_not_finite_ends_it() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.refiner.head.weight[0] = float("nan")
    tuning = RefinerTuning(model, tiny_pairs(), TrainingConfig(steps=2, batch_size=2))
    with pytest.raises(HideNerfError, match=r"^Step 1: the gradient is not finite; give a learning_rate below 0\.001"):
        tuning.step()


def test_pairs_are_those_of_the_seed_both_ways(small_checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of five people, who do not all fit into what is drawn at once."""
    model = load_checkpoint(small_checkpoint)
    with caplog.at_level(logging.INFO, "hidenerf.training"):
        pairs = refiner_pairs(model, 5, 7, 1)
    assert len(pairs.target) == 10
    assert caplog.messages[-1] == "pairs: 10 of 10"
    mesh = load_head_mesh().face_model
    chosen = [make_pair(mesh, number, 7) for number in (0, 4)]
    batch = render_pairs(model.config, torch.device("cpu"), chosen)
    with torch.no_grad():
        output = model(batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving, batch.camera)
    # Four people one way, the same ones the other way, then the fifth.
    one_way, other_way = pairs.chosen(torch.tensor([0, 8])), pairs.chosen(torch.tensor([4, 9]))
    pictures = batch.source_image, output.rendered, output.rendered_alpha, batch.target, batch.mask, batch.region
    for found, expected in zip(one_way, pictures, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(other_way.source_image, batch.target)
    assert torch.equal(other_way.target, batch.source_image)
    assert torch.equal(other_way.mask, batch.source_mask)
    # The second picture of a person, not the first one again.
    assert (other_way.rendered - one_way.rendered).abs().amax((1, 2, 3)).min() > 1e-2


def test_a_model_that_renders_no_numbers_is_refused(small_checkpoint: Path) -> None:
    model = load_checkpoint(small_checkpoint)
    with torch.no_grad():
        model.renderer.second.bias[0] = float("nan")
    with pytest.raises(HideNerfError, match="renders values that are not finite"):
        refiner_pairs(model, 1, 0, 1)
