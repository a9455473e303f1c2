"""INT8 convolutions: scales and values by hand, Q/DQ graphs against NumPy, and the real (tiny) graphs."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hidenerf.export.convolutions import convolutions
from hidenerf.export.passes.fp16 import RANGE_GUARD, Fp16
from hidenerf.export.passes.quantisation import (
    SMALLEST_SCALE,
    Int8Convolutions,
    quantise,
    symmetric_scale,
    weight_scales,
)
from hidenerf.export.precision import planned_passes
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import NAMES, passed, plain, plain_ir, reference_values, run_onnx, value_types

Float = NDArray[np.float32]


def two_layers(weight: Float, bias: Float) -> onnx.ModelProto:
    """x → Conv `first` → y, and x → Conv `second` → z, with one weight between them."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "first.weight", "bias"], ["y"], name="a", pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["x", "second.weight", "bias"], ["z"], name="b", pads=[1, 1, 1, 1]),
        ],
        "by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weight.shape[1], 5, 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(weight), 5, 6]) for name in "yz"],
        [
            numpy_helper.from_array(weight, "first.weight"),
            numpy_helper.from_array(weight, "second.weight"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_scales_by_hand() -> None:
    assert symmetric_scale(127.0) == 1.0
    assert symmetric_scale(63.5) == 0.5
    # 1/127 = 0.0078740157; FP16 between 2^-7 and 2^-6 has steps of 2^-17: the next above is 1033 · 2^-17.
    assert symmetric_scale(1.0) == 1033 * 2.0**-17
    assert symmetric_scale(0.0) == SMALLEST_SCALE
    weight = np.array([[[[127.0, -1.0]]], [[[-254.0, 3.0]]]], np.float32)
    assert weight_scales(weight).tolist() == [1.0, 2.0]


def test_values_by_hand() -> None:
    values = np.array([0.0, 0.24, 0.26, 0.25, 0.75, -0.75, 63.4, 70.0, -70.0], np.float32)
    assert quantise(values, np.float32(0.5)).tolist() == [0, 0, 1, 0, 2, -2, 127, 127, -128]


@given(st.floats(1e-9, 8e6))
def test_a_scale_is_an_fp16_number_that_covers_its_range(largest: float) -> None:
    scale = symmetric_scale(largest)
    assert np.float16(scale) == scale
    assert np.float32(largest) / scale <= np.float32(127.0)


@pytest.mark.parametrize("largest", [1e7, float("inf"), float("nan")])
def test_a_range_beyond_fp16_scales_is_refused(largest: float) -> None:
    with pytest.raises(HideNerfError, match="beyond INT8"):
        symmetric_scale(largest)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20.0), st.floats(1e-3, 10.0))
def test_a_graph_equals_the_fake_quantised_reference(seed: int, spread: float, largest: float) -> None:
    """Clipped values included; the reference rounds in NumPy and convolves in double precision."""
    random = np.random.default_rng(seed)
    x = (random.standard_normal((1, 3, 5, 6)) * spread).astype(np.float32)
    weight = (random.standard_normal((4, 3, 3, 3)) * random.uniform(0.001, 2.0, (4, 1, 1, 1))).astype(np.float32)
    bias = random.standard_normal(4).astype(np.float32)
    scale = symmetric_scale(largest)
    model, _ = passed(two_layers(weight, bias), Int8Convolutions({"first": float(scale)}))
    onnx.checker.check_model(model, full_check=True)

    per_channel = weight_scales(weight)[:, None, None, None]
    fake_x = quantise(x, scale).astype(np.float64) * scale
    fake_weight = quantise(weight, per_channel).astype(np.float64) * per_channel
    pixels, kernel, offset = (torch.from_numpy(array.astype(np.float64)) for array in (fake_x, fake_weight, bias))
    expected = torch.nn.functional.conv2d(pixels, kernel, offset, padding=1).numpy()
    found = run_onnx(model, {"x": x})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    original = run_onnx(two_layers(weight, bias), {"x": x})
    np.testing.assert_array_equal(found["z"], original["z"])


def test_only_what_a_convolution_reads_is_quantised_and_once() -> None:
    weight = np.ones((2, 2, 3, 3), np.float32)
    both = Int8Convolutions({"first": 0.5, "second": 0.5})
    model, _ = passed(two_layers(weight, np.zeros(2, np.float32)), both)
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts == {"Conv": 2, "QuantizeLinear": 1, "DequantizeLinear": 3}
    made = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear", "DequantizeLinear"]
            assert node.input[2] == "bias"
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert sorted(kinds.values()).count(TensorProto.INT8) == 5
    assert "first.weight" not in kinds


def test_a_layer_that_the_graph_has_not_is_refused() -> None:
    model = ir.from_proto(two_layers(np.ones((2, 2, 3, 3), np.float32), np.zeros(2, np.float32)))
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(HideNerfError, match="third"):
        Int8Convolutions({"third": 0.5})(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_convolutions_in_fp16_are_refused() -> None:
    model = two_layers(np.ones((2, 2, 3, 3), np.float32), np.zeros(2, np.float32))
    with pytest.raises(HideNerfError, match="Convolution a is FP16"):
        passed(model, Fp16(), Int8Convolutions({"first": 0.5}))


def planned(name: str) -> tuple[onnx.ModelProto, int]:
    """The tiny graph with every convolution INT8, in the range of the largest activation, and their number."""
    scales = {layer.layer: 0.05 for layer in convolutions(plain_ir(name).graph)}
    model, counts = passed(plain(name), *planned_passes(scales, ()))
    assert counts[RANGE_GUARD] == 0
    return model, len(scales)


@pytest.mark.parametrize("name", [*NAMES, "refiner"])
def test_real_graphs_check_run_and_keep_the_bodies(name: str) -> None:
    model, count = planned(name)
    onnx.checker.check_model(model, full_check=True)
    types = value_types(model)
    dequantised = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    # The layers of SPADE's maps stay FP32 where they are not quantised.
    expected = {TensorProto.FLOAT16} | ({TensorProto.FLOAT} if name == "source_encoder" else set())
    assert {types[n.output[0]] for n in dequantised} == expected
    assert sum(n.op_type == "Conv" for n in model.graph.node) == count
    assert [f.name for f in model.functions] == [f.name for f in _bodies(name)]
    if name != "refiner":
        values = {key: value.numpy() for key, value in reference_values().items()}
        assert all(np.isfinite(y.astype(np.float64)).all() for y in run_onnx(model, values).values())


def _bodies(name: str) -> list[onnx.FunctionProto]:
    model, _ = passed(plain(name), *planned_passes({}, ()))
    return list(model.functions)


def test_onnx_runtime_computes_them_in_floating_point(tmp_path: Path) -> None:
    """What docs/precision.md says: no integer convolution, since outputs are not quantised."""
    model, count = planned("led")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert not {"QLinearConv", "ConvInteger"} & kinds.keys()
    assert sum(kinds[op] for op in ("Conv", "FusedConv")) == count
