"""HiDe-NeRF as one network: source picture and driving motion → frame."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hidenerf.model.alignment import SourceView, align, source_view
from hidenerf.model.appearance import AppearanceModule
from hidenerf.model.config import UNALIGNED, ModelConfig
from hidenerf.model.deformation import DeformationModule
from hidenerf.model.geometry import ray_points, rays_from_camera
from hidenerf.model.refinement import IdEncoder, RefineNetwork
from hidenerf.model.rendering import Renderer


class Output(NamedTuple):
    """frame [B, 3, S, S] and its alpha [B, 1, S, S], neither clamped; rendered [B, K, R, R], the first three channels
    colours, and its rendered_alpha [B, 1, R, R]; deformation [B, 3N, R, R]; place [B, 3, R, R]: the canonical points
    where the rays end, times rendered_alpha."""

    frame: Tensor
    alpha: Tensor
    rendered: Tensor
    rendered_alpha: Tensor
    deformation: Tensor
    place: Tensor


class HideNerf(nn.Module):
    """MGA, LED, volume rendering, ID encoder and refine network (paper Fig. 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.appearance = AppearanceModule(config)
        self.deformation = DeformationModule(config)
        self.renderer = Renderer(config)
        self.id_encoder = IdEncoder(config.identity_channels, halved=config.enlarged)
        self.refiner = RefineNetwork(config)

    def ray_points(self, camera: Tensor) -> Tensor:
        """camera [B, 25] → the rays' points [B, N, 3, R, R]."""
        rays = rays_from_camera(camera, self.config.render_size)
        return ray_points(rays, self.config.samples_per_ray)[0]

    def forward(
        self,
        source_image: Tensor,
        source_camera: Tensor,
        secc_canonical: Tensor,
        secc_driving: Tensor,
        camera: Tensor,
        face_sight: Tensor | None = None,
    ) -> Output:
        """Nothing hoisted: source_image [B, 3, S, S] in [0, 1], cameras [B, 25], SECCs [B, 3, Q, Q].

        face_sight [B, 4, S, S]: of the frame, for a model with alignment (`hidenerf.runtime.face_sight`).
        """
        planes = self.appearance(source_image, source_camera)
        deformation = self.deformation(secc_driving, secc_canonical, self.ray_points(camera))
        rendered, rendered_alpha, place = self.renderer.placed(deformation, camera, planes)
        alignment = None
        if self.config.alignment != UNALIGNED:
            assert face_sight is not None
            source = self.source_view(planes, secc_canonical, source_camera)
            alignment = align(source, place, rendered_alpha, face_sight)
        frame, alpha = self.refiner(rendered, rendered_alpha, self.id_encoder(source_image), alignment, source_image)
        return Output(frame, alpha, rendered, rendered_alpha, deformation, place)

    def source_view(self, planes: list[Tensor], secc_canonical: Tensor, source_camera: Tensor) -> SourceView:
        """What the source camera [B, 25] sees of the planes with the source's own expression [B, 3, Q, Q]."""
        at_rest = self.deformation(secc_canonical, secc_canonical, self.ray_points(source_camera))
        _, alpha, place = self.renderer.placed(at_rest, source_camera, planes)
        return source_view(source_camera, place, alpha)


def frame_to_uint8(frame: Tensor) -> Tensor:
    """[1, 3, S, S] → [S, S, 3] uint8, clamped to [0, 1] and rounded.

    The cast comes last, since TensorRT takes 8-bit values for network outputs only.
    """
    return (frame[0].clamp(0.0, 1.0) * 255.0).round().permute(1, 2, 0).to(torch.uint8)


def random_model(config: ModelConfig, seed: int) -> HideNerf:
    """Untrained weights from `seed` alone, in evaluation mode; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HideNerf(config)
    return model.eval()
