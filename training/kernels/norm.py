"""Fused norms: batch norms of training on a GPU together with the operations that follow them.

PyTorch reads and writes a whole feature map for each operation between two convolutions: add a bias, normalise, add or
modulate, leaky ReLU. The Triton kernels here fuse them, forward and backward, with less memory traffic. The model's
plain functions define the results; they run without Triton or a GPU, in evaluation mode, and while torch.compile
traces, since it generates kernels of its own.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hidenerf.model.alignment import Sight
from hidenerf.model.hidenerf import HideNerf
from hidenerf.model.layers import LEAK, ConvBlock, ResidualBlock, running_statistics
from hidenerf.model.refinement import AlignedSpade, ConstantNorm, Normalise, Spade, SpadeBlock, blended
from hidenerf.training.kernels.triton_use import kernels_fit, power_of_two

# Values of a map in one program at a time, and its warps: in bfloat16, two reads of 16 bytes a thread.
TILE = 2048
WARPS = 4
# Registers a thread of the kernel that computes four sums: the largest number with which PARTS programs fit the GPU.
REGISTERS = 128
# Largest number of programs that sum over a map: 4 for each of an H200's 132 multiprocessors, which run concurrently.
PARTS = 528
# Largest number of channels of one program: in bfloat16, one cache line.
WIDTH = 64


def batch_norm_leaky(x: Tensor, norm: nn.Module, residual: Tensor | None = None) -> Tensor:
    """Leaky ReLU of norm(x), or of norm(x) + residual, [B, C, H, W].

    x: [B, C, H, W].
    norm: a batch norm, or its replacement after folding. In training mode its running statistics are updated as by its
        own forward, without a synchronisation of host and GPU.
    residual: [B, C, H, W].
    """
    if isinstance(norm, nn.BatchNorm2d) and _fits(x, norm):
        return _NormLeaky.apply(x, norm.weight, norm.bias, residual, None, None, norm)
    normal = norm(x)
    return F.leaky_relu(normal if residual is None else residual + normal, LEAK)


def spade_leaky(spade: Spade, x: Tensor, identity: Tensor, sight: Sight | None = None) -> Tensor:
    """Leaky ReLU of spade(x, identity), [B, C, H, W].

    The convolutions of gamma and beta are merged: each alone has too few output channels to use a GPU fully.
    x: [B, C, H, W].
    identity: [B, I, H, W], identity features.
    sight: for an `AlignedSpade`.
    """
    if _fits(x, spade.norm):
        weight, bias = _weights(spade.shared[0])
        shared = _BiasLeaky.apply(F.conv2d(identity, weight, padding=1), bias)
        weights, biases = zip(_weights(spade.gamma), _weights(spade.beta), strict=True)
        modulation, bias = F.conv2d(shared, torch.cat(weights), padding=1), torch.cat(biases)
        if isinstance(spade, AlignedSpade):
            assert sight is not None
            kind = modulation.dtype
            maps = modulation + bias[:, None, None].to(kind)
            modulation = blended(maps, spade.absent.flatten()[:, None, None], sight).to(kind)
            bias = torch.zeros_like(bias)
        return _NormLeaky.apply(x, None, None, None, modulation, bias, spade.norm)
    return F.leaky_relu(spade(x, identity) if sight is None else spade(x, identity, sight), LEAK)


class FusedConvBlock(ConvBlock):
    """`ConvBlock` through `batch_norm_leaky`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C', H', W']."""
        convolution, norm, _ = self
        return batch_norm_leaky(convolution(x), norm)


class FusedResidualBlock(ResidualBlock):
    """`ResidualBlock` through `batch_norm_leaky`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C, H, W]."""
        convolution, norm = self.second
        return batch_norm_leaky(convolution(self.first(x)), norm, x)


class FusedSpadeBlock(SpadeBlock):
    """`SpadeBlock` through `spade_leaky`, if its norms are SPADE layers; other norms, such as folded ones, run too."""

    def forward(self, x: Tensor, first_norm: Normalise, second_norm: Normalise) -> Tensor:
        """x [B, C, H, W] → [B, C', H, W]; the norms precede the two convolutions."""
        hidden = self.first(_norm_leaky(first_norm, x))
        return self.skip(x) + self.second(_norm_leaky(second_norm, hidden))


# Subclass with fused norms of each kind of block.
FUSED: dict[type[nn.Module], type[nn.Module]] = {
    ConvBlock: FusedConvBlock,
    ResidualBlock: FusedResidualBlock,
    SpadeBlock: FusedSpadeBlock,
}


