"""Each term by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.geometry import ray_points, rays_from_camera
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.loop.losses import (
    absolute_error,
    alpha_cross_entropy,
    deformation_at,
    deformation_norm,
    octave,
    pixel_weights,
    place_loss,
    resized,
    sharpness_loss,
    squared_error,
    still_loss,
    structure_loss,
    surface_loss,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def test_weights_count_the_head_and_the_region_on_top() -> None:
    mask = torch.tensor([0.0, 1.0, 1.0, 0.5]).reshape(1, 1, 1, 4)
    region = torch.tensor([0.0, 0.0, 1.0, 0.0]).reshape(1, 1, 1, 4)
    assert pixel_weights(mask, region, 2.0, 3.0).flatten().tolist() == [1.0, 3.0, 6.0, 2.0]


def test_colour_errors_by_hand() -> None:
    picture, truth = torch.full((1, 3, 1, 2), 0.5), torch.full((1, 3, 1, 2), 0.3)
    weight = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)
    assert squared_error(picture, truth, weight).item() == pytest.approx(0.04 * 2)
    assert absolute_error(picture, truth, weight).item() == pytest.approx(0.2 * 2)


def test_coverage_entropy_is_cross_entropy_and_finite_at_its_ends() -> None:
    half, ones = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)
    assert alpha_cross_entropy(half, ones, ones).item() == pytest.approx(math.log(2))
    assert alpha_cross_entropy(ones, ones, ones).item() == pytest.approx(0, abs=2e-4)
    assert alpha_cross_entropy(torch.zeros(1, 1, 2, 2), ones, ones).item() == pytest.approx(-math.log(1e-4), rel=1e-3)


def test_sharpness_by_hand_and_blind_to_where_the_detail_lies() -> None:
    weight = torch.full((1, 1, 26, 26), 2.0)
    flat = torch.full((1, 3, 26, 26), 0.3)
    stripes, shifted = flat.clone(), flat.clone()
    stripes[..., ::2] += 0.5  # the finest waves across, of amplitude 0.25, and nothing else
    shifted[..., 1::2] += 0.5
    assert sharpness_loss(flat, stripes, weight).item() == pytest.approx(2 * (0.25 - 1e-3), rel=1e-3)
    assert sharpness_loss(shifted, stripes, weight).item() == pytest.approx(0, abs=1e-6)
    # Neither waves along nor dots, a fine grid, stand for waves across: each counts on top.
    assert sharpness_loss(stripes.transpose(2, 3), stripes, weight).item() == pytest.approx(4 * 0.249, rel=1e-3)
    dots = flat.clone()
    dots[..., ::2, ::2] += 0.5
    dots[..., 1::2, 1::2] += 0.5
    assert sharpness_loss(dots, stripes, weight).item() == pytest.approx(4 * 0.249, rel=1e-3)


def test_sharpness_of_waves_twice_as_long_is_of_the_next_octave() -> None:
    weight = torch.ones(1, 1, 42, 42)
    flat = torch.full((1, 3, 42, 42), 0.3)
    # Of amplitude 0.2, four pixels long: half of it remains smooth at first, where every second pixel shows +0.1, -0.1.
    waves = flat + 0.2 * torch.tensor([1.0, 0.0, -1.0, 0.0]).repeat(11)[1:43]
    first, second = 0.1 * 0.5**0.5, 0.1
    found = sharpness_loss(flat, waves, weight).item()
    assert found == pytest.approx(first + second - 2e-3, rel=1e-2)


def direct_octave(picture: Tensor) -> list[Tensor]:
    """Smooth, across, along, both: the outer products of the two filters, rows by columns."""
    smooth, detail = torch.tensor([1.0, 2.0, 1.0]).double() / 4, torch.tensor([-1.0, 2.0, -1.0]).double() / 4
    filters = [(smooth, smooth), (smooth, detail), (detail, smooth), (detail, detail)]
    kernels = [torch.outer(*pair).expand(3, 1, 3, 3) for pair in filters]
    return [F.conv2d(picture, kernel, groups=3) for kernel in kernels]


def direct_sharpness(picture: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    total = torch.zeros(()).double()
    for _ in range(2):
        (picture, *bands), (truth, *true_bands) = direct_octave(picture), direct_octave(truth)
        weight = weight[..., 1:-1, 1:-1]
        for pair in zip(bands, true_bands, strict=True):
            strength, true_strength = ((F.avg_pool2d(band**2, 8, 4) + 1e-6).sqrt() for band in pair)
            total = total + ((strength - true_strength).abs() * F.avg_pool2d(weight, 8, 4)).mean()
        picture, truth, weight = picture[..., ::2, ::2], truth[..., ::2, ::2], weight[..., ::2, ::2]
    return total


def direct_structure(picture: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    total = torch.zeros(()).double()
    for scale in (1, 2, 4):
        x, y, w = (F.avg_pool2d(one, scale) for one in (picture, truth, weight))
        total = total + ((x - y).diff(dim=-1).abs() * w[..., 1:]).mean()
        total = total + ((x - y).diff(dim=-2).abs() * w[..., 1:, :]).mean()
        if min(x.shape[-2:]) >= 8:
            mean_x, mean_y, xx, yy, xy, windows = (F.avg_pool2d(one, 8, 4) for one in (x, y, x * x, y * y, x * y, w))
            ssim = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
            ssim = ssim * (2 * (xy - mean_x * mean_y) + 0.03**2) / (xx - mean_x**2 + yy - mean_y**2 + 0.03**2)
            total = total + 0.2 * ((1 - ssim) * windows).mean()
    return total / 3


def doubles(*size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, truth and weight; the two are the same in a corner, where absolute values have no slope."""
    generator = torch.Generator().manual_seed(0)
    picture, truth, weight = (torch.rand(2, c, *size, generator=generator).double() for c in (3, 3, 1))
    picture[..., : size[0] // 2, : size[1] // 2] = truth[..., : size[0] // 2, : size[1] // 2]
    return picture.requires_grad_(), truth, 1 + weight


def assert_same_loss(loss: Loss, direct: Loss, size: tuple[int, int], memory_format: torch.memory_format) -> None:
    picture, truth, weight = doubles(*size)
    expected = direct(picture, truth, weight)
    found = loss(picture.to(memory_format=memory_format), truth, weight)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(value, picture)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(64, 64), (61, 59), (22, 23), (34, 25)])
