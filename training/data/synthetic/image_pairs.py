"""Image pairs: two pictures each of several people, from which batches of source and target are made."""

from typing import NamedTuple

import torch
from torch import Tensor

from hidenerf.model.config import ModelConfig
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.geometry import SeccChoice


class ImagePairs(NamedTuple):
    """Two pictures each of n people, either of which may be the source of the other.

    picture: [n, 2, 3, S, S] uint8.
    mask, region: [n, 2, 1, S, S] uint8.
    secc: [n, k, 3, Q, Q] uint8, see `draw_seccs`.
    camera: [n, 2, 25] float32.
    surface: [n, 2, 6, R, R] float16, surface points that the picture's rays meet, with its own expression and with the
        other picture's, world units; 0 where there is none.
    face_sight: [n, 2, 4, S, S] float16, of each picture with the other one as source (`hidenerf.runtime.face_sight`).
    photographed: [n] bool, whether the first picture is a photograph and the second one a drawing of the same person.
        Then the first one is the source, and only what `region` has of the second one is to be learned: what mouth
        and eyes show that the photograph does not, such as closed lids and the inside of a mouth.
    """

    picture: Tensor
    mask: Tensor
    region: Tensor
    secc: Tensor
    camera: Tensor
    surface: Tensor
    face_sight: Tensor
    photographed: Tensor

    def batch(self, index: Tensor, source: Tensor, seccs: SeccChoice) -> Batch:
        """Pairs of the people `index` [B] with picture `source` [B] (0 or 1) as the source, or a photograph."""
        index, source = index.to(self.picture.device), source.to(self.picture.device)
        photographed = self.photographed[index]
        source = torch.where(photographed, 0, source)
        target = 1 - source
        # SECCs with an expression come last; those without one are two, one or none.
        canonical = source - 2 if seccs.own_expression else source * (seccs.at_rest - 1)
        surface, source_surface = self.surface[index, target].float().chunk(2, 1)
        region = _unit_range(self.region[index, target])
        return Batch(
            source_image=_unit_range(self.picture[index, source]),
            source_camera=self.camera[index, source],
            secc_canonical=_unit_range(self.secc[index, canonical]),
            secc_driving=_unit_range(self.secc[index, target - 2]),
            camera=self.camera[index, target],
            target=_unit_range(self.picture[index, target]),
            mask=_unit_range(self.mask[index, target]),
            region=region,
            trusted=torch.where(photographed[:, None, None, None], region, 1.0),
            source_mask=_unit_range(self.mask[index, source]),
            surface=surface,
            source_surface=source_surface,
            face_sight=self.face_sight[index, target].float(),
        )


def room_for_image_pairs(config: ModelConfig, seccs: SeccChoice, count: int, device: torch.device) -> ImagePairs:
    """Uninitialised image pairs of `count` people, in pictures of a model's sizes."""
    size, secc_size = config.image_size, config.secc_size

    def room(*shape: int) -> Tensor:
        return torch.empty(count, *shape, dtype=torch.uint8, device=device)

    return ImagePairs(
        picture=room(2, 3, size, size),
        mask=room(2, 1, size, size),
        region=room(2, 1, size, size),
        secc=room(seccs.at_rest + 2, 3, secc_size, secc_size),
        camera=torch.empty(count, 2, 25, device=device),
        surface=torch.empty(count, 2, 6, config.render_size, config.render_size, dtype=torch.float16, device=device),
        face_sight=torch.empty(count, 2, 4, size, size, dtype=torch.float16, device=device),
        photographed=torch.empty(count, dtype=torch.bool, device=device),
    )


def _unit_range(values: Tensor) -> Tensor:
    return values.float() / 255