def use_fused_norms(model: HideNerf) -> None:
    """Change the classes of the model's blocks to those of FUSED.

    The classes differ in `forward` only, so the model's state is unchanged. LED's expression stem keeps PyTorch's norm,
    because its leaky ReLU is apart from it, in the graph per frame.
    """
    for module in model.modules():
        if type(module) in FUSED:
            module.__class__ = FUSED[type(module)]


def _norm_leaky(norm: Normalise, x: Tensor) -> Tensor:
    """Leaky ReLU of norm(x), fused if the norm is a kind that the kernels have."""
    if isinstance(norm, partial) and isinstance(norm.func, Spade):
        return spade_leaky(norm.func, x, **norm.keywords)
    if isinstance(norm, ConstantNorm) and _fits(x, norm.norm):
        gamma, beta = norm.absent
        return _NormLeaky.apply(x, 1.0 + gamma, beta, None, None, None, norm.norm)
    return F.leaky_relu(norm(x), LEAK)


def _weights(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution, which must have both."""
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


def _fits(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether the kernels can run this norm in training mode. PyTorch raises the error for one value a channel."""
    return norm.training and kernels_fit(x) and x.numel() > x.shape[1]


class _Split(NamedTuple):
    """Partition of a map [rows, channels] into programs of `width` channels and `tile` rows at a time.

    steps: number of tiles, one after the other, of a program that sums.
    parts: number of such programs along the rows.
    """

    rows: int
    channels: int
    width: int
    tile: int
    steps: int
    parts: int

    @staticmethod
    def of(rows: int, channels: int) -> "_Split":
        """The partition of a map of this size."""
        width = min(WIDTH, power_of_two(channels))
        tile = max(1, TILE // width)
        most = max(1, PARTS // -(-channels // width))
        steps = -(-rows // (tile * most))
        return _Split(rows, channels, width, tile, steps, -(-rows // (steps * tile)))

    @property
    def summing(self) -> tuple[int, int]:
        """Grid of the kernels that sum."""
        return self.parts, -(-self.channels // self.width)

    @property
    def elementwise(self) -> tuple[int, int]:
        """Grid of the kernels that do not."""
        return -(-self.rows // self.tile), -(-self.channels // self.width)

    @property
    def powers(self) -> int:
        """`parts`, rounded up to a power of two."""
        return power_of_two(self.parts)

    def join(self, parts: Tensor) -> Tensor:
        """Sums [sums, channels] over the results [sums, channels, parts] of the summing programs."""
        from hidenerf.training.kernels import norm_kernels as kernels

        sums = torch.empty(parts.shape[:2], device=parts.device, dtype=parts.dtype)
        kernels.join_sums[(sums.numel(),)](parts, sums, self.parts, PARTS=self.powers)
        return sums

    def shape(self) -> dict[str, int]:
        """Size arguments of every kernel over the map."""
        vector = math.gcd(self.channels, 8)
        return {
            "groups": self.channels // vector,
            "VECTOR": vector,
            "ROWS": self.tile,
            "WIDTH": self.width,
            "num_warps": WARPS,
        }


class _NormLeaky(torch.autograd.Function):
    """Leaky ReLU of a batch norm, with residual or modulation, as one autograd function.

    x, residual, result: [B, C, H, W]. The kernels take [B, H, W, C]; other memory formats are copied.
    weight, bias: [C], of the batch norm; None without.
    modulation: [B, 2C, H, W], gamma and beta without biases.
    modulation_bias: [2C], their biases.
    norm: its running statistics are updated.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        modulation: Tensor | None,
        modulation_bias: Tensor | None,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        from hidenerf.training.kernels import norm_kernels as kernels

        x, residual, modulation = (_channels_last(tensor) for tensor in (x, residual, modulation))
        split = _Split.of(x.numel() // x.shape[-1], x.shape[-1])
        kind = torch.promote_types(x.dtype, torch.float32)
        means, squares = torch.empty(2, split.channels, split.parts, device=x.device, dtype=kind)
        kernels.part_moments[split.summing](x, means, squares, split.rows, STEPS=split.steps, **split.shape())
        mean, inverse = torch.empty(2, split.channels, device=x.device, dtype=kind)
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        kernels.join_moments[(split.channels,)](
            means,
            squares,
            mean,
            inverse,
            *running_statistics(norm),
            norm.num_batches_tracked,
            split.rows,
            split.steps * split.tile,
            split.parts,
            EPSILON=norm.eps,
            MOMENTUM=norm.momentum,
            PARTS=split.powers,
        )
        widest = x.dtype
        for other in (residual, modulation):
            widest = widest if other is None else torch.promote_types(widest, other.dtype)
        out = torch.empty_like(x, dtype=widest)
        kernels.normalise[split.elementwise](
            x,
            mean,
            inverse,
            weight,
            bias,
            residual,
            modulation,
            modulation_bias,
            out,
            split.rows,
            LEAK=LEAK,
            **split.shape(),
        )
        linear = residual is None and modulation is None
        ctx.save_for_backward(x, mean, inverse, weight, bias, modulation, modulation_bias, None if linear else out)
        ctx.split = split
        ctx.residual_type = None if residual is None else residual.dtype
        return _channels_second(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from hidenerf.training.kernels import norm_kernels as kernels

        x, mean, inverse, weight, bias, modulation, modulation_bias, out = ctx.saved_tensors
        split: _Split = ctx.split
        gradient = _channels_last(gradients[0])
        grad_residual = None if ctx.residual_type is None else torch.empty_like(x, dtype=ctx.residual_type)
        grad_modulation = None if modulation is None else torch.empty_like(modulation)
        parts = torch.empty(
            2 if modulation is None else 4, split.channels, split.parts, device=x.device, dtype=mean.dtype
        )
        kernels.part_gradients[split.summing](
            gradient,
            x,
            out,
            mean,
            inverse,
            weight,
            bias,
            modulation,
            modulation_bias,
            grad_residual,
            grad_modulation,
            parts,
            split.rows,
            LEAK=LEAK,
            STEPS=split.steps,
            maxnreg=None if modulation is None else REGISTERS,
            **split.shape(),
        )
        totals = split.join(parts)
        sums, products = totals[:2]
        before_leak = grad_residual if modulation is None else grad_modulation
        grad_x = torch.empty_like(x)
        kernels.input_gradient[split.elementwise](
            gradient if before_leak is None else before_leak,
            x,
            mean,
            inverse,
            weight,
            bias,
            modulation,
            modulation_bias,
            sums,
            products,
            grad_x,
            split.rows,
            LEAK=LEAK if before_leak is None else None,
            **split.shape(),
        )
        return (
            _channels_second(grad_x),
            None if weight is None else products.to(weight.dtype),
            None if bias is None else sums.to(bias.dtype),
            _channels_second(grad_residual),
            _channels_second(grad_modulation),
            None if modulation is None else totals[2:].flatten().to(modulation_bias.dtype),
            None,
        )


class _BiasLeaky(torch.autograd.Function):
    """Leaky ReLU of x + bias as one autograd function: x [B, C, H, W], bias [C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        from hidenerf.training.kernels import norm_kernels as kernels

        x = _channels_last(x)
        split = _Split.of(x.numel() // x.shape[-1], x.shape[-1])
        out = torch.empty_like(x)
        exact = bias.to(torch.promote_types(x.dtype, torch.float32))
        kernels.bias_leaky[split.elementwise](x, exact, out, split.rows, LEAK=LEAK, **split.shape())
        ctx.save_for_backward(out, bias)
        ctx.split = split
        return _channels_second(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        from hidenerf.training.kernels import norm_kernels as kernels

        out, bias = ctx.saved_tensors
        split: _Split = ctx.split
        gradient, grad_x = _channels_last(gradients[0]), torch.empty_like(out)
        kind = torch.promote_types(out.dtype, torch.float32)
        parts = torch.empty(1, split.channels, split.parts, device=out.device, dtype=kind)
        kernels.part_leaks[split.summing](
            gradient, out, grad_x, parts, split.rows, LEAK=LEAK, STEPS=split.steps, **split.shape()
        )
        return _channels_second(grad_x), split.join(parts)[0].to(bias.dtype)


def _channels_last(tensor: Tensor | None) -> Any:
    """[B, C, H, W] → [B, H, W, C], contiguous; a copy unless x is channels_last."""
    return None if tensor is None else tensor.permute(0, 2, 3, 1).contiguous()


def _channels_second(tensor: Tensor | None) -> Any:
    """[B, H, W, C] → [B, C, H, W], a view."""
    return None if tensor is None else tensor.permute(0, 3, 1, 2)