def test_sharpness_and_its_gradient_are_those_of_the_direct_formula(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    assert_same_loss(sharpness_loss, direct_sharpness, size, memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(64, 64), (61, 59), (19, 46), (15, 9), (8, 8)])
def test_structure_and_its_gradient_are_those_of_the_direct_formula(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    assert_same_loss(structure_loss, direct_structure, size, memory_format)


@pytest.mark.parametrize("size", [(3, 3), (3, 8), (13, 10)])
def test_octave_and_its_gradients_are_those_of_the_outer_products_of_its_filters(size: tuple[int, int]) -> None:
    picture, _, _ = doubles(*size)
    found, expected = octave(picture), direct_octave(picture)
    for part, expected_part in zip(found, expected, strict=True):
        torch.testing.assert_close(part, expected_part, rtol=0, atol=1e-15)
        # Any gradient coming in will do; the part itself is one.
        gradients = [
            torch.autograd.grad(one, picture, expected_part, retain_graph=True)[0] for one in (part, expected_part)
        ]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)
    torch.testing.assert_close(sum(found), picture[..., 1:-1, 1:-1])


def test_deformation_is_looked_up_where_its_own_ray_samples_are() -> None:
    camera = torch.from_numpy(canonical_camera(yaw=20, pitch=-10))[None]
    points, _ = ray_points(rays_from_camera(camera, 6), 4)
    deformation = torch.rand(1, 12, 6, 6, generator=torch.Generator().manual_seed(0))
    for sample in range(4):
        found = deformation_at(deformation, camera, points[:, sample])
        torch.testing.assert_close(found, deformation[:, 3 * sample : 3 * sample + 3], atol=1e-4, rtol=0)
    halfway = 0.5 * (points[:, 1] + points[:, 2])
    expected = 0.5 * (deformation[:, 3:6] + deformation[:, 6:9])
    torch.testing.assert_close(deformation_at(deformation, camera, halfway), expected, atol=1e-4, rtol=0)


