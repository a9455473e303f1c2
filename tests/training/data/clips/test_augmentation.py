"""Real pairs changed: the camera goes with the picture, and source and target are exposed alike."""

import math

import torch
from torch.nn import functional as F

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.clips.augmentation import ChangedPairs, exposed_anew, framed_anew
from tests.support.tiny_training import Pairs, tiny_batch

SIZE = 64


def dots(camera: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pictures [B, 3, SIZE, SIZE] with a soft spot where each camera sees each point [3, 3], one a channel."""
    pixel = (torch.arange(SIZE) + 0.5) / SIZE
    pictures = []
    for one in camera:
        u, v = torch.from_numpy(project(points.double().numpy(), one.numpy())).float().T
        squares = (pixel[None, None, :] - u[:, None, None]).square() + (
            pixel[None, :, None] - v[:, None, None]
        ).square()
        pictures.append(torch.exp(-squares / 0.002))
    return torch.stack(pictures)


def batch_of_dots(points: torch.Tensor) -> Batch:
    camera = torch.from_numpy(canonical_camera(20.0, -10.0))[None].expand(2, -1).clone()
    camera[:, 18] += 0.04
    picture = dots(camera, points)
    return tiny_batch(2)._replace(source_camera=camera, source_image=picture, source_mask=picture[:, :1])


def test_the_new_camera_sees_what_the_new_picture_shows() -> None:
    points = torch.tensor([[0.3, 0.2, 0.5], [-0.4, 0.1, 0.2], [0.1, -0.4, 0.6]])
    turn, size = torch.tensor([0.2, -0.1]), torch.tensor([1.1, 0.9])
    shift = torch.tensor([[0.05, -0.02], [-0.03, 0.04]])
    changed = framed_anew(batch_of_dots(points), turn, size, shift)
    expected = dots(changed.source_camera, points)
    assert (changed.source_camera - batch_of_dots(points).source_camera).abs().amax(1).min() > 0.03
    for picture, truth in zip(changed.source_image, expected, strict=True):
        for spot, other in zip(picture, truth, strict=True):
            assert centre_of(spot).sub(centre_of(other)).abs().max() < 0.05 / SIZE * 10


def shown_at(picture: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """What pictures [B, 3, h, w] show at places [B, 2, S, S] in [0, 1]."""
    return F.grid_sample(picture, 2 * place.permute(0, 2, 3, 1) - 1, align_corners=False)


def test_the_face_sight_points_to_what_it_pointed_to() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = F.interpolate(torch.rand(2, 3, 6, 6, generator=generator), size=(SIZE, SIZE), mode="bicubic")
    place = 0.5 + 0.4 * (torch.rand(2, 2, 16, 16, generator=generator) - 0.5)
    # One that leaves the picture on each of two sides.
    place[0, :, 0, 0], place[1, :, 0, 0] = torch.tensor([0.98, 0.5]), torch.tensor([0.5, 0.02])
    weight = 0.5 + 0.5 * torch.rand(2, 1, 16, 16, generator=generator)
    # The upper half is seen, the lower half the inside of a mouth, of which nothing is seen.
    known = 0.5 * torch.ones_like(weight)
    known[:, :, 8:] = -0.4
    sight = torch.cat([place * weight, weight, known * weight], 1)
    batch = batch_of_dots(torch.zeros(3, 3))._replace(source_image=picture, face_sight=sight)
    turn, size = torch.tensor([0.2, -0.1]), torch.tensor([1.1, 1.05])
    changed = framed_anew(batch, turn, size, torch.tensor([[0.05, -0.02], [-0.03, -0.04]]))
    moved, kept, seen = changed.face_sight.split([2, 1, 1], 1)
    assert torch.equal(kept, weight)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    gone[:, :, 0, 0] = True
    assert torch.equal(seen, known * weight * ~gone)
    assert (moved >= 0).all()
    assert (moved <= weight).all()
    assert (moved / weight - place).abs().mean() > 0.03
    before, after = shown_at(picture, place), shown_at(changed.source_image, moved / weight)
    assert (shown_at(changed.source_image, place) - before).abs().mean() > 0.05
    assert ((after - before).abs() * ~gone).max() < 0.03


def centre_of(spot: torch.Tensor) -> torch.Tensor:
    pixel = (torch.arange(SIZE) + 0.5) / SIZE
    return torch.stack([(spot.sum(axis) * pixel).sum() / spot.sum() for axis in (0, 1)])


def test_black_stays_black_and_both_pictures_change_alike() -> None:
    batch = tiny_batch(2)._replace(source_image=tiny_batch(2).target)
    changed = exposed_anew(batch, torch.full((2, 3), 0.5), torch.full((2,), 2.0))
    torch.testing.assert_close(changed.target, batch.target.square() / 2)
    assert torch.equal(changed.source_image, changed.target)
    assert changed.target[:, :, 0].max() == 0


def test_what_is_drawn_follows_the_seed() -> None:
    one, same, other = (ChangedPairs(Pairs(), seed).sample(2) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.source_camera, other.source_camera)
    assert all(math.isfinite(float(values.sum())) for values in one)
