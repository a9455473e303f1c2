"""MGA: camera-to-world against FP64 loops, where a voxel lands, and Eq. 2's chain of planes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hidenerf.model.appearance import AppearanceModule, CameraToWorld, VolumeHead
from tests.support import reference
from tests.support.reference import PLANE_AXES, frontal_camera, general_camera
from tests.support.tiny import TINY, tiny_inputs, tiny_model


def as_batch(*arrays: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).float()


def test_camera_to_world_against_loops() -> None:
    rng = np.random.default_rng(1)
    volumes = rng.standard_normal((2, 2, 3, 4, 5)).astype(np.float32).astype(np.float64)
    cameras = general_camera(), frontal_camera(5.0, 2.0)
    planes = CameraToWorld(size=4, samples=3)(as_batch(*volumes), as_batch(*cameras))
    assert planes.shape == (2, 3, 2, 4, 4)
    for found, volume, camera in zip(planes, volumes, cameras, strict=True):
        np.testing.assert_allclose(found, reference.world_planes(volume, camera, 4, 3), atol=2e-5)


@pytest.mark.parametrize("camera", [frontal_camera(6.0, 2.6), general_camera()], ids=["frontal", "general"])
@pytest.mark.parametrize("voxel", [(2, 3, 12), (5, 10, 4), (6, 8, 7)])
def test_a_voxel_lands_in_each_plane_where_it_is_in_the_world(voxel: tuple[int, int, int], camera: np.ndarray) -> None:
    depth_cells, cells, size = 8, 16, 16
    slice_, row, column = voxel
    volume = np.zeros((1, depth_cells, cells, cells))
    volume[0][voxel] = 1.0

    # Back through the camera: depth from the slice, then the pixel's ray up to that depth.
    rotation, position, intrinsics = reference.unpack(camera)
    depth = reference.centre(slice_, depth_cells) + (rotation.T @ -position)[2]
    in_picture = np.array([(column + 0.5) / cells, (row + 0.5) / cells, 1.0])
    world = rotation @ (np.linalg.solve(intrinsics, in_picture) * depth) + position
    assert (np.abs(world) < 0.95).all(), "a voxel outside the box would land nowhere"

    planes = CameraToWorld(size, samples=16)(as_batch(volume), as_batch(camera))[0, :, 0].double().numpy()
    centres = (np.arange(size) + 0.5) * 2 / size - 1
    for plane, (along_columns, along_rows) in zip(planes, PLANE_AXES, strict=True):
        assert plane.sum() > 0
        centroid = plane.sum(0) @ centres / plane.sum(), plane.sum(1) @ centres / plane.sum()
        np.testing.assert_allclose(centroid, world[[along_columns, along_rows]], atol=1.2 / size)


def test_a_volume_of_ones_gives_planes_of_ones_where_the_source_sees_everything() -> None:
    planes = CameraToWorld(4, 4)(torch.ones(1, 1, 8, 8, 8), as_batch(frontal_camera(8.0, 2.0)))
    torch.testing.assert_close(planes, torch.ones(1, 3, 1, 4, 4))


def test_planes_have_the_configs_sizes() -> None:
    inputs = tiny_inputs(batch=2)
    with torch.no_grad():
        planes = tiny_model().appearance(inputs["source_image"], inputs["source_camera"])
    assert [tuple(plane.shape) for plane in planes] == [(2, 3, 4, 8, 8), (2, 3, 4, 16, 16)]


def test_a_volume_is_the_sum_of_features_times_depth_weights_of_mean_one() -> None:
    head = VolumeHead(inputs=3, channels=2, depth=5, terms=4).eval()
    feature_map = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        volume = head(feature_map)
        x = head.trunk(feature_map)
        features = head.features(x).reshape(2, 4, 2, 4, 6).double()
        weights = 5 * torch.softmax(head.depth_logits(x).reshape(2, 4, 5, 4, 6).double(), 2)
    assert volume.shape == (2, 2, 5, 4, 6)
    torch.testing.assert_close(
        volume.double(), torch.einsum("bkcij,bkdij->bcdij", features, weights), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(volume.mean(2).double(), features.sum(1), atol=1e-5, rtol=0)


def test_each_level_is_the_convolved_level_below_plus_its_own_volume() -> None:
    """Eq. 2, per plane: T_2 = Conv(Up(T_1)) + 𝒯(V_2), each plane with weights of its own."""
    module = tiny_model().appearance
    inputs = tiny_inputs()
    channels = TINY.plane_channels
    with torch.no_grad():
        coarse, fine = module(inputs["source_image"], inputs["source_camera"])
        module.volume_heads[1].features.weight.zero_()  # type: ignore[union-attr, operator]
        module.volume_heads[1].features.bias.zero_()  # type: ignore[union-attr, operator]
        coarse_again, from_below = module(inputs["source_image"], inputs["source_camera"])
        torch.testing.assert_close(coarse, coarse_again)
        assert not torch.allclose(fine, from_below, atol=1e-2)
        convolution = module.get_submodule("from_below.0")
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        weight, bias = convolution.weight.reshape(3, channels, channels, 3, 3), convolution.bias.reshape(3, channels)
        for plane in range(3):
            up = F.interpolate(coarse[:, plane], scale_factor=2, mode="bilinear", align_corners=False)
            expected = F.conv2d(up, weight[plane], bias[plane], padding=1)
            torch.testing.assert_close(from_below[:, plane], expected, atol=1e-5, rtol=1e-5)


def test_the_extractor_sees_the_source_picture_and_where_each_pixel_is() -> None:
    module = tiny_model().appearance
    seen = []
    module.extractor.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    picture = tiny_inputs()["source_image"]
    with torch.no_grad():
        module(picture, tiny_inputs()["source_camera"])
    torch.testing.assert_close(seen[0][:, :3], picture * 2 - 1)
    edge = 1 - 1 / TINY.image_size
    assert seen[0][0, 3, 7, [0, -1]].tolist() == pytest.approx([-edge, edge])
    assert seen[0][0, 4, [0, -1], 7].tolist() == pytest.approx([-edge, edge])


def test_only_the_planes_depend_on_the_source_camera() -> None:
    module = AppearanceModule(TINY).eval()
    picture = tiny_inputs()["source_image"]
    with torch.no_grad():
        one = module(picture, as_batch(general_camera()))
        other = module(picture, as_batch(frontal_camera(6.0, 2.6)))
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(one, other, strict=True))
