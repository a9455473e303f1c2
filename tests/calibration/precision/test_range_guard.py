"""The FP16 range guard on graphs with planted overflows, and on the real (small) graphs."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hidenerf.calibration.precision.calibrate import load_models
from hidenerf.calibration.precision.range_guard import LIMIT, fp16_tensors, guard
from hidenerf.export.precision import planned_passes
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import passed, value_types

SHAPE = [1, 1, 2, 2]
ONES = np.ones(SHAPE, np.float32)


def graph(factors: list[float], output: str = "maps") -> onnx.ModelProto:
    """planes → Conv (weight 1) → multiplied by the factors in turn, `product_0`, … → Conv → output."""
    weights = {f"factor_{i}": np.array([factor], np.float32) for i, factor in enumerate(factors)}
    weights["weight"] = np.ones((1, 1, 1, 1), np.float32)
    nodes: list[NodeProto] = [helper.make_node("Conv", ["planes", "weight"], ["first"], name="conv_first")]
    last = "first"
    for i in range(len(factors)):
        nodes.append(helper.make_node("Mul", [last, f"factor_{i}"], [f"product_{i}"], name=f"times_{i}"))
        last = f"product_{i}"
    nodes.append(helper.make_node("Conv", [last, "weight"], [output], name="conv_last"))
    made = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def test_a_planted_overflow_is_found_with_the_nodes_around_it() -> None:
    model = graph([1e4, 10.0, 1e-5])
    found = guard(ir.from_proto(model), "led", [{"planes": ONES * 0.5}, {"planes": ONES * -0.7}])
    assert [(o.node, o.tensor) for o in found.overflows] == [("times_1", "product_1"), ("times_2", "product_1")]
    assert found.overflows[0].max_abs == pytest.approx(7e4, rel=1e-6)
    assert (found.largest.tensor, found.largest.node) == ("product_0", "times_0")
    assert found.largest.max_abs == pytest.approx(7e3, rel=1e-6)
    # And the exporter then has nothing beyond the limit in FP16.
    model, _ = passed(model, *planned_passes({}, {o.node for o in found.overflows}))
    kinds = value_types(model)
    assert {kind for name, kind in kinds.items() if name.startswith("product_1")} == {TensorProto.FLOAT}


@pytest.mark.parametrize(("value", "count"), [(LIMIT, 0), (LIMIT * 1.001, 2)])
def test_the_limit_is_half_of_fp16s(value: float, count: int) -> None:
    assert LIMIT == 32752.0
    assert len(guard(ir.from_proto(graph([1.0, 1e-3])), "led", [{"planes": ONES}]).overflows) == 0
    found = guard(ir.from_proto(graph([value, 1e-3])), "led", [{"planes": ONES}])
    assert len(found.overflows) == count


def test_subnormal_tensors_are_noted() -> None:
    found = guard(ir.from_proto(graph([1e-5, 1e4])), "led", [{"planes": ONES}])
    assert [(s.tensor, s.max_abs) for s in found.subnormal] == [("product_0", pytest.approx(1e-5))]
    assert found.overflows == []


def test_tensors_that_fp16_graphs_hold_in_fp32_are_not_looked_at() -> None:
    """What comes between the last convolution and the deformation is an island already."""
    model = graph([1.0], "raw")
    model.graph.node.append(helper.make_node("Neg", ["raw"], ["deformation"], name="negated"))
    model.graph.output[0].name = "deformation"
    model = onnx.shape_inference.infer_shapes(model)
    assert fp16_tensors(ir.from_proto(model)) == ["first", "product_0", "raw"]


def test_a_convolution_that_makes_coordinates_can_be_an_island() -> None:
    model = graph([1.0], "deformation")
    found = guard(ir.from_proto(model), "led", [{"planes": ONES * 4e4}])
    nodes = {o.node for o in found.overflows}
    assert nodes == {"conv_first", "times_0", "conv_last"}
    model, _ = passed(model, *planned_passes({}, nodes))
    onnx.checker.check_model(model, full_check=True)


def test_what_passes_between_graphs_cannot_be_an_island() -> None:
    with pytest.raises(HideNerfError, match=r"maps of the graph led reaches 1e\+06"):
        guard(ir.from_proto(graph([1.0])), "led", [{"planes": ONES * 1e6}])


def test_what_is_not_finite_in_fp32_is_refused() -> None:
    with pytest.raises(HideNerfError, match="not finite in FP32"):
        guard(ir.from_proto(graph([6e4, 6e4])), "led", [{"planes": ONES * 1e32}])
    with pytest.raises(HideNerfError, match="not finite in FP32"):
        guard(
            ir.from_proto(graph([1.0])),
            "led",
            [{"planes": np.array([1.0, np.nan, 0.0, 2.0]).reshape(SHAPE)}, {"planes": ONES}],
        )


def test_the_bodies_of_custom_ops_are_looked_into(bundle_fp32: Path) -> None:
    model = load_models(open_bundle(bundle_fp32))["renderer_refiner"]
    names = fp16_tensors(model)
    assert any("TriplaneRender" in name for name in names)
    assert any("conv" in name for name in names)
