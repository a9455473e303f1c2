"""Convolutions of graphs written by hand, and of the real (tiny) model."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from hidenerf.export.convolutions import all_convolution_flops, convolutions, graph_digest, output_layers
from tests.support.exported import NAMES, plain_ir, whole


def graph_of(weights: dict[str, list[int]], nodes: list[onnx.NodeProto], output: str) -> ir.Graph:
    values = np.random.default_rng(0)
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 8])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values.random(shape).astype(np.float32), name) for name, shape in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True)).graph


def conv(data: str, weight: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", [data, weight], [output], name=f"node_{output}", **attributes)


def test_names_shapes_and_flops() -> None:
    nodes = [conv("x", "refine.net.first.weight", "a", strides=[2, 2], pads=[1, 1, 1, 1]), conv("a", "folded", "y")]
    graph = graph_of({"refine.net.first.weight": [4, 2, 3, 3], "folded": [5, 4, 1, 1]}, nodes, "y")
    first, second = convolutions(graph)
    assert (first.layer, first.node, first.data) == ("net.first", "node_a", "x")
    assert (second.layer, second.data) == ("node_y", "a")
    assert (first.input_shape, first.output_shape) == ((1, 2, 6, 8), (1, 4, 3, 4))
    assert first.flops == 2 * 2 * 9 * 4 * 12
    assert second.flops == 2 * 4 * 5 * 12
    assert all_convolution_flops(graph) == first.flops + second.flops


def test_grouped_convolutions_count_their_own_channels_only() -> None:
    graph = graph_of({"w": [2, 1, 1, 1]}, [conv("x", "w", "y", group=2)], "y")
    assert convolutions(graph)[0].flops == 2 * 1 * 2 * 48


def test_a_module_that_runs_twice_is_two_layers() -> None:
    graph = graph_of({"net.weight": [2, 2, 1, 1]}, [conv("x", "net.weight", "a"), conv("a", "net.weight", "y")], "y")
    assert [c.layer for c in convolutions(graph)] == ["net", "net@2"]


def test_output_layers_are_the_last_on_the_way_to_pixels_and_coordinates() -> None:
    weights = {"one.weight": [2, 2, 1, 1], "two.weight": [2, 2, 1, 1]}
    nodes = [conv("x", "one.weight", "a"), conv("a", "two.weight", "b")]
    assert output_layers(
        graph_of(weights, [*nodes, helper.make_node("Tanh", ["b"], ["deformation"])], "deformation")
    ) == {"two"}
    assert (
        output_layers(graph_of(weights, [*nodes, helper.make_node("Tanh", ["b"], ["planes_0"])], "planes_0")) == set()
    )


def test_the_refiner_has_the_same_layers_alone_and_behind_the_renderer() -> None:
    alone, behind = (convolutions(plain_ir(name).graph) for name in ("refiner", "renderer_refiner"))
    assert [c.layer for c in alone] == [c.layer for c in behind]
    assert len({c.layer for c in alone}) == len(alone) > 10
    assert all((a.weight == b.weight).all() for a, b in zip(alone, behind, strict=True))


def test_heads_are_the_output_layers_of_the_real_graphs() -> None:
    found = {name: output_layers(plain_ir(name).graph) for name in NAMES}
    assert found == {"source_encoder": set(), "led": {"deformation.head"}, "renderer_refiner": {"refiner.head"}}


def test_the_digest_does_not_know_the_bodies_but_every_weight() -> None:
    model = whole("source_encoder", "fp32")
    assert model.functions
    digest = graph_digest(plain_ir("source_encoder").graph)
    assert graph_digest(ir.from_proto(model).graph) == digest
    tensor = next(t for t in model.graph.initializer if t.name.endswith("weight"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1e-3
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert graph_digest(ir.from_proto(model).graph) != digest
