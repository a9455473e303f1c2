"""Fast volumes: the sum of products of `VolumeHead` for training on a GPU, fused forward and backward.

PyTorch multiplies half a million 32 × 4 by 4 × 16 matrices with kernels made for large ones, and writes the softmax to
memory in between. The model's own function defines the result; it runs without Triton or a GPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hidenerf.model.appearance import VolumeHead
from hidenerf.model.hidenerf import HideNerf
from hidenerf.training.kernels.triton_use import kernels_fit, power_of_two

# Pixels of one program, and its warps.
BLOCK = 16
WARPS = 4


class FastVolumeHead(VolumeHead):
    """`VolumeHead` through the kernels where they fit."""

    def sum_of_products(self, features: Tensor, logits: Tensor) -> Tensor:
        """features [B, r, r, T, C], logits [B, r, r, T, D] → volume [B, C, D, r, r]."""
        if kernels_fit(features):
            return _Products.apply(features, logits).permute(0, 4, 3, 1, 2)
        return super().sum_of_products(features, logits)


def use_fast_volumes(model: HideNerf) -> None:
    """Change the class of the model's volume heads; only one function differs, so the model's state is unchanged."""
    for head in model.appearance.volume_heads:
        head.__class__ = FastVolumeHead


class _Products(torch.autograd.Function):
    """Sum of products as an autograd function.

    features: [B, r, r, T, C]. logits: [B, r, r, T, D]. Result: [B, r, r, D, C], of the features' type.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, logits: Tensor) -> Tensor:
        from hidenerf.training.kernels import volume_kernels as kernels

        features, logits = features.contiguous(), logits.contiguous()
        *maps, _, channels = features.shape
        volume = torch.empty(*maps, logits.shape[-1], channels, device=features.device, dtype=features.dtype)
        sizes = _sizes(features, logits)
        kernels.products_forward[_grid(sizes)](features, logits, volume, **sizes)
        ctx.save_for_backward(features, logits)
        return volume

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        from hidenerf.training.kernels import volume_kernels as kernels

        features, logits = ctx.saved_tensors
        found = torch.empty_like(features), torch.empty_like(logits)
        sizes = _sizes(features, logits)
        kernels.products_backward[_grid(sizes)](features, logits, gradients[0].contiguous(), *found, **sizes)
        return found


def _grid(sizes: dict[str, int]) -> tuple[int]:
    """Number of programs."""
    return (-(-sizes["pixels"] // BLOCK),)


def _sizes(features: Tensor, logits: Tensor) -> dict[str, int]:
    """Size arguments of both kernels."""
    terms, channels = features.shape[-2:]
    depth = logits.shape[-1]
    return {
        "pixels": features.numel() // (terms * channels),
        "TERMS": terms,
        "CHANNELS": channels,
        "DEPTH": depth,
        "WIDTH": power_of_two(channels),
        "DEPTHS": power_of_two(depth),
        "BLOCK": BLOCK,
        "num_warps": WARPS,
    }
