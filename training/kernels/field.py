"""Fused field: MLP and compositing of `rendering.triplane_render`, after its look-ups, for training on a GPU.

Between two layers PyTorch writes and reads a map of all samples of all rays: 0.5 GB in the preset `demo` with 32 pairs.
The Triton kernels here keep a sample in registers, forward and backward. Plain functions define the results; they run
without Triton or a GPU, in FP32, and while torch.compile traces.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hidenerf.model.rendering import DENSITY_SCALE, Renderer, positional_encoding, ray_weights
from hidenerf.training.kernels.triton_use import kernels_fit, power_of_two

# Largest number of rays of one program, and its warps. There are fewer rays if their features at one sample are more
# than TILE values: then the shared memory of a program, at the presets' widths, fits every GPU with bfloat16 tensor
# cores (SM 80 and later, BFLOAT16_FROM).
BLOCK = 64
WARPS = 4
TILE = 4096
BFLOAT16_FROM = (8, 0)
# The smallest width of a product on tensor cores.
NARROWEST = 16


class Mlp(NamedTuple):
    """Weights of the two-layer MLP; its outputs are K channels, then density.

    first: [W, F + E], for F features and E channels of positional encoding.
    first_bias: [W].
    second: [K + 1, W].
    second_bias: [K + 1].
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    @staticmethod
    def of(renderer: Renderer) -> "Mlp":
        """The weights of a renderer."""
        return Mlp(renderer.first.weight, renderer.first.bias, renderer.second.weight, renderer.second.bias)


def render_field(
    features: Tensor, points: Tensor, moved: Tensor, length: Tensor, mlp: Mlp, octaves: int
) -> tuple[Tensor, Tensor, Tensor]:
    """MLP and compositing of looked-up samples; differentiable in features, moved and mlp.

    features: [B, N, P, F].
    points: [B, N, 3, P], samples in the observed space, world units.
    moved: [B, N, 3, P], samples moved by Δ to the canonical space, world units.
    length: [B, 1, P], of the rays' intervals, world units.
    octaves: of the positional encoding.
    Returns rendered [B, K, P], alpha [B, P], and place [B, 3, P], the moved points composited like colours. The layers'
    products have the type of the features; all else has the type of the points.
    """
    if _fits(features):
        return _Field.apply(features, points, moved, length, *mlp, octaves)
    return plain_field(features, points, moved, length, mlp, octaves)


def plain_field(
    features: Tensor, points: Tensor, moved: Tensor, length: Tensor, mlp: Mlp, octaves: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`render_field` by PyTorch's functions, with channels innermost.

    The first layer is applied to features and positional encoding separately, since no gradient flows into the latter.
    """
    encoding = positional_encoding(points.transpose(1, 2), octaves).permute(0, 2, 3, 1)
    from_features, from_encoding = mlp.first.split([features.shape[-1], encoding.shape[-1]], 1)
    hidden = F.linear(features, from_features) + F.linear(encoding.to(features.dtype), from_encoding, mlp.first_bias)
    raw = F.linear(F.relu(hidden), mlp.second, mlp.second_bias).to(length.dtype).permute(0, 3, 1, 2)
    sigma = DENSITY_SCALE * F.softplus(raw[:, -1])
    weight = ray_weights(sigma, length)
    rendered, place = ((weight[:, None] * one).sum(2) for one in (torch.sigmoid(raw[:, :-1]), moved.transpose(1, 2)))
    return rendered, weight.sum(1), place


def _fits(features: Tensor) -> bool:
    """Whether the kernels run on these features; not in FP32, whose products would spill most registers on a GPU."""
    if not kernels_fit(features) or features.dtype == torch.float32:
        return False
    return not features.is_cuda or torch.cuda.get_device_capability(features.device) >= BFLOAT16_FROM


class _Field(torch.autograd.Function):
    """`render_field` as an autograd function."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        points: Tensor,
        moved: Tensor,
        length: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
        octaves: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from hidenerf.training.kernels import field_kernels as kernels

        batch, _, pixels, _ = features.shape
        inputs = tuple(given.contiguous() for given in (features, points, moved, length))
        low = first.to(features.dtype).contiguous(), second.to(features.dtype).contiguous()
        weights = low[0], first_bias, low[1], second_bias
        rendered = torch.empty(batch, pixels, len(second) - 1, device=points.device, dtype=points.dtype)
        alpha = torch.empty(batch, pixels, device=points.device, dtype=points.dtype)
        place = torch.empty(batch, 3, pixels, device=points.device, dtype=points.dtype)
        outputs = rendered, alpha, place
        ctx.sizes = _sizes(features, len(first), len(second), 6 * octaves)
        kernels.field_forward[_grid(batch, pixels, ctx.sizes)](*inputs, *weights, *outputs, **ctx.sizes)
        ctx.save_for_backward(*inputs, *weights, *outputs)
        ctx.types = first.dtype, second.dtype
        return rendered.transpose(1, 2), alpha, place

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from hidenerf.training.kernels import field_kernels as kernels

        features, points, moved, _, first, first_bias, second, second_bias, *_ = ctx.saved_tensors
        grid = _grid(len(features), features.shape[2], ctx.sizes)
        parts = [
            torch.empty(grid[0] * grid[1], *weight.shape, device=points.device, dtype=points.dtype)
            for weight in (first, first_bias, second, second_bias)
        ]
        of_inputs = torch.empty_like(features), torch.empty_like(moved)
        of_outputs = gradients[0].transpose(1, 2).contiguous(), *(gradient.contiguous() for gradient in gradients[1:])
        kernels.field_backward[grid](*ctx.saved_tensors, *of_outputs, *of_inputs, *parts, **ctx.sizes)
        sums = [part.sum(0) for part in parts]
        sums[0], sums[2] = sums[0].to(ctx.types[0]), sums[2].to(ctx.types[1])
        return of_inputs[0], None, of_inputs[1], None, *sums, None


def rays_a_program(channels: int) -> int:
    """Rays of one program. channels: F, features at a sample."""
    return min(BLOCK, max(NARROWEST, TILE // _width(channels)))


def _width(size: int) -> int:
    """A size rounded up to a power of two, at least NARROWEST."""
    return max(NARROWEST, power_of_two(size))


def _grid(batch: int, pixels: int, sizes: dict[str, Any]) -> tuple[int, int]:
    """Programs along rays and batch."""
    return -(-pixels // sizes["BLOCK"]), batch


def _sizes(features: Tensor, hidden: int, outputs: int, encoding: int) -> dict[str, Any]:
    """Size arguments of both kernels. hidden: W. outputs: K + 1. encoding: E."""
    _, samples, pixels, channels = features.shape
    sizes = {"FEATURES": channels, "ENCODING": encoding, "HIDDEN": hidden, "OUTPUTS": outputs}
    widths = {name: _width(size) for name, size in sizes.items()}
    return {
        "pixels": pixels,
        "feature_channels": channels,
        "encoding_channels": encoding,
        "hidden_channels": hidden,
        "outputs": outputs,
        "scale": DENSITY_SCALE,
        "SAMPLES": samples,
        **widths,
        "BLOCK": rays_a_program(channels),
        "num_warps": WARPS,
    }
