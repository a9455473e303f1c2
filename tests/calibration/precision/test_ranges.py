import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from hidenerf.calibration.precision.ranges import (
    BINS,
    RANGE_METHODS,
    Histogram,
    activation_histograms,
    entropy_range,
    largest_range,
    percentile_range,
)


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(values.astype(np.float32))
    return histogram


def test_counts_are_of_absolute_values_and_without_zeros() -> None:
    histogram = Histogram(2048.0)
    histogram.add(np.array([[0.5, -0.5, 0.0], [7.5, -2048.0, 5000.0]], np.float32))
    assert np.flatnonzero(histogram.counts).tolist() == [0, 7, BINS - 1]
    assert histogram.counts[[0, 7, BINS - 1]].tolist() == [2, 1, 2]


def test_the_percentile_leaves_out_one_in_ten_thousand() -> None:
    """20 000 values up to 1 and one of 2048: bins are 1 wide, so the range is the first bin's end."""
    values = np.append(np.linspace(0.1, 0.9, 20_000), 2048.0)
    assert percentile_range(histogram_of(values)) == pytest.approx(1.0)
    assert largest_range(histogram_of(values)) == 2048.0
    # One in 5000 is more than one in 10 000.
    assert percentile_range(histogram_of(np.append(np.linspace(0.1, 0.9, 4_999), 2048.0))) == 2048.0


def test_entropy_keeps_a_flat_distribution_whole_and_cuts_a_long_thin_tail() -> None:
    flat = histogram_of(np.linspace(-1.0, 1.0, 100_001))
    assert entropy_range(flat) == pytest.approx(1.0, abs=0.01)
    random = np.random.default_rng(0)
    peaked = histogram_of(np.append(random.laplace(0.0, 1.0, 200_000), [60.0]))
    assert 4.0 < entropy_range(peaked) < 30.0


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_a_tensor_of_zeros_has_the_range_zero(method: str) -> None:
    histogram = Histogram(0.0)
    histogram.add(np.zeros((2, 3), np.float32))
    assert RANGE_METHODS[method](histogram) == 0.0


def test_histograms_of_a_graph_add_up_over_its_feeds() -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])],
        "by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    feeds = [{"x": np.array([1.0, 2.0])}, {"x": np.array([4.0, 0.0])}]
    found = activation_histograms(ir.from_proto(model), {"x": 4.0, "y": 4.0}, feeds)
    assert {name: int(h.counts.sum()) for name, h in found.items()} == {"x": 3, "y": 3}
    assert np.flatnonzero(found["y"].counts).tolist() == [BINS // 4, BINS // 2, BINS - 1]
