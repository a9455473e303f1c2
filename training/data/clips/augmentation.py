"""Augmentation of real pairs: random framing of the source and random exposure, so that pixels cannot be copied."""

import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.geometry import split_camera
from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.trainer import PairSource

# Largest changes of the source image: rotation in its plane, radians; size, natural logarithm; position, shares of S.
TURN, SIZE, SHIFT = 0.2, 0.12, 0.05
# Standard deviations of each channel's exposure and of the contrast, natural logarithms.
EXPOSURE, CONTRAST = 0.05, 0.1


class ChangedPairs:
    """A source of batches with augmented pairs: the source image is reframed, and both images are re-exposed.

    pairs: where the batches come from.
    seed: of the random changes.
    """

    def __init__(self, pairs: PairSource, seed: int) -> None:
        self._pairs = pairs
        self._random = torch.Generator().manual_seed(seed)

    def sample(self, batch_size: int) -> Batch:
        """A batch of so many augmented pairs."""
        batch = self._pairs.sample(batch_size)
        uniform = 2 * torch.rand(4, batch_size, generator=self._random) - 1
        normal = torch.randn(4, batch_size, generator=self._random)
        device = batch.camera.device
        turn, size, *shift = uniform.to(device)
        batch = framed_anew(batch, TURN * turn, torch.exp(SIZE * size), SHIFT * torch.stack(shift, 1))
        normal = normal.to(device)
        return exposed_anew(batch, torch.exp(EXPOSURE * normal[:3].T), torch.exp(CONTRAST * normal[3]))


def framed_anew(batch: Batch, turn: Tensor, size: Tensor, shift: Tensor) -> Batch:
    """Rotate each source image about its principal point, scale and shift it, and change its camera accordingly.

    batch: its source cameras must have square pixels and no skew.
    turn: [B], radians, clockwise.
    size: [B], factors.
    shift: [B, 2], to the right and down, shares of S. Pixels from outside the image are black.
    """
    rotation, position, intrinsics = split_camera(batch.source_camera)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    rows = (cosine, -sine, zero, sine, cosine, zero, zero, zero, one)
    in_plane = torch.stack(rows, 1).reshape(-1, 3, 3)
    # Rotating the camera the other way rotates the image.
    turned = (rotation[:, :, :, None] * in_plane.transpose(1, 2)[:, None]).sum(2)
    lens = intrinsics.clone()
    lens[:, :2, :2] *= size[:, None, None]
    lens[:, :2, 2] += shift
    cam2world = torch.zeros_like(batch.source_camera[:, :16]).reshape(-1, 4, 4)
    cam2world[:, :3, :3], cam2world[:, :3, 3], cam2world[:, 3, 3] = turned, position, 1.0
    camera = torch.cat([cam2world.flatten(1), lens.flatten(1)], 1)
    # From new pixels to old ones, in [-1, 1].
    back = in_plane[:, :2, :2].transpose(1, 2) / size[:, None, None]
    centre = 2 * intrinsics[:, :2, 2] - 1
    offset = centre - (back * (centre + 2 * shift)[:, None]).sum(2)
    pictures = torch.cat([batch.source_image, batch.source_mask], 1)
    grid = F.affine_grid(torch.cat([back, offset[:, :, None]], 2), list(pictures.shape), align_corners=False)
    picture, mask = F.grid_sample(pictures, grid, align_corners=False).split([3, 1], 1)
    place, weight, known = batch.face_sight.split([2, 1, 1], 1)
    # From old positions to new ones, in [0, 1], about the principal point.
    forth = in_plane[:, :2, :2] * size[:, None, None]
    middle, moved = intrinsics[:, :2, 2], intrinsics[:, :2, 2] + shift
    about = place - middle[:, :, None, None] * weight
    place = (forth[..., None, None] * about[:, None]).sum(2) + moved[:, :, None, None] * weight
    # Positions beyond the picture are not seen, and become those at its edge. What is not seen anyway is below 0.
    inside = ((place > 0) & (place < weight)).all(1, keepdim=True) | (known < 0)
    face_sight = torch.cat([torch.minimum(place.clamp_min(0.0), weight), weight, known * inside], 1)
    return batch._replace(source_image=picture, source_mask=mask, source_camera=camera, face_sight=face_sight)


def exposed_anew(batch: Batch, factor: Tensor, exponent: Tensor) -> Batch:
    """Raise source image and target to a power and scale them; 0 stays 0, values above 1 are cut.

    factor: [B, 3], by channel.
    exponent: [B].
    """

    def changed(picture: Tensor) -> Tensor:
        powers = picture.clamp_min(0.0).pow(exponent[:, None, None, None])
        return (powers * factor[:, :, None, None]).clamp_max(1.0)

    return batch._replace(source_image=changed(batch.source_image), target=changed(batch.target))
