"""The fused norms against PyTorch's own functions, in FP64: on a GPU, or in Triton's interpreter."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.export.graph_modules import fold_batch_norms
from hidenerf.model.hidenerf import HideNerf, Output
from hidenerf.model.layers import LEAK, ConvBlock
from hidenerf.model.refinement import Spade
from hidenerf.training.kernels import norm as fused
from hidenerf.training.kernels.norm import batch_norm_leaky, spade_leaky, use_fused_norms
from tests.support.tiny import aligned_model, randomise_norms, tiny_inputs, tiny_model
from tests.support.triton_tests import EXACT


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several programs, steps and blocks of channels for the small maps here, none of them full at the end."""
    monkeypatch.setattr(fused, "TILE", 16)
    monkeypatch.setattr(fused, "PARTS", 6)
    monkeypatch.setattr(fused, "WIDTH", 4)


def two_norms(channels: int, device: torch.device) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    norm = nn.BatchNorm2d(channels).to(device, EXACT)
    randomise_norms(norm, 0)
    return norm, copy.deepcopy(norm)


def random_map(channels: int, device: torch.device, kind: torch.dtype = EXACT) -> Tensor:
    """Seven times nine rows, so that no tile fits; some values are equal."""
    values = torch.randn(7, channels, 3, 3, device=device, dtype=kind) * 2.0 + 0.5
    return values.clamp_min(-1.0).to(memory_format=torch.channels_last)


def assert_same_gradients(one: Tensor, other: Tensor, inputs: list[Tensor], of_other: list[Tensor]) -> None:
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    gradient = torch.randn_like(other)
    found, expected = torch.autograd.grad(one, inputs, gradient), torch.autograd.grad(other, of_other, gradient)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("channels", [3, 5, 8])
@pytest.mark.parametrize("with_residual", [False, True])
def test_a_norm_and_its_gradients(device: torch.device, channels: int, with_residual: bool) -> None:
    torch.manual_seed(channels)
    norm, plain = two_norms(channels, device)
    x = random_map(channels, device).requires_grad_()
    residual = random_map(channels, device).requires_grad_()
    maps = [x, residual] if with_residual else [x]
    one = batch_norm_leaky(x, norm, residual if with_residual else None)
    other = F.leaky_relu(plain(x) + residual if with_residual else plain(x), LEAK)
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert_same_gradients(one, other, [*maps, *norm.parameters()], [*maps, *plain.parameters()])


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize(("channels", "width"), [(5, 3), (6, 12), (16, 8)])
def test_spade_and_its_gradients_in_pieces(device: torch.device, channels: int, width: int) -> None:
    check_spade(device, channels, width)


def test_spade_and_its_gradients_at_once(device: torch.device) -> None:
    check_spade(device, 12, 20)


def check_spade(device: torch.device, channels: int, width: int) -> None:
    """x with columns innermost, which is copied; one shared channel is zero throughout, where the leaky ReLU leaks."""
    torch.manual_seed(1)
    spade = Spade(channels, 2, width).to(device, EXACT)
    with torch.no_grad():
        for parameter in spade.shared.parameters():
            parameter[0] = 0.0
    plain = copy.deepcopy(spade)
    x = random_map(channels, device).contiguous().requires_grad_()
    identity = random_map(2, device).requires_grad_()
    one, other = spade_leaky(spade, x, identity), F.leaky_relu(plain(x, identity), LEAK)
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert_same_gradients(one, other, [x, identity, *spade.parameters()], [x, identity, *plain.parameters()])
    torch.testing.assert_close(spade.norm.running_var, plain.norm.running_var, atol=1e-14, rtol=0)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_move_on_like_the_norms_own(device: torch.device, momentum: float | None) -> None:
    torch.manual_seed(2)
    norm, plain = two_norms(5, device)
    for each in (norm, plain):
        each.momentum = momentum
        if momentum is None:
            each.reset_running_stats()
    for _ in range(2):
        x = random_map(5, device)
        batch_norm_leaky(x, norm)
        plain(x)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), value, atol=1e-14, rtol=0)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("outlier", [0.0, 0.1])
def test_a_small_variance_about_a_large_mean(device: torch.device, outlier: float) -> None:
    """Single precision; an outlier in the first row, about which the others are taken, does little harm."""
    torch.manual_seed(3)
    x = 1000.0 + 1e-3 * torch.randn(2, 3, 8, 8, device=device)
    x[0, :, 0, 0] += outlier
    norm = nn.BatchNorm2d(3, momentum=1.0).to(device)
    batch_norm_leaky(x, norm)
    variance, mean = torch.var_mean(x.to(EXACT), (0, 2, 3))
    torch.testing.assert_close(norm.running_var, variance.float(), atol=0, rtol=1e-2)
    torch.testing.assert_close(norm.running_mean, mean.float(), atol=1e-4, rtol=0)


def test_half_precision_maps_keep_their_type_and_are_rounded_once(device: torch.device) -> None:
    """Triton's interpreter cuts off where a GPU rounds: up to 2⁻⁷ instead of 2⁻⁸."""
    torch.manual_seed(4)
    norm, plain = two_norms(16, device)
    norm.float()
    x = random_map(16, device, torch.bfloat16).requires_grad_()
    residual = random_map(16, device, torch.bfloat16).requires_grad_()
    one = batch_norm_leaky(x, norm, residual)
    exact = [tensor.detach().to(EXACT).requires_grad_() for tensor in (x, residual)]
    other = F.leaky_relu(plain(exact[0]) + exact[1], LEAK)
    assert one.dtype == torch.bfloat16
    torch.testing.assert_close(one.to(EXACT), other, atol=1e-6, rtol=2**-7)
    gradient = torch.randn_like(one)
    found = torch.autograd.grad(one, [x, residual, norm.weight], gradient)
    expected = torch.autograd.grad(other, [*exact, plain.weight], gradient.to(EXACT))
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for a, b in zip(found, expected, strict=True):
        assert (a.to(EXACT) - b).norm() < 2**-7 * b.norm()


