"""Packed weights, read back by the description of the product's operand."""

import numpy as np
import pytest

from hidenerf.export.lowering.weights import pack_bias, pack_convolution
from tests.support.plan_reference import unpacked


@pytest.mark.parametrize("outputs", [1, 8, 24, 33])
@pytest.mark.parametrize(
    ("channels", "kernels"),
    [([5], [3]), ([16], [1]), ([40], [5]), ([24, 7], [3, 3]), ([8, 40], [3, 1])],
)
def test_every_weight_is_where_the_kernel_reads_it(outputs: int, channels: list[int], kernels: list[int]) -> None:
    generator = np.random.default_rng(outputs)
    weights = [
        generator.standard_normal((outputs, count, kernel, kernel)).astype(np.float16)
        for count, kernel in zip(channels, kernels, strict=True)
    ]
    packed = pack_convolution(weights)
    steps = sum(-(-count // 16) * kernel**2 for count, kernel in zip(channels, kernels, strict=True))
    assert packed.shape == (-(-outputs // 16), steps, 32, 4)
    for found, expected in zip(unpacked(packed, channels, kernels, outputs), weights, strict=True):
        assert np.array_equal(found.numpy(), expected)


def test_a_bias_is_filled_up_to_whole_pairs() -> None:
    assert pack_bias(np.arange(5, dtype=np.float32)).tolist() == [0, 1, 2, 3, 4, *[0] * 11]
    assert pack_bias(np.ones(32, np.float32)).shape == (32,)
