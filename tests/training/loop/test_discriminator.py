"""The discriminators' shapes, their condition, and their losses by hand."""

import math

import pytest
import torch
from torch import Tensor

from hidenerf.training.loop.discriminator import Discriminator, discriminator_loss, generator_loss, r1_penalty
from tests.support.tiny_training import tiny_batch


@pytest.mark.parametrize("size", [16, 64, 256])
def test_one_logit_a_picture_from_every_pixel(size: int) -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, size, size, requires_grad=True)
    logits = Discriminator(size)(picture, tiny_batch(2).camera)
    assert logits.shape == (2,)
    logits.sum().backward()
    assert picture.grad is not None
    assert (picture.grad.abs().amax(1) > 0).float().mean() > 0.99


def test_the_camera_is_a_condition() -> None:
    torch.manual_seed(0)
    discriminator, batch = Discriminator(32), tiny_batch(2)
    with torch.no_grad():
        one = discriminator(batch.target, batch.camera)
        other = discriminator(batch.target, batch.camera + 0.5)
    assert (one - other).abs().min() > 1e-4


def test_logistic_losses_by_hand() -> None:
    zero = torch.zeros(3)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(torch.full((1,), 20.0)).item() < 1e-6
    assert discriminator_loss(torch.full((1,), 20.0), torch.full((1,), -20.0)).item() < 1e-6


class Linear(Discriminator):
    """Twice the sum of all pixels."""

    def forward(self, picture: Tensor, camera: Tensor) -> Tensor:  # noqa: ARG002
        return 2 * picture.sum((1, 2, 3))


def test_r1_is_half_the_squared_length_of_the_slope() -> None:
    picture = torch.rand(2, 3, 16, 16)
    assert r1_penalty(Linear(16), picture, torch.zeros(2, 25)).item() == pytest.approx(0.5 * 4 * 3 * 256)


def test_r1_reaches_the_weights() -> None:
    torch.manual_seed(0)
    discriminator, batch = Discriminator(32), tiny_batch(2)
    r1_penalty(discriminator, batch.target, batch.camera).backward()
    assert discriminator.stem.weight.grad is not None
    assert discriminator.stem.weight.grad.abs().max() > 0
