"""SPADE's fold, the refine network with folded maps, and the ID encoder."""

import pytest
import torch
from torch.nn import functional as F

from hidenerf.model.refinement import Spade
from tests.support.tiny import TINY, randomise_norms, tiny_inputs, tiny_model


def random_spade() -> Spade:
    torch.manual_seed(4)
    spade = Spade(channels=5, identity_channels=3, width=6)
    randomise_norms(spade, 5)
    return spade.eval()


def test_spade_by_its_definition() -> None:
    spade = random_spade()
    x, identity = torch.randn(2, 5, 8, 8), torch.randn(2, 3, 8, 8)
    assert spade.norm.running_mean is not None
    assert spade.norm.running_var is not None
    with torch.no_grad():
        shared = F.leaky_relu(F.conv2d(identity, spade.shared[0].weight, spade.shared[0].bias, padding=1), 0.1)
        gamma = F.conv2d(shared, spade.gamma.weight, spade.gamma.bias, padding=1)
        beta = F.conv2d(shared, spade.beta.weight, spade.beta.bias, padding=1)
        mean, deviation = (
            spade.norm.running_mean[:, None, None],
            (spade.norm.running_var + spade.norm.eps).sqrt()[:, None, None],
        )
        torch.testing.assert_close(spade(x, identity), (x - mean) / deviation * (1 + gamma) + beta)


def test_a_folded_spade_is_the_same_multiply_add() -> None:
    spade = random_spade()
    x, identity = torch.randn(2, 5, 8, 8) * 3, torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        gamma, beta = spade.fold(identity)
        assert gamma.shape == beta.shape == x.shape
        torch.testing.assert_close(x * gamma + beta, spade(x, identity), atol=1e-5, rtol=1e-5)


def test_spades_inner_norm_has_no_weights_of_its_own() -> None:
    assert list(random_spade().norm.parameters()) == []


def test_the_refiner_with_folded_maps_is_the_refiner() -> None:
    model = tiny_model()
    source = tiny_inputs()["source_image"]
    rendered = torch.rand(1, TINY.render_channels, TINY.render_size, TINY.render_size)
    rendered_alpha = torch.rand(1, 1, TINY.render_size, TINY.render_size)
    with torch.no_grad():
        identity = model.id_encoder(source)
        maps = model.refiner.fold(identity)
        frame, alpha = model.refiner(rendered, rendered_alpha, identity)
        folded = model.refiner.forward_folded(rendered, rendered_alpha, maps)
    assert frame.shape == (1, 3, TINY.image_size, TINY.image_size)
    assert alpha.shape == (1, 1, TINY.image_size, TINY.image_size)
    assert len(maps) == 2 * len(TINY.refiner_channels)
    torch.testing.assert_close(folded, (frame, alpha), atol=2e-5, rtol=1e-5)
    unmodulated = [(torch.ones_like(gamma), torch.zeros_like(beta)) for gamma, beta in maps]
    with torch.no_grad():
        other, _ = model.refiner.forward_folded(rendered, rendered_alpha, unmodulated)
    assert (other - frame).abs().max() > 1e-2


def test_identity_maps_come_finest_first_at_every_scale_of_the_decoder() -> None:
    with torch.no_grad():
        maps = tiny_model().id_encoder(tiny_inputs()["source_image"])
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 32, 32), (5, 16, 16), (6, 8, 8), (7, 4, 4)]


def test_maps_stand_in_the_order_in_which_they_run() -> None:
    model = tiny_model()
    with torch.no_grad():
        maps = model.refiner.fold(model.id_encoder(tiny_inputs()["source_image"]))
    shapes = [tuple(gamma.shape[1:]) for gamma, _ in maps]
    assert shapes == [
        (10, 4, 4),
        (10, 4, 4),
        (10, 8, 8),
        (8, 8, 8),
        (8, 16, 16),
        (6, 16, 16),
        (6, 32, 32),
        (5, 32, 32),
    ]


def test_without_its_head_the_refiner_enlarges_the_rendered_colours_and_alpha() -> None:
    refiner = tiny_model().refiner
    rendered = torch.full((1, TINY.render_channels, TINY.render_size, TINY.render_size), 0.25)
    rendered[:, 3:] = 0.75
    with torch.no_grad():
        refiner.head.weight.zero_()
        refiner.head.bias.copy_(torch.tensor([0.5, 0.0, -0.25, -0.5]))  # type: ignore[union-attr]
        identity = tiny_model().id_encoder(tiny_inputs()["source_image"])
        frame, alpha = refiner(rendered, torch.ones(1, 1, TINY.render_size, TINY.render_size), identity)
    assert frame.shape == (1, 3, TINY.image_size, TINY.image_size)
    for channel, value in zip((*frame[0], alpha[0, 0]), (0.75, 0.25, 0.0, 0.5), strict=True):
        assert channel.flatten().tolist() == pytest.approx([value] * TINY.image_size**2)
