import numpy as np

from hidenerf.calibration.precision.cost import convolution_cost
from hidenerf.export.convolutions import Convolution


def test_arithmetic_bounds_a_heavy_convolution() -> None:
    weight = np.ones((1000, 1000, 3, 3), np.float32)
    heavy = Convolution("n", "n", "x", weight, (1, 1000, 100, 100), (1, 1000, 100, 100))
    flops = 2 * 9 * 1000 * 1000 * 10_000
    assert heavy.flops == flops
    assert [convolution_cost(heavy, p) for p in ("fp32", "fp16", "int8")] == [4.0 * flops, flops, flops / 2]


def test_memory_bounds_a_light_one() -> None:
    light = Convolution("n", "n", "x", np.ones((1, 1, 1, 1), np.float32), (1, 1, 10, 10), (1, 1, 10, 10))
    # 101 read at 4, 2, 1 bytes and 100 written at 4, 2, 2.
    assert [convolution_cost(light, p) / 180 for p in ("fp32", "fp16", "int8")] == [804, 402, 301]
