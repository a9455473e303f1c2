"""Building blocks shared by the networks. Every normalisation is a batch norm, so all of them fold at inference."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.1


def upsample(x: Tensor) -> Tensor:
    """[B, C, H, W] → [B, C, 2H, 2W], bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] that a batch norm uses at inference."""
    if norm.running_mean is None or norm.running_var is None:
        raise AssertionError("every batch norm of ours keeps running statistics")
    return norm.running_mean, norm.running_var


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(LEAK),
        )


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), channels kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, H, W] → the same shape."""
        return F.leaky_relu(x + self.second(self.first(x)), LEAK)


class UNet(nn.Module):
    """Down through `channels` (finest first, stride 2 between them), and up again over skip connections.

    Returns the decoder's maps coarsest first: the bottleneck, then one map for each finer resolution.
    """

    def __init__(self, inputs: int, channels: Sequence[int], stem_stride: int = 1) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        self.stem = ConvBlock(inputs, channels[0], stride=stem_stride)
        self.down = nn.ModuleList(
            nn.Sequential(ConvBlock(fine, coarse, stride=2), ConvBlock(coarse, coarse)) for fine, coarse in pairs
        )
        self.bottleneck = ResidualBlock(channels[-1])
        self.up = nn.ModuleList(ConvBlock(coarse + fine, fine) for fine, coarse in reversed(pairs))

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B, inputs, H, W] → the decoder's maps, coarsest first."""
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        maps = [self.bottleneck(skips.pop())]
        for up in self.up:
            maps.append(up(torch.cat([upsample(maps[-1]), skips.pop()], 1)))
        return maps
