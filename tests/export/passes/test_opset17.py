"""Graphs in opset 17: each rule by a small graph, the tiny models' graphs, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.convolutions import convolutions
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.export.passes.base import apply_passes
from hidenerf.export.passes.opset17 import IR_VERSION, OPSET, RULES, Opset17
from hidenerf.export.precision import planned_passes
from hidenerf.runtime.bundle import GraphSpec, TensorSpec
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import ALL_NAMES, PRECISIONS, plain_ir, run_onnx, values_of, whole
from tests.support.networks import rtx

GRAPHS = (*ALL_NAMES, "refiner", "aligned refiner")
OPERATORS = ("TriplaneRender", "GridSample3d", "RaySamples", "AlignSource")


def downgraded(model: ModelProto, plugin: bool = False) -> ModelProto:
    """After the pass, and as onnx's checker takes it."""
    made = ir.to_proto(Opset17(plugin)(ir.from_proto(model)))
    # Types of our nodes are not inferred.
    onnx.checker.check_model(made, full_check=not plugin)
    assert {opset.domain: opset.version for opset in made.opset_import}[""] == OPSET
    assert made.ir_version == IR_VERSION
    assert not made.functions
    return made


def inputs_of(name: str) -> dict[str, NDArray[Any]]:
    """Inputs for a graph; of the refiner alone, what its graph asks for beside them at random."""
    values: dict[str, NDArray[Any]] = {key: value.numpy() for key, value in values_of(name).items()}
    rng = np.random.default_rng(0)
    for entry in whole(name, "fp32").graph.input:
        shape = [size.dim_value for size in entry.type.tensor_type.shape.dim]
        values.setdefault(entry.name, rng.random(shape, np.float32))
    return values


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_computes_what_it_did(name: str, precision: str) -> None:
    model = whole(name, precision)
    inputs = inputs_of(name)
    before, after = run_onnx(model, inputs), run_onnx(downgraded(model), inputs)
    assert before.keys() == after.keys()
    for output, expected in before.items():
        assert after[output].dtype == expected.dtype
        wide = expected.astype(np.float64)
        # FP32 but for samples of volumes; ONNX Runtime fuses casts in its own way.
        tolerance = {np.dtype(np.float16): 2e-3, np.dtype(np.uint8): 1}.get(expected.dtype, 2e-5)
        if precision == "fp16" and expected.dtype == np.float32:
            tolerance = 1e-3
        scale = 1 if expected.dtype == np.uint8 else max(1.0, float(np.abs(wide).max()))
        np.testing.assert_allclose(after[output].astype(np.float64), wide, rtol=0, atol=tolerance * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["refiner", "aligned refiner"])
def test_outputs_of_fp32_graphs_without_our_nodes_have_the_same_bytes(name: str) -> None:
    """Node by node: fused, ONNX Runtime adds in another order here and there."""
    model = whole(name, "fp32")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    values = []
    for graph in (model, downgraded(model)):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        inputs = inputs_of(name)
        values.append(session.run(None, {entry.name: inputs[entry.name] for entry in session.get_inputs()}))
    assert [value.tobytes() for value in values[0]] == [value.tobytes() for value in values[1]]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_nodes_of_the_plugin_stay_as_they_are(name: str, precision: str) -> None:
    def ours(graph: Any) -> dict[str, tuple[Any, ...]]:
        nodes = [node for node in graph.node if node.domain == "hidenerf"]
        attributes = [{a.name: helper.get_attribute_value(a) for a in node.attribute} for node in nodes]
        return {
            node.name: (node.op_type, [*node.input], [*node.output], values)
            for node, values in zip(nodes, attributes, strict=True)
        }

    model = whole(name, precision)
    made = downgraded(model, plugin=True)
    assert ours(made.graph) == ours(model.graph)
    assert ours(made.graph)
    assert "hidenerf" in {opset.domain for opset in made.opset_import}
    without = downgraded(model)
    assert not any(node.domain for node in without.graph.node)
    assert [opset.domain for opset in without.opset_import] == [""]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_NAMES)
