import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hidenerf.calibration.parity.metrics import flicker, tensor_difference

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)


def grey(level: int) -> np.ndarray:
    return np.full((24, 30, 3), level, np.uint8)


def test_tensor_difference_by_hand() -> None:
    difference = tensor_difference(np.array([[3.0, 4.0]], np.float32), np.array([[3.0, 4.5]], np.float32))
    assert difference.max_abs == 0.5
    assert difference.relative == 0.125  # of the range 0 … 4
    assert difference.cosine == pytest.approx((9 + 18) / (5 * math.sqrt(9 + 20.25)), rel=1e-12)
    assert difference.psnr == pytest.approx(10 * math.log10(4**2 / 0.125), rel=1e-12)


def test_range_spans_both_signs() -> None:
    assert tensor_difference(np.array([-1.0, 3.0]), np.array([-1.0, 3.4])).relative == pytest.approx(0.1)
    assert tensor_difference(np.array([-4.0, -2.0]), np.array([-4.0, -2.4])).relative == pytest.approx(0.1)


def test_a_wrong_factor_shows_in_psnr_but_not_in_the_angle() -> None:
    difference = tensor_difference(np.array([1.0, -1.0]), np.array([1.05, -1.05]))
    assert difference.cosine == pytest.approx(1.0, abs=1e-15)
    assert difference.psnr == pytest.approx(10 * math.log10(2**2 / 0.05**2))


def test_identical_tensors() -> None:
    values = RNG.normal(size=(2, 5)).astype(np.float16)
    difference = tensor_difference(values, values)
    assert (difference.max_abs, difference.relative, difference.psnr) == (0.0, 0.0, math.inf)
    assert difference.cosine == pytest.approx(1.0, abs=1e-15)


def test_zero_tensors() -> None:
    zero, one = np.zeros(4), np.ones(4)
    assert tensor_difference(zero, zero).cosine == 1.0
    assert tensor_difference(zero, one).cosine == 0.0
    assert tensor_difference(one, zero).cosine == 0.0
    assert tensor_difference(zero, one).relative == 1.0


def test_bytes_do_not_wrap_around_and_have_a_range_of_255() -> None:
    difference = tensor_difference(np.array([0, 100], np.uint8), np.array([255, 100], np.uint8))
    assert (difference.max_abs, difference.relative) == (255.0, 1.0)
    assert difference.psnr == pytest.approx(10 * math.log10(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_make_everything_nan(bad: float) -> None:
    good, broken = np.array([1.0, 2.0]), np.array([1.0, bad])
    for pair in ((good, broken), (broken, good), (broken, broken)):
        assert all(math.isnan(value) for value in vars(tensor_difference(*pair)).values())


@settings(max_examples=50)
@given(arrays(np.float32, (7,), elements=st.floats(-1e3, 1e3, width=32)), st.floats(-10, 10))
def test_tensor_difference_of_a_shift(values: np.ndarray, shift: float) -> None:
    difference = tensor_difference(values, values.astype(np.float64) + shift)
    assert difference.max_abs == pytest.approx(abs(shift), abs=1e-9)
    assert -1.0 - 1e-12 <= difference.cosine <= 1.0


def test_flicker_by_hand() -> None:
    """One pixel: the reference goes from 10 to 30, the result from 12 to 29, so its change is 3 levels short."""
    pixel = lambda level: np.full((1, 1, 3), level, np.uint8)  # noqa: E731
    assert flicker((pixel(10), pixel(30)), (pixel(12), pixel(29))).tolist() == [[[-3, -3, -3]]]
    # What is wrong and stands still does not flicker.
    assert flicker((pixel(10), pixel(30)), (pixel(60), pixel(80))).tolist() == [[[0, 0, 0]]]
    assert flicker((pixel(0), pixel(255)), (pixel(255), pixel(0))).tolist() == [[[-510, -510, -510]]]
