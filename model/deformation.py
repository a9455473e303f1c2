"""LED: the lightweight expression-aware deformation module (paper §3.2, Eq. 4 as read in DESIGN §8)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hidenerf.model.config import ModelConfig
from hidenerf.model.geometry import frontal_projection, ray_points, rays_from_camera
from hidenerf.model.layers import LEAK, ConvBlock, ResidualBlock, UNet, running_statistics

# SECC colours change little for blinks and brows, so their difference is an input, too, scaled up.
DIFFERENCE_SCALE = 8.0


def look_up(features: Tensor, points: Tensor, stride: int) -> Tensor:
    """Features of an SECC pair [B, K, R, R] at the frontal projections of every `stride`-th of the ray points.

    points: [B, N, 3, R, R]; of each `stride` samples the one at `stride` // 2 is looked up. Returns [B, K·n, R, R],
    channel k·n + j: feature k at the j-th of the n samples; 0 beside the SECC.
    """
    chosen = points[:, stride // 2 :: stride]
    batch, count, _, size, _ = chosen.shape
    grid = frontal_projection(chosen.permute(0, 1, 3, 4, 2)).reshape(batch, count * size, size, 2)
    sampled = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.reshape(batch, -1, size, size)


def ray_samples(camera: Tensor, features: Tensor, samples: int, stride: int) -> tuple[Tensor, Tensor]:
    """What LED reads along a camera's rays: this function defines the custom op `hidenerf::RaySamples`.

    camera: [B, 25]; its type is that of all that is computed. features: [B, K, R, R], see `look_up`. samples: N.
    stride: see `look_up`. Returns the ray points [B, 3N, R, R], channel 3i + k: axis k of sample i, and the looked-up
    features [B, K·n, R, R], both rounded to the features' type.
    """
    points, _ = ray_points(rays_from_camera(camera, features.shape[-1]), samples)
    looked_up = look_up(features.to(points.dtype), points, stride)
    return points.flatten(1, 2).to(features.dtype), looked_up.to(features.dtype)


class ExpressionStem(nn.Module):
    """First convolution and batch norm on the SECC pair and their scaled difference.

    Being affine at inference it splits into a driving half, which runs per frame, and a canonical half, a constant
    of the source.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(9, outputs, 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, secc_driving: Tensor, secc_canonical: Tensor) -> Tensor:
        """Two SECCs [B, 3, Q, Q] → [B, outputs, Q/2, Q/2]."""
        difference = (secc_driving - secc_canonical) * DIFFERENCE_SCALE
        return self.norm(self.convolution(torch.cat([secc_driving, secc_canonical, difference], 1)))

    def canonical_half(self, secc_canonical: Tensor) -> Tensor:
        """What does not depend on the driving SECC: [B, 3, Q, Q] → [B, outputs, Q/2, Q/2]."""
        weight, bias = self.fold_norm()
        return F.conv2d(secc_canonical, weight[:, 3:6] - DIFFERENCE_SCALE * weight[:, 6:9], bias, 2, 2)

    def driving_half(self, secc_driving: Tensor) -> Tensor:
        """What depends on the driving SECC: [B, 3, Q, Q] → [B, outputs, Q/2, Q/2]; add it to the canonical half."""
        weight, _ = self.fold_norm()
        return F.conv2d(secc_driving, weight[:, 0:3] + DIFFERENCE_SCALE * weight[:, 6:9], None, 2, 2)

    def at_rest(self, secc_canonical: Tensor) -> Tensor:
        """Both halves for the source's own expression, whose difference is 0: one convolution, same shapes."""
        weight, bias = self.fold_norm()
        return F.conv2d(secc_canonical, weight[:, 0:3] + weight[:, 3:6], bias, 2, 2)

    def fold_norm(self) -> tuple[Tensor, Tensor]:
        """Weight [outputs, 9, 5, 5] and bias [outputs] of the convolution with the batch norm taken in."""
        mean, variance = running_statistics(self.norm)
        norm = self.norm
        return fuse_conv_bn_weights(self.convolution.weight, None, mean, variance, norm.eps, norm.weight, norm.bias)


class DeformationModule(nn.Module):
    """Expression encoder on the SECC pair, fully convolutional position encoder on the ray points, and decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        samples, width = config.samples_per_ray, config.expression_channels
        self.samples = samples
        self.lookup_stride = config.lookup_stride
        self.maximum = config.maximum_deformation
        self.expression_stem = ExpressionStem(width)
        self.expression_encoder = nn.Sequential(ConvBlock(width, width), ResidualBlock(width))
        self.lookup = nn.Conv2d(width, config.lookup_channels, 1)
        self.position_encoder = nn.Sequential(
            ConvBlock(3 * samples, 2 * config.position_channels, kernel=1),
            ConvBlock(2 * config.position_channels, config.position_channels),
        )
        looked_up = config.lookup_channels * (samples // config.lookup_stride)
        self.decoder = UNet(width + config.position_channels + looked_up, config.deformation_channels)
        self.head = nn.Conv2d(config.deformation_channels[0], 3 * samples, 3, 1, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    def forward(self, secc_driving: Tensor, secc_canonical: Tensor, points: Tensor) -> Tensor:
        """SECC pair [B, 3, Q, Q], ray points [B, N, 3, R, R] → Δ [B, 3N, R, R], channel 3i + k: axis k of sample i."""
        return self.decode(self.expression_stem(secc_driving, secc_canonical), points)

    def decode(self, expression: Tensor, points: Tensor) -> Tensor:
        """Output of the expression stem [B, E, R, R] and ray points [B, N, 3, R, R] → Δ [B, 3N, R, R]."""
        embedding, features = self.encode(expression)
        return self.deform(embedding, points.flatten(1, 2), look_up(features, points, self.lookup_stride))

    def encode(self, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the expression stem [B, E, R, R] → embedding [B, E, R, R], features to look up [B, K, R, R]."""
        embedding = self.expression_encoder(F.leaky_relu(expression, LEAK))
        return embedding, self.lookup(embedding)

    def deform(self, embedding: Tensor, points: Tensor, looked_up: Tensor) -> Tensor:
        """Embedding [B, E, R, R] and what `ray_samples` returns → Δ [B, 3N, R, R]."""
        position = self.position_encoder(points)
        maps = self.decoder(torch.cat([embedding, position, looked_up], 1))
        return self.maximum * torch.tanh(self.head(maps[-1]))
