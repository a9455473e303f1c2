"""Batch: the (source, driving) pairs of one training step as tensors, and their mirror images."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """B pairs of pictures of one head each, as float32 tensors on one device.

    source_image, target: [B, 3, S, S], RGB in [0, 1] over black; the target is the expected output.
    source_mask, mask: [B, 1, S, S] in [0, 1], of source_image and target.
    region: [B, 1, S, S] in [0, 1], 1 on the target's mouth, eyes and brows.
    source_camera, camera: [B, 25], of source_image and target.
    secc_canonical, secc_driving: [B, 3, Q, Q] in [0, 1], of the source's identity with the source's and with the
        target's expression (Eq. 3 as read in DESIGN §8).
    surface: [B, 3, R, R], surface points that the target's rays meet, world units; 0 where there is none.
    source_surface: [B, 3, R, R], the same surface points with the source's expression.
    face_sight: [B, 4, S, S], of the target (`hidenerf.runtime.face_sight`).
    trusted: [B, 1, S, S] in [0, 1], how far the target is the truth; where it is 0, nothing is learned.
    """

    source_image: Tensor
    source_camera: Tensor
    secc_canonical: Tensor
    secc_driving: Tensor
    camera: Tensor
    target: Tensor
    mask: Tensor
    region: Tensor
    source_mask: Tensor
    surface: Tensor
    source_surface: Tensor
    face_sight: Tensor
    trusted: Tensor


def mirrored(batch: Batch, which: Tensor) -> Batch:
    """The batch with those pairs mirrored left to right that `which` [B] (bool) names.

    Exact: the face model's mean shape is its own mirror image, so the mirror image of a head is a head of the model.
    """
    pick = which[:, None]
    return Batch(
        source_image=_where(pick, batch.source_image.flip(-1), batch.source_image),
        source_camera=torch.where(pick, mirrored_camera(batch.source_camera), batch.source_camera),
        secc_canonical=_where(pick, mirrored_secc(batch.secc_canonical), batch.secc_canonical),
        secc_driving=_where(pick, mirrored_secc(batch.secc_driving), batch.secc_driving),
        camera=torch.where(pick, mirrored_camera(batch.camera), batch.camera),
        target=_where(pick, batch.target.flip(-1), batch.target),
        mask=_where(pick, batch.mask.flip(-1), batch.mask),
        region=_where(pick, batch.region.flip(-1), batch.region),
        source_mask=_where(pick, batch.source_mask.flip(-1), batch.source_mask),
        surface=_where(pick, mirrored_points(batch.surface), batch.surface),
        source_surface=_where(pick, mirrored_points(batch.source_surface), batch.source_surface),
        face_sight=_where(pick, mirrored_sight(batch.face_sight), batch.face_sight),
        trusted=_where(pick, batch.trusted.flip(-1), batch.trusted),
    )


def mirrored_camera(camera: Tensor) -> Tensor:
    """Cameras [B, 25] that see the mirrored world (x → -x) as the mirrored picture (u → 1 - u)."""
    axes = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=camera.device)
    cam2world = camera[:, :16].reshape(-1, 4, 4) * axes[:, None] * axes
    intrinsics = camera[:, 16:].reshape(-1, 3, 3) * axes[:3, None] * axes[:3]
    # The mirrored principal point is at 1 - c; the signs above made it -c.
    intrinsics[:, 0, 2] += 1.0
    return torch.cat([cam2world.flatten(1), intrinsics.flatten(1)], 1)


def mirrored_secc(secc: Tensor) -> Tensor:
    """SECCs [B, 3, Q, Q] of the mirrored faces: mirrored pictures whose NCC x runs the other way, background 0."""
    mirror = secc.flip(-1)
    drawn = mirror.amax(1, keepdim=True) > 0
    x = torch.where(drawn, 1.0 - mirror[:, :1], mirror[:, :1])
    return torch.cat([x, mirror[:, 1:]], 1)


def mirrored_points(points: Tensor) -> Tensor:
    """The points [B, 3, R, R] of the mirrored world (x → -x) that the mirrored picture's pixels show."""
    mirror = points.flip(-1)
    return torch.cat([-mirror[:, :1], mirror[:, 1:]], 1)


def mirrored_sight(face_sight: Tensor) -> Tensor:
    """Face sights [B, 4, S, S] of the mirrored frames and source pictures: positions u become 1 - u."""
    mirror = face_sight.flip(-1)
    right, down, weight, seen = mirror.split(1, 1)
    return torch.cat([weight - right, down, weight, seen], 1)


def _where(pick: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(pick[..., None, None], one, other)
