"""Training forward pass: the model's networks, with jittered ray samples and perturbed points for LED.

Without noise it computes the same as `HideNerf.forward`, which a test checks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hidenerf.model.alignment import align, source_view
from hidenerf.model.config import UNALIGNED
from hidenerf.model.geometry import ray_points, rays_from_camera
from hidenerf.model.hidenerf import HideNerf, Output
from hidenerf.model.rendering import Renderer
from hidenerf.training.data.batch import Batch
from hidenerf.training.kernels.field import Mlp, render_field
from hidenerf.training.kernels.sampling import plane_features


class Noise(NamedTuple):
    """Amounts of noise, as scalar tensors on the device, so that they can change between replays of a recorded step.

    jitter: in [0, 1]. Each ray sample moves along its ray within this share of its interval (stratified sampling); its
        Δ is that of the interval's middle.
    perturbation: standard deviation, world units, of the noise on the points that LED sees; Δ is added to the points
        without noise (supplement 6.1).
    generator: of the random numbers.
    """

    jitter: Tensor
    perturbation: Tensor
    generator: torch.Generator


def training_forward(model: HideNerf, batch: Batch, noise: Noise | None, at_rest: int = 0) -> tuple[Output, Tensor]:
    """The model's output for a batch, and Δ [at_rest, 3N, R, R] at rest, on the source's rays, for the surface loss.

    The networks run in the caller's autocast mode; rays, points and compositing are FP32.
    noise: None for none.
    at_rest: number of pairs, the first ones, for which LED also runs with the canonical SECC as driving SECC, on the
        source's rays. They are in one batch with the others, so that LED's batch norms see both. A model with alignment
        needs this for all pairs, and returns as many.
    """
    aligned = model.config.alignment != UNALIGNED
    at_rest = len(batch.camera) if aligned else at_rest
    rays = rays_from_camera(batch.camera, model.config.render_size)
    middle, length = ray_points(rays, model.config.samples_per_ray)
    seen = drawn = middle
    if noise is not None:
        normal = torch.randn(middle.shape, generator=noise.generator, device=middle.device)
        uniform = torch.rand(middle[:, :, :1].shape, generator=noise.generator, device=middle.device)
        seen = middle + noise.perturbation * normal
        shift = noise.jitter * (uniform - 0.5)
        drawn = middle + rays.direction[:, None] * (shift * length[:, None])
    source_rays = rays_from_camera(batch.source_camera[:at_rest], model.config.render_size)
    source_points, source_length = ray_points(source_rays, model.config.samples_per_ray)
    with _InterpolationInItsOwnType():
        planes = model.appearance(batch.source_image, batch.source_camera)
        own_secc = batch.secc_canonical[:at_rest]
        driving, canonical = (torch.cat([secc, own_secc]) for secc in (batch.secc_driving, batch.secc_canonical))
        both = model.deformation(driving, canonical, torch.cat([seen, source_points]))
        deformation, deformation_at_rest = both.split([len(seen), at_rest])
        rendered, rendered_alpha, place = render(model.renderer, drawn, length, deformation, planes)
        alignment = None
        if aligned:
            with torch.no_grad():
                own = render(model.renderer, source_points, source_length, deformation_at_rest, planes)
                source = source_view(batch.source_camera, own[2], own[1])
            alignment = align(source, place, rendered_alpha, batch.face_sight)
        identity = model.id_encoder(batch.source_image)
        frame, alpha = model.refiner(rendered, rendered_alpha, identity, alignment, batch.source_image)
    return Output(frame, alpha, rendered, rendered_alpha, deformation, place), deformation_at_rest


class _InterpolationInItsOwnType(TorchFunctionMode):
    """Mode in which F.interpolate keeps its input's type.

    Autocast would run it in FP32, and then everything up to the next convolution too.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.interpolate:
            with torch.autocast(args[0].device.type, enabled=False):
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def render(
    renderer: Renderer, points: Tensor, length: Tensor, deformation: Tensor, planes: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """`rendering.triplane_render_placed` at given points; returns rendered [B, K, R, R], alpha and place [B, 3, R, R].

    points: [B, N, 3, R, R], world units.
    length: [B, 1, R, R], of the rays' intervals.
    deformation: [B, 3N, R, R], Δ.
    planes: of each level, [B, 3, C, r_l, r_l].
    """
    batch, _, _, size, _ = points.shape
    moved = points + deformation.reshape(points.shape).to(points.dtype)
    features = plane_features(planes, moved.flatten(3))
    field = render_field(
        features, points.flatten(3), moved.flatten(3), length.flatten(2), Mlp.of(renderer), renderer.octaves
    )
    return tuple(one.reshape(batch, -1, size, size) for one in field)  # type: ignore[return-value]
