"""LED: the split of its first layer, the bound of Δ, ray samples, and where SECC features are looked up."""

import pytest
import torch

from hidenerf.model.deformation import DIFFERENCE_SCALE, DeformationModule, ExpressionStem, look_up, ray_samples
from tests.support.reference import frontal_camera
from tests.support.tiny import TINY, randomise_norms, tiny_inputs, tiny_model


def random_stem() -> ExpressionStem:
    torch.manual_seed(1)
    stem = ExpressionStem(7)
    randomise_norms(stem, 2)
    return stem.eval()


def test_the_two_halves_of_the_stem_add_up_to_it() -> None:
    stem = random_stem()
    driving, canonical = torch.rand(2, 2, 3, 16, 16)
    with torch.no_grad():
        whole = stem(driving, canonical)
        halves = stem.driving_half(driving) + stem.canonical_half(canonical)
    assert whole.shape == (2, 7, 8, 8)
    assert whole.std() > 0.1
    torch.testing.assert_close(halves, whole, atol=2e-5, rtol=1e-5)


def test_at_rest_the_stem_sees_one_secc_twice() -> None:
    stem, own = random_stem(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(stem.at_rest(own), stem(own, own), atol=2e-5, rtol=1e-5)


def test_each_half_depends_on_its_own_secc_alone() -> None:
    stem = random_stem()
    nothing = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        assert stem.driving_half(nothing).abs().max() == 0.0
        constant = stem.canonical_half(nothing)
    # What is left of the canonical half is the batch norm's shift.
    norm = stem.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    shift = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(constant, shift[None, :, None, None].expand_as(constant))


def test_the_stem_sees_both_seccs_and_their_scaled_difference() -> None:
    stem = random_stem()
    seen = []
    stem.convolution.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    driving, canonical = torch.rand(2, 1, 3, 16, 16)
    stem(driving, canonical)
    torch.testing.assert_close(seen[0][:, :3], driving)
    torch.testing.assert_close(seen[0][:, 3:6], canonical)
    torch.testing.assert_close(seen[0][:, 6:], DIFFERENCE_SCALE * (driving - canonical))


@pytest.mark.parametrize("factor", [1.0, 1e4])
def test_no_component_of_the_deformation_exceeds_its_bound(factor: float) -> None:
    model = tiny_model()
    inputs = tiny_inputs()
    with torch.no_grad():
        model.deformation.head.weight.mul_(factor)
        points = model.ray_points(inputs["camera"])
        deformation = model.deformation(inputs["secc_driving"], inputs["secc_canonical"], points)
    assert deformation.shape == (1, 3 * TINY.samples_per_ray, TINY.render_size, TINY.render_size)
    assert deformation.abs().max() <= TINY.maximum_deformation
    if factor > 1:
        assert deformation.abs().max() > 0.99 * TINY.maximum_deformation


def test_look_up_samples_the_features_at_the_frontal_projection_of_every_third_point() -> None:
    size = TINY.render_size
    centres = (torch.arange(size) + 0.5) * 2 / size - 1
    features = torch.stack([centres.expand(size, size), centres[:, None].expand(size, size)])[None].repeat(1, 2, 1, 1)
    # Inside the outermost cell centres the features are their own coordinates: right, and down.
    points = (
        torch.rand(1, TINY.samples_per_ray, 3, size, size, generator=torch.Generator().manual_seed(0)) - 0.5
    ) * 1.8
    looked_up = look_up(features, points, 3).reshape(4, 2, size, size)
    for position, sample in enumerate((1, 4)):
        for channel, expected in ((0, points[0, sample, 0]), (1, -points[0, sample, 1])):
            torch.testing.assert_close(looked_up[channel, position], expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(looked_up[channel + 2, position], expected, atol=1e-5, rtol=0)


def test_look_up_is_zero_beside_the_secc() -> None:
    size = TINY.render_size
    points = torch.full((1, TINY.samples_per_ray, 3, size, size), 1.3)
    assert look_up(torch.ones(1, 4, size, size), points, 3).abs().max() == 0.0


def test_ray_samples_are_a_camera_s_points_and_the_features_there() -> None:
    """A camera on the axis whose rays are nearly parallel: by hand. Its types: points and features are rounded once."""
    size, samples = 4, 6
    camera = torch.from_numpy(frontal_camera(1000.0, 500.0)).float()[None]
    features = torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(0))
    points, looked_up = ray_samples(camera, features, samples, stride=3)
    assert points.shape == (1, 3 * samples, size, size)
    assert looked_up.shape == (1, 2 * 2, size, size)
    centres = (torch.arange(size) + 0.5) * 2 / size - 1
    for sample in range(samples):
        x, y, z = points[0, 3 * sample : 3 * sample + 3]
        torch.testing.assert_close(x, centres.expand(size, size), atol=2e-3, rtol=0)
        torch.testing.assert_close(y, -centres[:, None].expand(size, size), atol=2e-3, rtol=0)
        # From the nearest face of the box to the farthest: midpoints of six parts of 2.
        torch.testing.assert_close(z, torch.full_like(z, 1 - (sample + 0.5) / 3), atol=2e-3, rtol=0)
    # Cell centres of the features lie on the rays.
    at_samples = features[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(looked_up.reshape(1, 2, 2, size, size), at_samples, atol=8e-3, rtol=0)
    exact = ray_samples(camera.double(), features.half().double(), samples, 3)
    for found, right in zip(ray_samples(camera, features.half(), samples, 3), exact, strict=True):
        assert found.dtype == torch.float16
        # A camera so far away leaves FP32 a ten-thousandth.
        torch.testing.assert_close(found.double(), right, atol=2e-4 + 2**-11, rtol=0)


def test_decode_is_encode_ray_samples_and_deform() -> None:
    model = tiny_model()
    module, inputs = model.deformation, tiny_inputs()
    with torch.no_grad():
        stem = module.expression_stem(inputs["secc_driving"], inputs["secc_canonical"])
        whole = module.decode(stem, model.ray_points(inputs["camera"]))
        embedding, features = module.encode(stem)
        read = ray_samples(inputs["camera"], features, TINY.samples_per_ray, TINY.lookup_stride)
        assert torch.equal(module.deform(embedding, *read), whole)


def test_the_deformation_depends_on_both_seccs_and_on_the_points() -> None:
    module: DeformationModule = tiny_model().deformation
    inputs = tiny_inputs()
    points = tiny_model().ray_points(inputs["camera"])
    with torch.no_grad():
        base = module(inputs["secc_driving"], inputs["secc_canonical"], points)
        for changed in (
            (inputs["secc_driving"] * 0.5, inputs["secc_canonical"], points),
            (inputs["secc_driving"], inputs["secc_canonical"] * 0.5, points),
            (inputs["secc_driving"], inputs["secc_canonical"], points * 0.5),
        ):
            assert (module(*changed) - base).abs().max() > 1e-4
