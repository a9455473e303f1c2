"""LED: the lightweight expression-aware deformation module (paper §3.2, Eq. 4 as read in DESIGN §8)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hidenerf.model.config import ModelConfig
from hidenerf.model.geometry import frontal_projection
from hidenerf.model.layers import LEAK, ConvBlock, ResidualBlock, UNet, running_statistics

# SECC colours change little for blinks and brows, so their difference is an input, too, scaled up.
DIFFERENCE_SCALE = 8.0


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
        batch, _, _, size, _ = points.shape
        embedding = self.expression_encoder(F.leaky_relu(expression, LEAK))
        looked_up = self.look_up(self.lookup(embedding), points)
        position = self.position_encoder(points.reshape(batch, 3 * self.samples, size, size))
        maps = self.decoder(torch.cat([embedding, position, looked_up], 1))
        return self.maximum * torch.tanh(self.head(maps[-1]))

    def look_up(self, features: Tensor, points: Tensor) -> Tensor:
        """SECC features [B, K, R, R] at the frontal projections of every `lookup_stride`-th sample: [B, K·n, R, R]."""
        chosen = points[:, self.lookup_stride // 2 :: self.lookup_stride]
        batch, count, _, size, _ = chosen.shape
        grid = frontal_projection(chosen.permute(0, 1, 3, 4, 2)).reshape(batch, count * size, size, 2)
        sampled = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return sampled.reshape(batch, -1, size, size)
