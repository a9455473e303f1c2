"""The fused MLP and compositing against PyTorch's own functions, in FP64: on a GPU, or in Triton's interpreter."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from hidenerf.model.rendering import Renderer
from hidenerf.training.kernels import field
from hidenerf.training.kernels.field import Mlp, plain_field, render_field
from tests.support.tiny import TINY, tiny_model
from tests.support.triton_tests import EXACT, GPU

# Triton's interpreter multiplies no bfloat16.
HALF = torch.bfloat16 if GPU else torch.float16


@pytest.fixture
def device(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """16 rays a program, so that 37 do not fit."""
    monkeypatch.setattr(field, "BLOCK", 16)
    return device


class Case(NamedTuple):
    renderer: Renderer
    features: Tensor
    points: Tensor
    moved: Tensor
    length: Tensor

    @staticmethod
    def of(device: torch.device, kind: torch.dtype) -> "Case":
        """A head of medium opacity; no size is a power of two."""
        torch.manual_seed(0)
        renderer = tiny_model().renderer.to(device, EXACT)
        channels = len(TINY.plane_sizes) * TINY.plane_channels
        features = torch.randn(2, 5, 37, channels, device=device).to(kind).requires_grad_()
        points = torch.rand(2, 5, 3, 37, device=device, dtype=torch.float32) * 2.4 - 1.2
        moved = torch.rand(2, 5, 3, 37, device=device, dtype=torch.float32) * 2.4 - 1.2
        length = torch.rand(2, 1, 37, device=device, dtype=torch.float32) * 0.2
        if kind != EXACT:
            return Case(renderer.float(), features, points, moved.requires_grad_(), length)
        return Case(renderer, features, points.to(EXACT), moved.to(EXACT).requires_grad_(), length.to(EXACT))

    def exact(self) -> "Case":
        features, points, moved, length = (tensor.detach().to(EXACT) for tensor in self[1:])
        renderer = tiny_model().renderer.to(features.device, EXACT)
        return Case(renderer, features.requires_grad_(), points, moved.requires_grad_(), length)

    def fused(self) -> tuple[Tensor, Tensor, Tensor]:
        outputs = render_field(*self[1:], Mlp.of(self.renderer), self.renderer.octaves)
        assert outputs[1].grad_fn is not None
        assert "_Field" in outputs[1].grad_fn.name()
        return outputs

    def plain(self) -> tuple[Tensor, Tensor, Tensor]:
        return plain_field(*self[1:], Mlp.of(self.renderer), self.renderer.octaves)

    def gradients(self, outputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        of_outputs = [torch.randn(out.shape, device=out.device, dtype=EXACT).to(out.dtype) for out in outputs]
        return torch.autograd.grad(outputs, [self.features, self.moved, *self.renderer.parameters()], of_outputs)


def test_picture_alpha_place_and_all_gradients(device: torch.device) -> None:
    case = Case.of(device, EXACT)
    found, expected = case.fused(), case.plain()
    assert 0.1 < expected[1].mean() < 0.9
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    for one, other in zip(case.gradients(found), case.gradients(expected), strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_an_opaque_ray_and_an_empty_one(device: torch.device) -> None:
    """Densities far beyond where e^x overflows, of either sign; by hand, the first sample's colour or nothing."""
    renderer = Case.of(device, EXACT).renderer
    with torch.no_grad():
        for layer in (renderer.first, renderer.second):
            layer.weight.zero_()
            layer.bias.zero_()
        renderer.first.weight[0, 0] = 1.0
        renderer.second.weight[-1, 0] = 1.0
        renderer.second.bias[0] = 1.0
        renderer.second.bias[-1] = -500.0
    features = torch.zeros(1, 3, 2, 8, device=device, dtype=EXACT)
    features[0, :, 0, 0] = 1000.0
    features.requires_grad_()
    points = torch.zeros(1, 3, 3, 2, device=device, dtype=EXACT)
    length = torch.full((1, 1, 2), 0.1, device=device, dtype=EXACT)
    moved = torch.arange(18, device=device, dtype=EXACT).reshape(1, 3, 3, 2)
    rendered, alpha, place = Case(renderer, features, points, moved, length).fused()
    assert alpha.tolist() == [[1.0, 0.0]]
    assert rendered[0, 0].tolist() == pytest.approx([1 / (1 + 2.718281828**-1), 0.0], abs=1e-6)
    torch.testing.assert_close(place[0], torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=EXACT).to(device))
    (gradient,) = torch.autograd.grad(rendered.sum() + alpha.sum(), features)
    assert gradient.abs().max() < 1e-200


def test_half_precision_is_as_good_as_pytorchs(device: torch.device) -> None:
    case = Case.of(device, HALF)
    truth = case.exact()
    with torch.autocast(device.type, HALF):
        fused, plain = case.fused(), case.plain()
    exact = truth.plain()
    assert [out.dtype for out in fused] == 3 * [torch.float32]
    found, usual, expected = case.gradients(fused), case.gradients(plain), truth.gradients(exact)
    assert [one.dtype for one in found] == [one.dtype for one in usual]
    for one, other, true in zip((*fused, *found), (*plain, *usual), (*exact, *expected), strict=True):
        error, usual_error = ((each.to(EXACT) - true).norm() / true.norm() for each in (one, other))
        assert error < 1.2 * usual_error
        assert usual_error < 0.1
