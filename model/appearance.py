"""MGA: the multi-scale generalised appearance module (paper §3.1), source picture → multi-scale tri-planes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.config import ModelConfig
from hidenerf.model.geometry import cell_centres, grid_sample_3d, volume_grid
from hidenerf.model.layers import ConvBlock, UNet, upsample

VolumeSampler = Callable[[Tensor, Tensor], Tensor]


class CameraToWorld(nn.Module):
    """Feature volume in the source camera's frame → three world planes (Eq. 1 as read in DESIGN §8).

    Each plane's cell is the mean of the volume's samples along the plane's normal.
    """

    def __init__(self, size: int, samples: int, sampler: VolumeSampler = grid_sample_3d) -> None:
        super().__init__()
        self.size = size
        self.samples = samples
        self.sampler = sampler

    def forward(self, volume: Tensor, camera: Tensor) -> Tensor:
        """volume [B, C, D, H, W], camera [B, 25] → planes [B, 3, C, size, size] in the order XY, XZ, YZ."""
        batch, channels = volume.shape[:2]
        grid = volume_grid(camera, self.size, self.samples)
        sampled = self.sampler(volume, grid).mean(3)
        return sampled.reshape(batch, channels, 3, self.size, self.size).transpose(1, 2)


class VolumeHead(nn.Module):
    """The small convolutional decoder from a feature map to a feature volume.

    The volume is a sum of products: features of a pixel, the same for all depths, times weights over the depths, the
    same for all channels. The network thus learns appearance and depth separately; a layer straight to C·D channels
    learned neither well (`docs/training.md`).
    """

    def __init__(self, inputs: int, channels: int, depth: int, terms: int) -> None:
        super().__init__()
        self.depth, self.terms = depth, terms
        self.trunk = ConvBlock(inputs, inputs)
        self.features = nn.Conv2d(inputs, terms * channels, 1)
        self.depth_logits = nn.Conv2d(inputs, terms * depth, 1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, F, r, r] → [B, C, D, r, r]."""
        x = self.trunk(feature_map)
        features, logits = (
            layer(x).permute(0, 2, 3, 1).unflatten(-1, (self.terms, -1)) for layer in (self.features, self.depth_logits)
        )
        return self.sum_of_products(features, logits)

    def sum_of_products(self, features: Tensor, logits: Tensor) -> Tensor:
        """features [B, r, r, T, C], logits of the weights [B, r, r, T, D] → [B, C, D, r, r].

        A term's weights have mean 1 over its depths.
        """
        weights = self.depth * torch.softmax(logits, -1)
        return torch.matmul(weights.transpose(-1, -2), features).permute(0, 4, 3, 1, 2)


class AppearanceModule(nn.Module):
    """Feature extractor with a pyramid, a feature volume per level, camera-to-world, and Eq. 2's chain of planes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.halved = config.enlarged
        levels = len(config.plane_sizes)
        channels = config.plane_channels
        self.extractor = UNet(5, config.extractor_channels, stem_stride=2)
        level_channels = config.extractor_channels[:levels][::-1]
        self.volume_heads = nn.ModuleList(
            VolumeHead(inputs, channels, depth, config.volume_terms)
            for inputs, depth in zip(level_channels, config.volume_depths, strict=True)
        )
        self.camera_to_world = nn.ModuleList(
            CameraToWorld(size, samples) for size, samples in zip(config.plane_sizes, config.plane_samples, strict=True)
        )
        self.from_below = nn.ModuleList(
            nn.Conv2d(3 * channels, 3 * channels, 3, 1, 1, groups=3) for _ in range(levels - 1)
        )

    def forward(self, source_image: Tensor, source_camera: Tensor) -> list[Tensor]:
        """source_image [B, 3, S, S] in [0, 1], source_camera [B, 25] → planes per level [B, 3, C, r_l, r_l]."""
        if self.halved:
            source_image = F.avg_pool2d(source_image, 2)
        batch, _, size, _ = source_image.shape
        position = cell_centres(size, source_image.device)
        columns = position.reshape(1, 1, 1, size).expand(batch, 1, size, size)
        rows = position.reshape(1, 1, size, 1).expand(batch, 1, size, size)
        maps = self.extractor(torch.cat([source_image * 2.0 - 1.0, columns, rows], 1))[-len(self.volume_heads) :]
        planes: list[Tensor] = []
        for level, (feature_map, head) in enumerate(zip(maps, self.volume_heads, strict=True)):
            plane = self.camera_to_world[level](head(feature_map), source_camera)
            planes.append(plane if level == 0 else self.add_below(level, planes[-1], plane))
        return planes

    def add_below(self, level: int, below: Tensor, plane: Tensor) -> Tensor:
        """Eq. 2: planes of the level below [B, 3, C, r/2, r/2] and resampled volume [B, 3, C, r, r] → planes."""
        return self.from_below[level - 1](upsample(below.flatten(1, 2))).reshape(plane.shape) + plane
