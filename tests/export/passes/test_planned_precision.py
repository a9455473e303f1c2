"""FP32 islands by name, on a graph that overflows in FP16 in the middle."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hidenerf.export.passes.half_precision import RANGE_GUARD, to_half
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import run_onnx, value_types

SHAPE = [1, 2, 4, 4]


def overflowing() -> onnx.ModelProto:
    """planes → Conv → ·33333 (beyond FP16) → ·0.00003 → Conv → maps."""
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["planes", "weight"], ["features"], name="first", pads=[1, 1, 1, 1]),
            node("Mul", ["features", "up"], ["huge"], name="far"),
            node("Mul", ["huge", "down"], ["small"], name="back"),
            node("Conv", ["small", "weight"], ["maps"], name="second", pads=[1, 1, 1, 1]),
        ],
        "by hand",
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, SHAPE)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1e5 / 3], np.float32), "up"),
            numpy_helper.from_array(np.array([3e-5], np.float32), "down"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def kept(names: list[str]) -> onnx.ModelProto:
    model = overflowing()
    counts = to_half(model, names)
    assert counts[RANGE_GUARD] == len(names)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_named_nodes_are_single_with_one_cast_in_and_one_out() -> None:
    model = kept(["far", "back"])
    types = value_types(model)
    nodes = {node.name: node for node in model.graph.node}
    for name in ("far", "back"):
        assert {types[value] for value in [*nodes[name].input, *nodes[name].output]} == {TensorProto.FLOAT}
    assert nodes["far"].output[0] == nodes["back"].input[0]
    assert types[nodes["second"].input[0]] == types[nodes["first"].output[0]] == TensorProto.FLOAT16
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 2


def test_the_island_computes_with_the_original_weights() -> None:
    names = {t.name: t.data_type for t in kept(["far", "back"]).graph.initializer}
    assert names == {"weight_half": TensorProto.FLOAT16, "up": TensorProto.FLOAT, "down": TensorProto.FLOAT}
    picture = np.random.default_rng(1).standard_normal(SHAPE)
    found = run_onnx(kept(["far", "back"]), {"planes": picture})["maps"]
    expected = run_onnx(overflowing(), {"planes": picture})["maps"]
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_nothing_in_fp16_is_left_beyond_its_range() -> None:
    """ONNX Runtime's CPU would not overflow, so the types say it: no FP16 value is made of the huge one."""
    model = kept(["far", "back"])
    types = value_types(model)
    readers = [node.name for node in model.graph.node if any("huge" in name for name in node.input)]
    assert readers == ["back"]
    assert all(kind == TensorProto.FLOAT for name, kind in types.items() if "huge" in name)


def test_a_convolution_can_be_an_island() -> None:
    types = value_types(kept(["first"]))
    assert types["features"] == types["weight"] == types["planes_as_single"] == TensorProto.FLOAT
    assert types["features_as_half"] == types["maps"] == TensorProto.FLOAT16


def test_no_names_change_nothing_and_unknown_ones_are_refused() -> None:
    model = overflowing()
    to_half(model)
    assert kept([]).SerializeToString() == model.SerializeToString()
    with pytest.raises(HideNerfError, match="nowhere"):
        kept(["nowhere"])
