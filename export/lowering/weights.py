"""Weights of convolutions in the order in which the kernel multiplies them (`runtime/kernels/convolution.cuh`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Output channels of two operands B of a product on tensor cores, and input channels of one.
PAIR = 16
BLOCK = 16


def pack_convolution(weights: Sequence[NDArray[np.float16]]) -> NDArray[np.uint32]:
    """Weights of a layer's inputs as words of the kernel: [pairs, steps, 32, 4].

    weights: per input [N, C, k, k] in FP16; the inputs have channels of their own, filled up with zeros.
    A step is 16 channels of an input and a tap. A lane's words are its operand B of `multiply_add` (`mma.cuh`) for the
    first 8 output channels of a pair, then for the other 8.
    """
    outputs = weights[0].shape[0]
    pairs = -(-outputs // PAIR)
    packed = []
    for one in weights:
        channels, taps = one.shape[1], one.shape[2] * one.shape[3]
        blocks = -(-channels // BLOCK)
        padded = np.zeros((pairs * PAIR, blocks * BLOCK, taps), np.float16)
        padded[:outputs, :channels] = one.reshape(outputs, channels, taps)
        # Pair, operand, group; block, half, quad, number; tap.
        split = padded.reshape(pairs, 2, 8, blocks, 2, 4, 2, taps)
        ordered = np.ascontiguousarray(split.transpose(0, 3, 7, 2, 5, 1, 4, 6))
        packed.append(ordered.reshape(pairs, blocks * taps, 32, 8).view(np.uint32))
    return np.ascontiguousarray(np.concatenate(packed, 1))


def pack_bias(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bias [N] filled up with zeros to whole pairs."""
    return np.pad(bias, (0, -len(bias) % PAIR)).astype(np.float32)
