"""The fast look-ups against the model's own (which FP64 loops pin), in FP64: on a GPU, or in Triton's interpreter."""

import numpy as np
import torch
from torch import Tensor

from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.hidenerf import random_model
from hidenerf.model.rendering import sample_planes
from hidenerf.training.kernels.sampling import FastCameraToWorld, plane_features, resample_volume, use_fast_sampling
from tests.support.reference import frontal_camera, general_camera
from tests.support.tiny import TINY, tiny_inputs
from tests.support.triton_tests import EXACT


def random_planes(device: torch.device) -> list[Tensor]:
    """Three channels, so that a power of two does not fit; one set with its channels innermost, one with rows."""
    one = torch.randn(2, 3, 3, 4, 4, dtype=EXACT, device=device)
    other = torch.randn(2, 8, 8, 3, 3, dtype=EXACT, device=device).permute(0, 3, 4, 1, 2)
    return [one.requires_grad_(), other.requires_grad_()]


def plain_features(points: Tensor, *planes: Tensor) -> Tensor:
    return torch.cat([sample_planes(plane, points.transpose(1, 2)) for plane in planes], 1).permute(0, 2, 3, 1)


def assert_same_function(one: Tensor, other: Tensor, inputs: list[Tensor], tolerance: float) -> None:
    torch.testing.assert_close(one, other, atol=tolerance, rtol=0)
    gradient = torch.randn_like(other)
    for found, expected in zip(
        torch.autograd.grad(one, inputs, gradient), torch.autograd.grad(other, inputs, gradient), strict=True
    ):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_plane_features_and_their_gradients(device: torch.device) -> None:
    """Points inside, outside, and far outside the box."""
    torch.manual_seed(0)
    planes = random_planes(device)
    points = torch.rand(2, 5, 3, 29, dtype=EXACT, device=device) * 2.6 - 1.3
    points[0, 0, :, :3] = torch.tensor([1e9, -1e9, 0.0], dtype=EXACT)
    points.requires_grad_()
    assert_same_function(plane_features(planes, points), plain_features(points, *planes), [points, *planes], 1e-12)


def test_plane_features_pass_gradcheck(device: torch.device) -> None:
    torch.manual_seed(1)
    planes = [torch.randn(1, 3, 1, size, size, dtype=EXACT, device=device, requires_grad=True) for size in (2, 3)]
    points = (torch.rand(1, 2, 3, 1, dtype=EXACT, device=device) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda points, *planes: plane_features(planes, points), (points, *planes))


def test_resampled_volumes_and_their_gradients(device: torch.device) -> None:
    torch.manual_seed(2)
    volume = torch.randn(2, 3, 4, 6, 5, dtype=EXACT, device=device, requires_grad=True)
    cameras = torch.from_numpy(np.stack([general_camera(), frontal_camera(5.0, 2.0)])).to(device)
    expected = CameraToWorld(8, 4)(volume, cameras)
    # The model takes cell centres in FP32, which at these sizes are exact.
    assert_same_function(resample_volume(volume, cameras, 8, 4), expected, [volume], 1e-6)


def test_resampled_volumes_pass_gradcheck(device: torch.device) -> None:
    torch.manual_seed(3)
    volume = torch.randn(1, 1, 2, 3, 3, dtype=EXACT, device=device, requires_grad=True)
    camera = torch.from_numpy(general_camera()[None]).to(device)
    assert torch.autograd.gradcheck(lambda volume: resample_volume(volume, camera, 2, 2), (volume,))


def test_a_models_planes_and_its_state_stay_as_they_are(device: torch.device) -> None:
    model, fast = (random_model(TINY, 3).to(device, EXACT) for _ in range(2))
    use_fast_sampling(fast)
    assert all(isinstance(step, FastCameraToWorld) for step in fast.appearance.camera_to_world)
    assert fast.state_dict().keys() == model.state_dict().keys()
    inputs = tiny_inputs(2)
    arguments = [inputs[name].to(device, EXACT) for name in ("source_image", "source_camera")]
    with torch.no_grad():
        for found, expected in zip(fast.appearance(*arguments), model.appearance(*arguments), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
