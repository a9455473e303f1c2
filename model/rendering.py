"""The field and its volume rendering (paper §3.3, Eq. 5 as read in DESIGN §8)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.config import ModelConfig
from hidenerf.model.geometry import ray_points, rays_from_camera

# σ = DENSITY_SCALE · softplus(raw): an opaque surface is a few hundredths of a unit thick.
DENSITY_SCALE = 10.0
INITIAL_DENSITY_BIAS = -3.0


def positional_encoding(points: Tensor, octaves: int) -> Tensor:
    """[B, 3, ...] → [B, 6·octaves, ...]: sin(2^k π p), cos(2^k π p) for k = 0, 1, …

    Higher octaves come from the double-angle formulas, which cost no further sines.
    """
    sine, cosine = torch.sin(points * math.pi), torch.cos(points * math.pi)
    bands = [sine, cosine]
    for _ in range(octaves - 1):
        sine, cosine = 2.0 * sine * cosine, 1.0 - 2.0 * sine * sine
        bands += [sine, cosine]
    return torch.cat(bands, 1)


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Mean over XY, XZ, YZ of the bilinear samples: planes [B, 3, C, r, r], points [B, 3, P, Q] → [B, C, P, Q].

    XY has x along its columns and y along its rows, XZ x and z, YZ y and z; outside [-1, 1] features are zero.
    """
    batch, _, channels, size, _ = planes.shape
    axes = [points[:, axis] for axis in range(3)]
    grid = torch.stack([torch.stack([axes[a], axes[b]], -1) for a, b in ((0, 1), (0, 2), (1, 2))], 1)
    sampled = F.grid_sample(
        planes.reshape(batch * 3, channels, size, size).to(grid.dtype),
        grid.flatten(0, 1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return sampled.reshape(batch, 3, channels, *sampled.shape[-2:]).mean(1)


def ray_weights(sigma: Tensor, length: Tensor) -> Tensor:
    """Eq. 5's weight of each sample: sigma [B, N, P], interval length [B, 1, P] → [B, N, P]."""
    optical = sigma * length
    before = torch.cumsum(optical, 1) - optical
    return torch.exp(-before) * (1.0 - torch.exp(-optical))


def triplane_render(
    deformation: Tensor,
    camera: Tensor,
    planes: Sequence[Tensor],
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    octaves: int,
) -> tuple[Tensor, Tensor]:
    """The whole renderer: this function defines the custom op `hidenerf::TriplaneRender`.

    deformation [B, 3N, R, R] (channel 3i + k), camera [B, 25], planes per level [B, 3, C, r_l, r_l], weight_1
    [W, L·C + 6·octaves], bias_1 [W], weight_2 [K + 1, W], bias_2 [K + 1] (K rendered channels, then density) → rendered
    [B, K, R, R] in [0, 1], alpha [B, 1, R, R]. The first three channels are colours; the others are features that are
    composited as colours are. Coordinates and compositing are FP32 whatever the planes and weights are.
    """
    mlp = weight_1, bias_1, weight_2, bias_2
    return triplane_render_placed(deformation, camera, planes, *mlp, octaves)[:2]


def triplane_render_placed(
    deformation: Tensor,
    camera: Tensor,
    planes: Sequence[Tensor],
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    octaves: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`triplane_render`, and where the rays end: the canonical points p + Δ composited as colours are, [B, 3, R, R]."""
    batch, channels, size, _ = deformation.shape
    samples = channels // 3
    points, length = ray_points(rays_from_camera(camera, size), samples)
    moved = points + deformation.reshape(points.shape)
    by_axis = [t.permute(0, 2, 1, 3, 4).reshape(batch, 3, samples, size * size) for t in (points, moved)]
    observed, canonical = by_axis
    parts = [sample_planes(plane, canonical) for plane in planes]
    parts.append(positional_encoding(observed, octaves))
    features = torch.cat(parts, 1).flatten(2).to(weight_1.dtype)
    hidden = F.relu(torch.matmul(weight_1, features) + bias_1[:, None])
    raw = (torch.matmul(weight_2, hidden) + bias_2[:, None]).to(length.dtype)
    raw = raw.reshape(batch, -1, samples, size * size)
    sigma = DENSITY_SCALE * F.softplus(raw[:, -1])
    weight = ray_weights(sigma, length.flatten(2))
    rendered, place = ((weight[:, None] * values).sum(2) for values in (torch.sigmoid(raw[:, :-1]), canonical))
    pictures = rendered, weight.sum(1, keepdim=True), place
    return tuple(one.reshape(batch, -1, size, size) for one in pictures)  # type: ignore[return-value]


class Renderer(nn.Module):
    """The two-layer MLP's weights, and `triplane_render` with them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.octaves = config.encoding_octaves
        inputs = len(config.plane_sizes) * config.plane_channels + 6 * self.octaves
        self.first = nn.Linear(inputs, config.mlp_width)
        self.second = nn.Linear(config.mlp_width, config.render_channels + 1)
        with torch.no_grad():
            self.second.bias[-1] = INITIAL_DENSITY_BIAS

    def forward(self, deformation: Tensor, camera: Tensor, planes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """deformation [B, 3N, R, R], camera [B, 25], planes → rendered [B, K, R, R], alpha [B, 1, R, R]."""
        return self.placed(deformation, camera, planes)[:2]

    def placed(self, deformation: Tensor, camera: Tensor, planes: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, and where the rays end [B, 3, R, R]: see `triplane_render_placed`."""
        mlp = self.first.weight, self.first.bias, self.second.weight, self.second.bias
        return triplane_render_placed(deformation, camera, planes, *mlp, self.octaves)
