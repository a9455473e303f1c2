"""LED's graph cut at its RaySamples: the parts with the op between them are the graph, in every precision."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from hidenerf.export.convolutions import convolutions
from hidenerf.export.led_parts import led_parts
from hidenerf.export.passes.base import apply_passes
from hidenerf.export.precision import planned_passes
from hidenerf.model.deformation import ray_samples
from tests.support.exported import plain_ir, run_onnx, values_of, whole
from tests.support.tiny import TINY


def led(precision: str) -> onnx.ModelProto:
    """LED's graph as a bundle holds it; "int8": every second convolution, and those before and after the op."""
    if precision != "int8":
        return whole("led", precision)
    layers = [layer.layer for layer in convolutions(plain_ir("led").graph)]
    scales = dict.fromkeys([*layers[1::2], "deformation.lookup", "deformation.decoder.stem.0"], 0.05)
    return ir.to_proto(apply_passes(plain_ir("led"), planned_passes(scales, ())))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_parts_with_the_op_between_them_are_the_graph(precision: str) -> None:
    whole_graph = led(precision)
    encoder, decoder = led_parts(whole_graph)
    values = {name: tensor.numpy() for name, tensor in values_of("led").items()}
    made = run_onnx(encoder, values)
    assert set(made) == {"embedding", "lookup_features"}
    kind = np.float32 if precision == "fp32" else np.float16
    assert all(array.dtype == kind for array in made.values())
    camera, features = torch.from_numpy(values["camera"]), torch.from_numpy(made["lookup_features"])
    points, looked_up = ray_samples(camera, features, TINY.samples_per_ray, TINY.lookup_stride)
    read = {"embedding": made["embedding"], "points": points.numpy(), "looked_up": looked_up.numpy()}
    found, expected = run_onnx(decoder, read), run_onnx(whole_graph, values)
    assert list(found) == ["deformation"]
    assert expected["deformation"].std() > 0.01
    # ONNX Runtime's CPU fuses casts of FP16 away within a graph, and rounds between two.
    atol = 1e-6 if precision == "fp32" else 2e-3
    np.testing.assert_allclose(found["deformation"], expected["deformation"], atol=atol)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_node_but_the_op_is_in_one_part_as_it_was(precision: str) -> None:
    """Nodes, attributes and weights: an INT8 plan and its islands hold in the parts as they do in the graph."""

    def nodes(model: onnx.ModelProto) -> dict[str, tuple[str, bytes]]:
        return {n.name: (n.op_type, b"".join(a.SerializeToString() for a in n.attribute)) for n in model.graph.node}

    def weights(model: onnx.ModelProto) -> dict[str, bytes]:
        return {tensor.name: tensor.raw_data for tensor in model.graph.initializer}

    whole_graph = led(precision)
    encoder, decoder = led_parts(whole_graph)
    expected = {name: node for name, node in nodes(whole_graph).items() if node[0] != "RaySamples"}
    assert nodes(encoder) | nodes(decoder) == expected
    assert nodes(encoder).keys().isdisjoint(nodes(decoder))
    assert weights(encoder) | weights(decoder) == weights(whole_graph)
    for part, name in ((encoder, "led_encoder"), (decoder, "led_decoder")):
        assert part.graph.name == name
        assert not part.functions
        assert [opset.domain for opset in part.opset_import] == [""]


def test_tensors_of_the_parts_stand_in_order() -> None:
    encoder, decoder = led_parts(led("fp16"))
    assert [value.name for value in encoder.graph.input] == ["secc_driving", "led_canonical"]
    assert [value.name for value in encoder.graph.output] == ["embedding", "lookup_features"]
    assert [value.name for value in decoder.graph.input] == ["embedding", "points", "looked_up"]
    size, samples = TINY.render_size, TINY.samples_per_ray
    channels = {
        "embedding": TINY.expression_channels,
        "points": 3 * samples,
        "looked_up": TINY.lookup_channels * samples // TINY.lookup_stride,
    }
    for value in decoder.graph.input:
        shape = [one.dim_value for one in value.type.tensor_type.shape.dim]
        assert shape == [1, channels[value.name], size, size]
