"""Discriminators of adversarial training, conditioned on the camera as in StyleGAN2-ADA (paper, supplement 6.2)."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2
_NARROW, _WIDE = 32, 64
_EMBEDDING = 32


class DownBlock(nn.Module):
    """Residual block that halves the resolution; the shortcut is average-pooled.

    inputs, outputs: numbers of channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, inputs, 3, 1, 1)
        self.second = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, inputs, H, W] → [B, outputs, H/2, W/2]."""
        hidden = F.leaky_relu(self.first(x), LEAK)
        hidden = F.leaky_relu(self.second(F.avg_pool2d(hidden, 2)), LEAK)
        return (hidden + self.shortcut(F.avg_pool2d(x, 2))) / math.sqrt(2)


class Discriminator(nn.Module):
    """Discriminator: residual blocks down to 4 × 4, then the dot product of the features with a camera embedding.

    StyleGAN2-ADA's adaptive augmentation, meant for small data sets, is left out: pairs here do not repeat for long.

    size: of the images, a power of two.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        halvings = int(math.log2(size)) - 3
        widths = [min(_WIDE, _NARROW << level) for level in range(halvings + 1)]
        # Blocks of 2 × 2 pixels become one pixel of 12 channels: a quarter of the work at the largest size.
        self.stem = nn.Conv2d(12, widths[0], 3, 1, 1)
        self.blocks = nn.Sequential(*(DownBlock(fine, coarse) for fine, coarse in itertools.pairwise(widths)))
        self.last = nn.Linear(widths[-1] * 16, _EMBEDDING)
        self.camera = nn.Sequential(nn.Linear(25, 64), nn.LeakyReLU(LEAK), nn.Linear(64, _EMBEDDING))

    def forward(self, image: Tensor, camera: Tensor) -> Tensor:
        """image [B, 3, size, size] in [0, 1], camera [B, 25] → logits [B], larger for real images."""
        x = self.blocks(F.leaky_relu(self.stem(F.pixel_unshuffle(image * 2.0 - 1.0, 2)), LEAK))
        features = F.leaky_relu(self.last(x.flatten(1)), LEAK)
        return (features * self.camera(camera)).sum(1).float() / math.sqrt(_EMBEDDING)


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator; fake: logits [B] of its images."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of the discriminator; real, fake: logits [B]."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1_penalty(discriminator: Discriminator, image: Tensor, camera: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018): half the mean squared norm of the logits' gradient at real images.

    image: [B, 3, size, size] in [0, 1].
    camera: [B, 25].
    """
    image = image.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(image, camera).sum(), image, create_graph=True)
    return 0.5 * slope.square().sum((1, 2, 3)).mean()
