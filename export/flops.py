"""FLOPs of one frame as PyTorch counts them: two for each multiply-add of convolutions and matrix products."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hidenerf.model.alignment import FACE_SIGHT_CHANNELS, SURFACE, Alignment, SourceView, align
from hidenerf.model.config import UNALIGNED, ModelConfig
from hidenerf.model.hidenerf import HideNerf


@dataclass(frozen=True)
class FrameFlops:
    """FLOPs per frame with everything of the source hoisted, and of the refiner without hoisting.

    The ID encoder is in neither, since its features can be kept too.
    """

    led: int
    renderer: int
    refiner: int
    refiner_unhoisted: int

    @property
    def refiner_ratio(self) -> float:
        """FLOPs of the refiner with hoisting, relative to those without."""
        return self.refiner / self.refiner_unhoisted


def frame_flops(config: ModelConfig) -> FrameFlops:
    """Count the FLOPs of a model of these sizes. Its tensors have no storage, so `base` takes no longer than `demo`."""
    with torch.device("meta"):
        model = HideNerf(config).eval()
        image = torch.empty(1, 3, config.image_size, config.image_size)
        secc = torch.empty(1, 3, config.secc_size, config.secc_size)
        camera = torch.empty(1, 25)
        rendered = torch.empty(1, config.render_channels, config.render_size, config.render_size)
        alpha = torch.empty(1, 1, config.render_size, config.render_size)
        points = torch.empty(1, config.samples_per_ray, 3, config.render_size, config.render_size)
        planes = [torch.empty(1, 3, config.plane_channels, size, size) for size in config.plane_sizes]
        aligned: tuple[Alignment, Tensor] | tuple[()] = ()
        if config.alignment != UNALIGNED:
            place = torch.empty(1, 3, config.render_size, config.render_size)
            surface = torch.empty(1, SURFACE, config.render_size, config.render_size)
            face_sight = torch.empty(1, FACE_SIGHT_CHANNELS, config.image_size, config.image_size)
            aligned = align(SourceView(torch.empty(1, 3, 4), surface), place, alpha, face_sight), image
    stem = model.deformation.expression_stem
    identity = model.id_encoder(image)
    modulation = model.refiner.fold(identity)
    canonical = stem.canonical_half(secc)
    deformation = model.deformation.decode(canonical, points)

    return FrameFlops(
        led=_count(lambda: model.deformation.decode(stem.driving_half(secc) + canonical, points)),
        renderer=_count(lambda: model.renderer(deformation, camera, planes)),
        refiner=_count(lambda: model.refiner.forward_folded(rendered, alpha, modulation, *aligned)),
        refiner_unhoisted=_count(lambda: model.refiner(rendered, alpha, identity, *aligned)),
    )


def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()
