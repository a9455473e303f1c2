"""Appearance limits: how well the renderer reproduces the source, with predicted and with fitted tri-planes.

    python benchmarks/appearance_limits.py [--checkpoint FILE] [--people 4] [--steps 60]

The target is the source itself, so nothing is deformed or unseen. Four renderings of R × R pixels are compared, as
means over held-out synthetic people: with the network's tri-planes; with tri-planes, and with feature volumes, that are
fitted to the picture by gradient descent; and the picture itself at R × R, the upper limit.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.appearance import AppearanceModule
from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
from hidenerf.model.geometry import ray_points, rays_from_camera
from hidenerf.model.hidenerf import HideNerf
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_held_out_pair
from hidenerf.training.evaluation.metrics import psnr, silhouette_iou
from hidenerf.training.loop.losses import alpha_cross_entropy, resized
from hidenerf.training.loop.network import render

# Adam's learning rates of the fits.
PLANES_RATE, VOLUMES_RATE = 0.02, 0.1

# Tri-planes of each level, [1, 3, C, r, r].
Planes = list[Tensor]


@click.command(context_settings={"show_default": True})
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Default: the shipped one.")
@click.option("--people", type=click.IntRange(1), default=4)
@click.option("--steps", type=click.IntRange(1), default=60, help="Of each fit.")
def main(checkpoint: Path | None, people: int, steps: int) -> None:
    """Print masked PSNR and silhouette IoU of each way, at R and enlarged to S."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_checkpoint(checkpoint or default_checkpoint_path()).to(device).eval().requires_grad_(False)
    rows: dict[str, list[list[float]]] = {}
    for index in range(people):
        pair = make_held_out_pair(load_head_mesh().face_model, index)
        same = dataclasses.replace(pair, expression=pair.source_expression, camera=pair.source_camera)
        batch = render_pairs(model.config, device, [same])
        for name, (rendered, alpha) in ways(model, batch, steps).items():
            rows.setdefault(name, []).append(figures(rendered, alpha, batch))
    for name, values in rows.items():
        small, large, overlap = np.mean(values, 0)
        print(f"{name:22s} PSNR masked {small:5.1f} dB at R, {large:5.1f} dB at S; IoU {overlap:.3f}", flush=True)


def ways(model: HideNerf, batch: Batch, steps: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Rendered colours [1, 3, R, R] and alpha [1, 1, R, R] of the source, by way.

    batch: one pair whose target is the source.
    steps: of each fit.
    """
    points, length = ray_points(rays_from_camera(batch.camera, model.config.render_size), model.config.samples_per_ray)
    deformation = model.deformation(batch.secc_driving, batch.secc_canonical, points)
    volumes = feature_volumes(model.appearance, batch)
    planes = planes_of(model.appearance, volumes, batch.source_camera)
    size = model.config.render_size
    target, mask = resized(batch.target, size), resized(batch.mask, size)

    def draw(given: Planes) -> tuple[Tensor, Tensor]:
        rendered, alpha, _ = render(model.renderer, points, length, deformation, given)
        return rendered[:, :3], alpha

    def fitted(start: Planes, rate: float, make: Callable[[Planes], Planes]) -> tuple[Tensor, Tensor]:
        free = [tensor.clone().requires_grad_() for tensor in start]
        optimizer = torch.optim.Adam(free, rate)
        for _ in range(steps):
            rendered, alpha = draw(make(free))
            error = rendered - target
            loss = (
                10 * error.square().mean()
                + error.abs().mean()
                + 0.3 * alpha_cross_entropy(alpha, mask, torch.ones_like(mask))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return draw(make(free))

    return {
        "the network's planes": draw(planes),
        "planes fitted": fitted(planes, PLANES_RATE, lambda given: given),
        "volumes fitted": fitted(
            volumes, VOLUMES_RATE, lambda given: planes_of(model.appearance, given, batch.source_camera)
        ),
        "the picture at R": (target, mask),
    }


def feature_volumes(appearance: AppearanceModule, batch: Batch) -> list[Tensor]:
    """The feature volumes [1, C, D, r, r] that the network predicts for a batch of one pair, by level."""
    heads = appearance.volume_heads
    caught: list[Tensor] = []
    hooks = [head.register_forward_hook(lambda _, __, out: caught.append(out)) for head in heads]
    appearance(batch.source_image, batch.source_camera)
    for hook in hooks:
        hook.remove()
    return caught


def planes_of(appearance: AppearanceModule, volumes: list[Tensor], camera: Tensor) -> Planes:
    """Tri-planes by level of given volumes (Eq. 1 and 2). volumes: [1, C, D, r, r] by level. camera: [1, 25]."""
    planes: Planes = []
    for level, volume in enumerate(volumes):
        plane = appearance.camera_to_world[level](volume, camera)
        planes.append(plane if level == 0 else appearance.add_below(level, planes[-1], plane))
    return planes


def figures(rendered: Tensor, alpha: Tensor, batch: Batch) -> list[float]:
    """Masked PSNR at R and at S, dB, and silhouette IoU at S.

    rendered: [1, 3, R, R]. alpha: [1, 1, R, R].
    """
    size, full = rendered.shape[-1], batch.target.shape[-1]
    small = psnr(rendered, resized(batch.target, size), (resized(batch.mask, size) > 0.5).float())
    large, large_alpha = (F.interpolate(t, size=(full, full), mode="bilinear") for t in (rendered, alpha))
    mask = (batch.mask > 0.5).float()
    values = small, psnr(large, batch.target, mask), silhouette_iou(large_alpha, mask)
    return [math.nan if value.isnan() else float(value) for value in values]


if __name__ == "__main__":
    main()