def test_surface_loss_is_how_far_apart_the_places_of_one_point_are() -> None:
    camera = torch.from_numpy(canonical_camera())[None]
    surface = torch.zeros(1, 3, 4, 4)
    surface[0, :, 1, 2] = torch.tensor([0.1, 0.2, 0.3])
    surface[0, :, 3, 0] = torch.tensor([-0.1, 0.0, 0.2])
    moved = torch.tensor([0.03, 0.0, -0.04]).reshape(1, 3, 1, 1)
    source_surface = surface + moved * (surface != 0).any(1, keepdim=True)
    weight = torch.full((1, 1, 4, 4), 2.0)
    still = torch.full((1, 12, 4, 4), 0.07)  # wherever LED puts the face at rest
    found = surface_loss(still, camera, surface, still, camera, source_surface, weight)
    assert found.item() == pytest.approx(0.05, abs=1e-4)
    following = still + moved.repeat(1, 4, 1, 1)
    found = surface_loss(following, camera, surface, still, camera, source_surface, weight)
    assert found.item() == pytest.approx(0, abs=2e-4)
    nothing = torch.zeros_like(surface)
    assert surface_loss(following, camera, nothing, still, camera, nothing, weight).item() == 0


def test_place_loss_is_how_far_off_rays_end_where_there_is_a_surface() -> None:
    source_surface = torch.zeros(1, 3, 2, 2)
    source_surface[0, :, 0, 0] = torch.tensor([0.1, 0.2, 0.3])
    source_surface[0, :, 1, 1] = torch.tensor([-0.2, 0.0, 0.4])
    alpha = torch.tensor([1.0, 0.5, 1.0, 0.5]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, 9.0, 9.0, 3.0]).reshape(1, 1, 2, 2)
    place = alpha * source_surface
    assert place_loss(place, alpha, source_surface, weight).item() == pytest.approx(0, abs=2e-4)
    place[0, 0, 0, 0] += 0.4
    place[0, :, 0, 1] = 5.0
    assert place_loss(place, alpha, source_surface, weight).item() == pytest.approx(0.4 / 4, abs=1e-3)
    nothing = torch.zeros_like(source_surface)
    assert place_loss(place, alpha, nothing, weight).item() == 0


def test_deformation_norm_is_the_mean_length_over_points() -> None:
    deformation = torch.zeros(1, 6, 1, 2)
    deformation[0, 3:, 0, 1] = torch.tensor([3.0, 0.0, 4.0])  # one of four points, sample 1 of pixel 1
    assert deformation_norm(deformation).item() == pytest.approx(5 / 4, abs=1e-3)


def test_still_loss_counts_only_pairs_whose_expression_stays() -> None:
    deformation = torch.zeros(3, 6, 2, 2)
    deformation[0, :3] = torch.tensor([3.0, 4.0, 0.0])[:, None, None]  # one of two samples of each ray: length 5
    deformation[1], deformation[2] = 7.0, 0.0
    canonical = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    driving = canonical.clone()
    driving[1, 0, 0, 0] += 0.1
    assert still_loss(deformation, canonical, driving).item() == pytest.approx(2.5 / 2, abs=1e-3)
    assert still_loss(deformation, canonical, canonical + 1).item() == 0


def test_deformation_norm_has_a_slope_at_zero() -> None:
    deformation = torch.zeros(1, 3, 2, 2, requires_grad=True)
    deformation_norm(deformation).backward()
    assert deformation.grad is not None
    assert torch.isfinite(deformation.grad).all()


def test_resized_pixels_are_means_of_those_they_cover() -> None:
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resized(picture, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_structure_loss_is_zero_for_the_truth_and_minds_blur_more_than_brightness() -> None:
    torch.manual_seed(0)
    truth = F.interpolate(torch.rand(1, 3, 16, 16), size=(64, 64))
    weight = torch.ones(1, 1, 64, 64)
    assert structure_loss(truth, truth, weight).item() == pytest.approx(0, abs=1e-5)
    blurred = F.avg_pool2d(F.pad(truth, (4, 4, 4, 4), mode="replicate"), 9, 1)
    blur_error = (blurred - truth).abs().mean()
    brighter = truth + blur_error
    assert structure_loss(blurred, truth, weight) > 5 * structure_loss(brighter, truth, weight)


def test_structure_loss_takes_scales_smaller_than_its_windows() -> None:
    picture, truth, weight = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    assert structure_loss(picture, truth, weight).item() > 0