def test_tensorrt_rtx_s_parser_reads_them(name: str, tmp_path: Path) -> None:
    """TensorRT 8.6's needs a GPU; this one shows that the words are ONNX's."""
    library = rtx()
    model = downgraded(whole(name, "fp16"))

    def specs(values: Sequence[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
        types = [value.type.tensor_type for value in values]
        kinds = [helper.tensor_dtype_to_np_dtype(kind.elem_type) for kind in types]
        shapes = [tuple(size.dim_value for size in kind.shape.dim) for kind in types]
        made = [TensorSpec(v.name, s, d) for v, s, d in zip(values, shapes, kinds, strict=True)]
        return {spec.name: spec for spec in made}

    graph = GraphSpec(name, tmp_path, specs(model.graph.input), specs(model.graph.output))
    assert network_from_onnx(library, graph, model.SerializeToString())


@pytest.mark.slow
def test_quantised_convolutions_have_fp32_scales_and_no_cast_behind_them() -> None:
    layers = [layer.layer for layer in convolutions(plain_ir("led").graph)][2:6]
    scales = dict.fromkeys(layers, 0.05)
    model = ir.to_proto(apply_passes(plain_ir("led"), planned_passes(scales, ())))
    made = downgraded(model)
    producers = {output: node for node in made.graph.node for output in node.output}
    types = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    quantised = [node for node in made.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantised
    assert {types[node.input[1]] for node in quantised} == {TensorProto.FLOAT}
    factors = [
        [producers[name].op_type if name in producers else "" for name in node.input[:2]]
        for node in made.graph.node
        if node.op_type == "Conv"
    ]
    assert factors.count(["DequantizeLinear"] * 2) == len(layers)
    inputs = inputs_of("led")
    before, after = run_onnx(model, inputs), run_onnx(made, inputs)
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=5e-3 * np.abs(expected).max())


def graph_of(
    node: NodeProto, inputs: dict[str, Any], constants: dict[str, Any], outputs: int = 1, opset: int = 20
) -> ModelProto:
    """A graph of one node from `inputs` and `constants` to outputs y0, y1, …"""

    def info(name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = helper.make_graph(
        [node],
        "net",
        [info(name, array) for name, array in inputs.items()],
        [helper.make_empty_tensor_value_info(f"y{index}") for index in range(outputs)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def picture(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


X = picture(1, 3, 8, 6)
GRID = picture(1, 5, 4, 2)
# Whose sums are exact in any order.
WHOLE = np.round(8 * X)
LARGE = np.iinfo(np.int64).max


def make(operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [f"y{index}" for index in range(outputs)], name="node", **attributes)


INTS = np.array
CASES: dict[str, tuple[NodeProto, dict[str, Any], dict[str, Any]]] = {
    "linear": (make("GridSample", ["x", "g"], mode="linear", padding_mode="border"), {"x": X, "g": GRID}, {}),
    "no mode": (make("GridSample", ["x", "g"]), {"x": X, "g": GRID}, {}),
    "cubic": (make("GridSample", ["x", "g"], mode="cubic", align_corners=1), {"x": X, "g": GRID}, {}),
    "max": (make("ReduceMax", ["x", "a"], keepdims=0), {"x": X}, {"a": INTS([1, -1])}),
    "min of all": (make("ReduceMin", ["x"]), {"x": X}, {}),
    "mean": (make("ReduceMean", ["x", "a"]), {"x": X}, {"a": INTS([2])}),
    "mean of none": (make("ReduceMean", ["x"], noop_with_empty_axes=1), {"x": X}, {}),
    "sum": (make("ReduceSum", ["x", "a"]), {"x": X}, {"a": INTS([2])}),
    "cast": (make("Cast", ["x"], to=TensorProto.FLOAT16, saturate=1), {"x": X}, {}),
    "resize": (
        make("Resize", ["x", "", "s"], mode="linear", antialias=0, keep_aspect_ratio_policy="stretch"),
        {"x": X},
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "resize by axes": (
        make("Resize", ["x", "", "", "s"], mode="nearest", axes=[2, 3]),
        {"x": X},
        {"s": INTS([16, 3])},
    ),
    "resize by scales of axes": (
        make("Resize", ["x", "", "s"], mode="linear", axes=[3]),
        {"x": X},
        {"s": np.array([3], np.float32)},
    ),
    "pool": (make("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[1, 1]), {"x": X}, {}),
    "split": (make("Split", ["x"], 2, axis=2, num_outputs=2), {"x": X}, {}),
    "uneven split": (make("Split", ["x"], 3, axis=2, num_outputs=3), {"x": X}, {}),
    "pad": (make("Pad", ["x", "p", "", "a"]), {"x": X}, {"p": INTS([1, 0, 2, 3]), "a": INTS([3, -2])}),
    "slice": (make("Slice", ["x", "b", "e", "a"]), {"x": X}, {"b": INTS([2]), "e": INTS([LARGE]), "a": INTS([2])}),
    "backwards": (
        make("Slice", ["x", "b", "e", "a", "s"]),
        {"x": X},
        {"b": INTS([LARGE]), "e": INTS([-LARGE]), "a": INTS([2]), "s": INTS([-1])},
    ),
    "sums": (make("CumSum", ["w", "a"]), {"w": WHOLE}, {"a": INTS(2)}),
    "sums of what comes after": (make("CumSum", ["w", "a"], reverse=1, exclusive=1), {"w": WHOLE}, {"a": INTS(-1)}),
    "sums of what came before": (make("CumSum", ["w", "a"], exclusive=1), {"w": WHOLE}, {"a": INTS(1)}),
    "cast like": (make("CastLike", ["x", "h"]), {"x": X, "h": X.astype(np.float16)}, {}),
    "quantise": (
        make("QuantizeLinear", ["x", "s", "z"]),
        {"x": X.astype(np.float16)},
        {"s": np.float16(0.0625), "z": np.int8(0)},
    ),
    "dequantise": (
        make("DequantizeLinear", ["x", "s", "z"]),
        {"x": (8 * X).astype(np.int8)},
        {"s": np.float16(0.0625), "z": np.int8(0)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_node_computes_what_it_did(case: str) -> None:
    node, inputs, constants = CASES[case]
    model = graph_of(node, inputs, constants, len(node.output))
    before, after = run_onnx(model, inputs), run_onnx(downgraded(model), inputs)
    assert {key: value.dtype for key, value in before.items()} == {key: value.dtype for key, value in after.items()}
    # Other versions of an operator may add in another order.
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-6)


def test_every_rule_has_a_case() -> None:
    covered = {node.op_type for node, _, _ in CASES.values()}
    for rule in RULES:
        assert covered & set(rule.operators), rule.name


def test_a_volume_is_sampled_as_pytorch_does() -> None:
    """Also beside and behind it, and at its very corners."""
    volume = picture(1, 3, 4, 5, 6)
    grid = (picture(1, 3, 5, 7, 3) * 0.8).astype(np.float32)
    corners = [[1.0, 1, 1], [-1, -1, -1], [1, -1, 0.9], [0, 0, 5], [0, -9, 0], [1e6, 0, 0]]
    grid[0, 0, 0, :6] = np.array(corners, np.float32)
    node = make("GridSample", ["v", "g"], mode="linear", padding_mode="zeros")
    model = graph_of(node, {"v": volume, "g": grid}, {})
    sampled = run_onnx(downgraded(model), {"v": volume, "g": grid})["y0"]
    wide = torch.from_numpy(volume).double(), torch.from_numpy(grid).double()
    expected = torch.nn.functional.grid_sample(*wide, mode="bilinear", padding_mode="zeros", align_corners=False)
    np.testing.assert_allclose(sampled, expected.numpy(), rtol=0, atol=3e-5)


REFUSED: dict[str, tuple[NodeProto, dict[str, Any], dict[str, Any], str]] = {
    "operator": (make("Gelu", ["x"]), {"x": X}, {}, "it has no such operator"),
    "antialias": (
        make("Resize", ["x", "", "s"], mode="linear", antialias=1),
        {"x": X},
        {"s": np.array([1, 1, 0.5, 0.5], np.float32)},
        "it has no antialias, which is 1 here",
    ),
    "half pixel symmetric": (
        make("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode="half_pixel_symmetric"),
        {"x": X},
        {"s": np.array([1, 1, 2, 2], np.float32)},
        "its coordinate_transformation_mode is not half_pixel_symmetric",
    ),
    "dilations": (
        make("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[2, 1]),
        {"x": X},
        {},
        "it has no dilations, which is (2, 1) here",
    ),
    "wrap": (make("Pad", ["x", "p"], mode="wrap"), {"x": X}, {"p": INTS([0, 0, 1, 1] * 2)}, "its mode is not wrap"),
    "axes": (make("ReduceMax", ["x", "a"]), {"x": X, "a": INTS([1])}, {}, "input 1 is computed"),
    "integers": (make("Add", ["n", "c"]), {"n": INTS([1])}, {"c": INTS([1 << 40])}, "no integers of 64 bits"),
    "a volume's border": (
        make("GridSample", ["v", "g"], padding_mode="border"),
        {"v": picture(1, 3, 4, 5, 6), "g": picture(1, 3, 5, 7, 3)},
        {},
        "with zeros around it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_opset_17_cannot_say_is_refused_by_name(case: str) -> None:
    node, inputs, constants, reason = REFUSED[case]
    with pytest.raises(HideNerfError) as caught:
        Opset17(plugin=False)(ir.from_proto(graph_of(node, inputs, constants)))
    message = str(caught.value)
    assert message.startswith(f"Node node ({node.op_type}) cannot be written in opset 17, the newest of TensorRT 8.6: ")
    assert reason in message
    assert message.endswith("; use TensorRT 10.1 or newer.")


def test_an_operator_that_came_after_opset_20_is_refused() -> None:
    node = make("BitCast", ["x"], to=TensorProto.INT32)
    try:
        model = graph_of(node, {"x": X}, {}, opset=26)
    except onnx.onnx_cpp2py_export.checker.ValidationError:  # pragma: no cover
        pytest.skip("this onnx has no BitCast")
    with pytest.raises(HideNerfError, match=r"BitCast.*no such operator"):
        Opset17(plugin=False)(ir.from_proto(model))
