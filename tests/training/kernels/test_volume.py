"""The fused sum of products against the model's own function, in FP64: on a GPU, or in Triton's interpreter."""

import copy

import pytest
import torch

from hidenerf.model.appearance import VolumeHead
from hidenerf.training.kernels.volume import FastVolumeHead, use_fast_volumes
from tests.support.tiny import tiny_inputs, tiny_model
from tests.support.triton_tests import EXACT


@pytest.mark.parametrize(("channels", "depth", "terms"), [(4, 8, 4), (3, 5, 2), (1, 1, 1)])
def test_volumes_and_their_gradients(device: torch.device, channels: int, depth: int, terms: int) -> None:
    """Nine pixels, so that no block fits; logits far apart, so that some weights are zero."""
    torch.manual_seed(0)
    plain, fast = VolumeHead(6, channels, depth, terms), FastVolumeHead(6, channels, depth, terms)
    features = torch.randn(1, 3, 3, terms, channels, device=device, dtype=EXACT, requires_grad=True)
    logits = (torch.randn(1, 3, 3, terms, depth, device=device, dtype=EXACT) * 30).requires_grad_()
    found, expected = fast.sum_of_products(features, logits), plain.sum_of_products(features, logits)
    assert found.grad_fn is not None
    ((step, _),) = found.grad_fn.next_functions
    assert step is not None
    assert "_Products" in step.name()
    assert found.shape == expected.shape == (1, channels, depth, 3, 3)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradient = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, [features, logits], gradient),
        torch.autograd.grad(expected, [features, logits], gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_half_precision_is_rounded_once(device: torch.device) -> None:
    """Triton's interpreter cuts off where a GPU rounds: up to 2⁻⁷ instead of 2⁻⁸."""
    torch.manual_seed(1)
    head = FastVolumeHead(6, 4, 8, 2)
    features, logits = (torch.randn(2, 3, 3, 2, n, device=device).bfloat16().requires_grad_() for n in (4, 8))
    exact = [tensor.detach().to(EXACT).requires_grad_() for tensor in (features, logits)]
    found, expected = head.sum_of_products(features, logits), VolumeHead.sum_of_products(head, *exact)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.to(EXACT), expected, atol=1e-6, rtol=2**-7)
    gradient = torch.randn_like(found)
    gradients = torch.autograd.grad(found, [features, logits], gradient)
    for one, other in zip(gradients, torch.autograd.grad(expected, exact, gradient.to(EXACT)), strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.to(EXACT) - other).norm() < 2**-7 * other.norm()


def test_a_models_planes_and_its_state_stay_as_they_are(device: torch.device) -> None:
    model = tiny_model().to(device, EXACT)
    changed = copy.deepcopy(model)
    use_fast_volumes(changed)
    assert list(changed.state_dict()) == list(model.state_dict())
    inputs = tiny_inputs(2)
    arguments = inputs["source_image"].to(device, EXACT), inputs["source_camera"].to(device, EXACT)
    found, expected = changed.appearance(*arguments), model.appearance(*arguments)
    assert all(isinstance(head, FastVolumeHead) for head in changed.appearance.volume_heads)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    for planes in (found, expected):
        torch.stack([plane.square().sum() for plane in planes]).sum().backward()
    for parameter, twin in zip(changed.appearance.parameters(), model.appearance.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, atol=1e-9, rtol=1e-9)