def test_half_precision_modulation_is_rounded_once(device: torch.device) -> None:
    """Its biases and the sums that are their gradients stay in single precision."""
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(8, affine=False).to(device)
    maps = [random_map(channels, device, torch.bfloat16).requires_grad_() for channels in (8, 16)]
    bias = torch.randn(16, device=device, requires_grad=True)
    one = fused._NormLeaky.apply(maps[0], None, None, None, maps[1], bias, norm)
    exact = [tensor.detach().to(EXACT).requires_grad_() for tensor in (*maps, bias)]
    gamma, beta = (exact[1] + exact[2][:, None, None]).chunk(2, 1)
    other = F.leaky_relu(F.batch_norm(exact[0], None, None, training=True) * (1.0 + gamma) + beta, LEAK)
    assert one.dtype == torch.bfloat16
    torch.testing.assert_close(one.to(EXACT), other, atol=1e-5, rtol=2**-7)
    gradient = torch.randn_like(one)
    found = torch.autograd.grad(one, [*maps, bias], gradient)
    expected = torch.autograd.grad(other, exact, gradient.to(EXACT))
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for a, b, error in zip(found, expected, (2**-7, 2**-7, 1e-5), strict=True):
        assert (a.to(EXACT) - b).norm() < error * b.norm()


def test_spade_under_autocast_convolves_in_half_precision(device: torch.device) -> None:
    """Rounded maps turn some signs before a leaky ReLU, with PyTorch's functions just as here; hence the tolerances."""
    torch.manual_seed(6)
    spade = Spade(12, 4, 8).to(device)
    plain = copy.deepcopy(spade).to(EXACT)
    x = random_map(12, device, torch.bfloat16).requires_grad_()
    identity = random_map(4, device, torch.bfloat16).requires_grad_()
    exact = [tensor.detach().to(EXACT).requires_grad_() for tensor in (x, identity)]
    other = F.leaky_relu(plain(*exact), LEAK)
    gradient = torch.randn_like(other).bfloat16()
    with torch.autocast(device.type, torch.bfloat16):
        one = spade_leaky(spade, x, identity)
    assert one.dtype == torch.bfloat16
    assert (one.to(EXACT) - other).norm() < 2**-6 * other.norm()
    found = torch.autograd.grad(one, [x, identity, *spade.parameters()], gradient)
    expected = torch.autograd.grad(other, [*exact, *plain.parameters()], gradient.to(EXACT))
    assert [tensor.dtype for tensor in found] == [torch.bfloat16] * 2 + [torch.float32] * 6
    for a, b in zip(found, expected, strict=True):
        assert (a.to(EXACT) - b).norm() < 0.15 * b.norm()


def run(model: HideNerf, device: torch.device, kind: torch.dtype) -> Output:
    return model(**{name: value.to(device, kind) for name, value in tiny_inputs(2).items()})


@pytest.mark.parametrize("scales", [0, 2, 8])
def test_a_model_in_training_stays_as_it_is(device: torch.device, scales: int) -> None:
    """With an aligned identity path, too: of so many scales, and of none."""
    model = (aligned_model("maps and picture", scales) if scales else tiny_model()).to(device, EXACT).train()
    changed = copy.deepcopy(model)
    use_fused_norms(changed)
    assert list(changed.state_dict()) == list(model.state_dict())
    expected, found = run(model, device, EXACT), run(changed, device, EXACT)
    assert any("NormLeaky" in name for name in backward_steps(found.frame))
    for output in (found, expected):
        torch.stack([part.square().sum() for part in output]).sum().backward()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    for (name, parameter), twin in zip(changed.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, atol=1e-9, rtol=1e-9, msg=name)
    for (name, buffer), other in zip(changed.named_buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, atol=1e-12, rtol=0, msg=name)


def backward_steps(tensor: Tensor) -> set[str]:
    """Names of the steps that lead from a tensor back to its inputs."""
    seen, ahead = set(), [tensor.grad_fn]
    while ahead:
        step = ahead.pop()
        if step is not None and step not in seen:
            seen.add(step)
            ahead += [following for following, _ in step.next_functions]
    return {step.name() for step in seen}


def test_a_model_in_evaluation_stays_as_it_is_copied_and_folded_too(device: torch.device) -> None:
    model = tiny_model().to(device)
    changed = copy.deepcopy(model)
    use_fused_norms(changed)
    twin = copy.deepcopy(changed)
    assert all(type(module) is not ConvBlock for module in twin.modules())
    with torch.no_grad():
        expected = run(model, device, torch.float32)
        for one in (run(changed, device, torch.float32), run(twin, device, torch.float32)):
            assert all(torch.equal(a, b) for a, b in zip(one, expected, strict=True))
        for alone, other in zip(run(fold_batch_norms(twin), device, torch.float32), expected, strict=True):
            torch.testing.assert_close(alone, other, atol=1e-4, rtol=0)
        identity = model.id_encoder(tiny_inputs(2)["source_image"].to(device))
        rendered = expected.rendered, expected.rendered_alpha
        folded = twin.refiner.forward_folded(*rendered, twin.refiner.fold(identity))
        torch.testing.assert_close(folded[0], expected.frame, atol=1e-4, rtol=0)
