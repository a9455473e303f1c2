"""The enlarger: it begins as bilinear enlargement, and puts each change where its pixel is."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from hidenerf.model.enlarger import Enlarger, Refined, enlarger_input
from hidenerf.model.growth import grown
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import TINY, TINY_ENLARGED, aligned_model, enlarged_model, tiny_inputs


def some_refined(seed: int = 0) -> tuple[Refined, torch.Tensor, torch.Tensor]:
    refined, features, own, shown = some_pixels(seed)
    return refined, features, enlarger_input(own, shown)


def some_pixels(seed: int = 0) -> tuple[Refined, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    picture, logit, features = (torch.rand(1, channels, 4, 4, generator=generator) for channels in (4, 1, 3))
    own, shown = (torch.rand(1, channels, 8, 8, generator=generator) for channels in (3, 1))
    return Refined(picture, logit), features, own, shown


def test_it_begins_as_bilinear_enlargement() -> None:
    refined, *others = some_refined()
    larger = Enlarger(3, 6)(refined, *others)
    for small, large in zip(refined, larger, strict=True):
        torch.testing.assert_close(large, F.interpolate(small, scale_factor=2, mode="bilinear"))


def test_channels_become_the_four_pixels_row_by_row() -> None:
    """A change by biases alone: colour c of pixel (row, column) in each 2 × 2 is bias 4c + 2 row + column."""
    enlarger = Enlarger(3, 6)
    with torch.no_grad():
        enlarger.change.bias.copy_(torch.arange(20.0))  # type: ignore[union-attr]
    zero = Refined(torch.zeros(1, 4, 4, 4), torch.zeros(1, 1, 4, 4))
    larger = torch.cat(enlarger(zero, *some_refined()[1:]), 1)
    for channel in range(5):
        expected = torch.tensor([[0.0, 1.0], [2.0, 3.0]]) + 4 * channel
        torch.testing.assert_close(larger[0, channel], expected.repeat(4, 4))


def test_what_the_source_does_not_show_is_not_seen() -> None:
    enlarger = Enlarger(3, 6)
    torch.nn.init.normal_(enlarger.change.weight)
    refined, features, own, shown = some_pixels()
    hidden = torch.zeros_like(shown)
    for seen, same in ((hidden, True), (shown, False)):
        one, other = (enlarger(refined, features, enlarger_input(pixels, seen)).picture for pixels in (own, 1 - own))
        assert torch.equal(one, other) == same


def test_a_grown_enlarger_draws_the_small_models_alpha_at_twice_its_side() -> None:
    """The networks see means of the source picture, and what was sampled of the source is averaged again."""
    small = aligned_model("maps and picture", 3)
    large, said = grown(small, TINY_ENLARGED)
    assert "refiner.enlarger.first.weight" in said
    inputs = tiny_inputs(image_size=64)
    halved = {name: F.avg_pool2d(inputs[name], 2) for name in ("source_image", "face_sight")}
    with torch.no_grad():
        drawn, before = large(**inputs), small(**inputs | halved)
    assert drawn.frame.shape == (1, 3, 64, 64)
    # Not exactly: the mean of samples at four places is not the sample at their mean.
    enlarged = F.interpolate(before.alpha, scale_factor=2, mode="bilinear")
    error = (drawn.alpha - enlarged).abs().mean()
    assert error < 0.1 * before.alpha.std()


def test_every_part_of_it_learns() -> None:
    model = enlarged_model().train()
    output = model(**tiny_inputs(batch=2, image_size=64))
    output.frame.square().mean().backward()
    for name, parameter in model.refiner.named_parameters():
        if name.startswith("enlarger"):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("change", [{"alignment": "maps"}, {"image_size": 65}])
def test_a_config_that_cannot_have_one_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(HideNerfError, match=r"enlarger_width needs|plane_sizes"):
        dataclasses.replace(TINY_ENLARGED, **change)


def test_an_enlarger_cannot_begin_with_networks_of_another_size() -> None:
    wrong = dataclasses.replace(TINY_ENLARGED, image_size=128, render_size=32, secc_size=64, plane_sizes=(16, 32))
    with pytest.raises(HideNerfError, match="other sizes"):
        grown(aligned_model("maps and picture", 3), wrong)
    assert TINY.working_size == TINY.image_size == TINY_ENLARGED.working_size
