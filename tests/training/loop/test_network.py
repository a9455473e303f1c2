"""The training forward pass: the model's own without noise, and the noise where it belongs."""

import pytest
import torch
from torch import Tensor

from hidenerf.model.geometry import ray_points, rays_from_camera
from hidenerf.training.loop import network
from hidenerf.training.loop.network import Noise, training_forward
from tests.support.tiny import TINY, aligned_model, tiny_inputs, tiny_model
from tests.support.tiny_training import tiny_batch


def noise(jitter: float, perturbation: float) -> Noise:
    return Noise(torch.tensor(jitter), torch.tensor(perturbation), torch.Generator().manual_seed(0))


def test_without_noise_it_is_the_models_forward() -> None:
    model = tiny_model()
    with torch.no_grad():
        found, _ = training_forward(model, tiny_batch(2, 5), None)
        expected = model(**tiny_inputs(2, 5))
    assert found.alpha.max() > 0.1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_with_an_alignment_it_is_the_models_forward_too() -> None:
    model = aligned_model("maps and picture", 3)
    with torch.no_grad():
        found, _ = training_forward(model, tiny_batch(2, 5), None)
        expected = model(**tiny_inputs(2, 5))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_led_also_runs_with_the_sources_own_expression() -> None:
    model, batch = tiny_model(), tiny_batch(3, 5)
    with torch.no_grad():
        output, at_rest = training_forward(model, batch, None, at_rest=2)
        plain, none = training_forward(model, batch, None)
        own = {"secc_driving": batch.secc_canonical, "camera": batch.source_camera}
        expected = model(**{**tiny_inputs(3, 5), **own}).deformation[:2]
    torch.testing.assert_close(at_rest, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.deformation, plain.deformation, atol=1e-5, rtol=0)
    assert len(none) == 0


class Seen:
    """The points that LED is given, and those at which the planes are looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chosen: Noise) -> None:
        model = tiny_model()
        with torch.no_grad():
            model.deformation.head.weight.zero_()
            assert model.deformation.head.bias is not None
            model.deformation.head.bias.fill_(0.2)
        looked_up: list[Tensor] = []
        plain = network.plane_features

        def spy(planes: list[Tensor], points: Tensor) -> Tensor:
            looked_up.append(points)
            return plain(planes, points)

        monkeypatch.setattr(network, "plane_features", spy)
        given: list[Tensor] = []
        model.deformation.register_forward_pre_hook(lambda _, arguments: given.append(arguments[2]))
        batch = tiny_batch(2, 5)
        with torch.no_grad():
            self.deformation = training_forward(model, batch, chosen)[0].deformation
        self.rays = rays_from_camera(batch.camera, TINY.render_size)
        self.middle, self.length = ray_points(self.rays, TINY.samples_per_ray)
        self.by_led = given[0]
        self.drawn = looked_up[0].reshape(self.middle.shape) - self.deformation.reshape(self.middle.shape)


def test_led_sees_perturbed_points_and_its_deformation_moves_the_unperturbed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Seen(monkeypatch, noise(0.0, 0.02))
    perturbation = seen.by_led - seen.middle
    assert perturbation.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(perturbation.mean().item()) < 0.001
    torch.testing.assert_close(seen.drawn, seen.middle, atol=1e-6, rtol=0)
    assert seen.deformation.abs().min() > 0.01


def test_jitter_moves_each_sample_along_its_ray_within_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch, noise(1.0, 0.0))
    torch.testing.assert_close(seen.by_led, seen.middle)
    shift = seen.drawn - seen.middle
    along = (shift * seen.rays.direction[:, None]).sum(2)
    torch.testing.assert_close(shift, along[:, :, None] * seen.rays.direction[:, None], atol=1e-6, rtol=0)
    share = along / seen.length
    inside = (seen.length > 0).expand_as(share)
    assert share[inside].min() < -0.45
    assert share[inside].max() > 0.45
    assert share[inside].abs().max() <= 0.5 + 1e-4
