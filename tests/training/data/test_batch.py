import numpy as np
import torch

from hidenerf.runtime.camera import canonical_camera, intrinsics_from_fov, pack_camera, project, unpack_camera
from hidenerf.runtime.secc import secc
from hidenerf.training.data.batch import Batch, mirrored, mirrored_camera, mirrored_secc, mirrored_sight
from hidenerf.training.data.synthetic.heads import load_head_mesh


def _off_centre_camera() -> np.ndarray:
    cam2world, _ = unpack_camera(canonical_camera(yaw=20, pitch=-10, roll=7))
    intrinsics = intrinsics_from_fov(20)
    intrinsics[0, 2] = 0.62
    return pack_camera(cam2world, intrinsics)


def test_mirrored_cameras_see_mirrored_points_in_mirrored_places() -> None:
    camera = _off_centre_camera()
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    seen = project(points, camera)
    mirror = mirrored_camera(torch.from_numpy(camera)[None])[0].numpy()
    expected = np.stack([1 - seen[:, 0], seen[:, 1]], axis=-1)
    np.testing.assert_allclose(project(points * [-1, 1, 1], mirror), expected, atol=1e-5)


def test_mirrored_secc_is_the_secc_of_the_mirrored_face() -> None:
    model = load_head_mesh().face_model
    random = np.random.default_rng(1)
    face = model.vertices(
        random.normal(0, 0.3, len(model.identity_names)), random.uniform(0, 0.4, len(model.expression_names))
    )
    twin = np.array([np.abs(model.mean - point).sum(axis=1).argmin() for point in model.mean * [-1, 1, 1]])
    expected = secc(face[twin] * np.float32([-1, 1, 1]), model, 64)
    found = mirrored_secc(torch.from_numpy(secc(face, model, 64))[None])[0].numpy()
    # Edges that run through a pixel's centre may fall either way.
    assert (np.abs(found - expected).max(axis=0) > 0.02).mean() < 0.01


def test_mirrored_face_sights_point_to_mirrored_places() -> None:
    """By hand: of weight 0.5, a quarter of the picture from the left and three quarters from the top."""
    sight, expected = torch.zeros(2, 1, 4, 3, 5)
    sight[0, :, 1, 0] = torch.tensor([0.125, 0.375, 0.5, 0.4])
    expected[0, :, 1, 4] = torch.tensor([0.375, 0.375, 0.5, 0.4])
    torch.testing.assert_close(mirrored_sight(sight), expected)


def test_mirroring_twice_changes_nothing_and_only_the_chosen_pairs_change() -> None:
    generator = torch.Generator().manual_seed(0)
    camera = torch.from_numpy(_off_centre_camera()).expand(3, -1)
    picture, face, mask = (torch.rand(3, *shape, generator=generator) for shape in ((3, 8, 8), (3, 4, 4), (1, 8, 8)))
    points = 0.5 - face
    sight = mask * torch.rand(3, 4, 8, 8, generator=generator)
    batch = Batch(picture, camera, face, face, camera, picture, mask, mask, mask, points, points, sight, mask)
    once = mirrored(batch, torch.tensor([True, False, True]))
    twice = mirrored(once, torch.tensor([True, True, True]))
    back = mirrored(twice, torch.tensor([False, True, False]))
    for before, after, last in zip(batch, once, back, strict=True):
        assert not torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])
        torch.testing.assert_close(before, last)
