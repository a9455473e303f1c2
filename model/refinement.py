"""ID encoder and refine network with SPADE (paper §3.3 and supplement 6.3)."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.config import ModelConfig
from hidenerf.model.layers import LEAK, ConvBlock, running_statistics, upsample

Normalise = Callable[[Tensor], Tensor]


class IdEncoder(nn.Module):
    """Source picture → multi-scale texture features, one map for each scale of the refiner's decoder."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvBlock(3, channels[0])
        self.down = nn.ModuleList(ConvBlock(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(channels))

    def forward(self, source_image: Tensor) -> list[Tensor]:
        """[B, 3, S, S] in [0, 1] → maps at S, S/2, …, finest first."""
        maps = [self.stem(source_image * 2.0 - 1.0)]
        for down in self.down:
            maps.append(down(maps[-1]))
        return maps


class Spade(nn.Module):
    """Spatially adaptive normalisation: norm(x)·(1 + γ) + β, with γ and β predicted from the identity's features.

    The inner norm is a batch norm without weights, so at inference `fold` turns the layer into x·gamma + beta. In
    training on a GPU `training.kernels.norm.spade_leaky` computes this layer and the leaky ReLU after it in Triton: see
    `FusedSpadeBlock` there.
    """

    def __init__(self, channels: int, identity_channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Sequential(nn.Conv2d(identity_channels, width, 3, 1, 1), nn.LeakyReLU(LEAK))
        self.gamma = nn.Conv2d(width, channels, 3, 1, 1)
        self.beta = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x [B, C, H, W], identity features [B, I, H, W] → [B, C, H, W]."""
        shared = self.shared(identity)
        return self.norm(x) * (1.0 + self.gamma(shared)) + self.beta(shared)

    def fold(self, identity: Tensor) -> tuple[Tensor, Tensor]:
        """identity features [B, I, H, W] → gamma, beta [B, C, H, W] of y = x·gamma + beta, the batch norm inside."""
        shared = self.shared(identity)
        mean, variance = running_statistics(self.norm)
        scale = torch.rsqrt(variance + self.norm.eps)[:, None, None]
        gamma = (1.0 + self.gamma(shared)) * scale
        return gamma, self.beta(shared) - gamma * mean[:, None, None]


class SpadeBlock(nn.Module):
    """Residual block with two SPADE norms; how they are evaluated is the caller's choice."""

    def __init__(self, inputs: int, outputs: int, identity_channels: int, width: int) -> None:
        super().__init__()
        self.spades = nn.ModuleList(Spade(channels, identity_channels, width) for channels in (inputs, outputs))
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, first_norm: Normalise, second_norm: Normalise) -> Tensor:
        hidden = self.first(F.leaky_relu(first_norm(x), LEAK))
        return self.skip(x) + self.second(F.leaky_relu(second_norm(hidden), LEAK))


class RefineNetwork(nn.Module):
    """Encoder-decoder from the rendered picture and its alpha at R to the frame and its alpha at S."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.refiner_channels
        at_render_size = channels[-3:]
        self.stem = ConvBlock(config.render_channels + 1, at_render_size[0])
        self.down = nn.ModuleList(
            ConvBlock(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(at_render_size)
        )
        coarse_to_fine = channels[::-1]
        inputs = (channels[-1], *coarse_to_fine[:-1])
        identities = config.identity_channels[::-1]
        self.blocks = nn.ModuleList(
            SpadeBlock(before, after, identity, config.spade_width)
            for before, after, identity in zip(inputs, coarse_to_fine, identities, strict=True)
        )
        self.head = nn.Conv2d(channels[0], 4, 3, 1, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    def forward(self, rendered: Tensor, alpha: Tensor, identity: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """rendered [B, K, R, R], its alpha [B, 1, R, R], ID maps finest first → frame [B, 3, S, S], alpha [B, 1, S, S].

        Neither is clamped to [0, 1].
        """
        norms = [
            partial(spade, identity=feature)
            for block, feature in zip(self.blocks, reversed(identity), strict=True)
            for spade in block.spades  # type: ignore[union-attr]
        ]
        return self.refine(rendered, alpha, norms)

    def fold(self, identity: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """ID maps finest first → (gamma, beta) of every SPADE layer in the order in which they run."""
        return [
            spade.fold(feature)
            for block, feature in zip(self.blocks, reversed(identity), strict=True)
            for spade in block.spades  # type: ignore[union-attr]
        ]

    def forward_folded(
        self, rendered: Tensor, alpha: Tensor, modulation: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The same as `forward` with the maps of `fold`: each SPADE layer is one multiply-add."""

        def multiply_add(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            return x * gamma + beta

        norms = [partial(multiply_add, gamma=gamma, beta=beta) for gamma, beta in modulation]
        return self.refine(rendered, alpha, norms)

    def refine(self, rendered: Tensor, alpha: Tensor, norms: Sequence[Normalise]) -> tuple[Tensor, Tensor]:
        """The network itself, with one normalisation per SPADE layer."""
        skips = [self.stem(torch.cat([rendered * 2.0 - 1.0, alpha], 1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        picture = torch.cat([rendered[:, :3], alpha], 1)
        for index, block in enumerate(self.blocks):
            if index > 0:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, norms[2 * index], norms[2 * index + 1])
            if index > 0 and skips:
                x = x + skips.pop()
        while picture.shape[-1] < x.shape[-1]:
            picture = upsample(picture)
        refined = picture + self.head(F.leaky_relu(x, LEAK))
        return refined[:, :3], refined[:, 3:]
