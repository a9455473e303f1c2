"""LED's graph in two, for backends that run RaySamples with a kernel of their own between them.

The parts are cut from the bundle's graph, after all passes, and not exported again: so their nodes, precisions and
weights are the graph's.
"""

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hidenerf.export.custom_ops import DOMAIN, RAY_SAMPLES
from hidenerf.runtime.bundle import EMBEDDING, LED_DECODER, LED_ENCODER, LOOKED_UP, LOOKUP_FEATURES, POINTS


def led_parts(led: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Cut LED's graph at its RaySamples.

    led: the graph `led` of a bundle. Returns `led_encoder`: secc_driving, led_canonical → embedding, lookup_features;
    and `led_decoder`: embedding, points, looked_up → deformation. Shapes: see `DeformationModule`.
    """
    encoder, decoder = (ir.from_proto(led) for _ in range(2))
    _keep_what_comes_before(encoder)
    _keep_what_comes_after(decoder)
    for model, name in ((encoder, LED_ENCODER), (decoder, LED_DECODER)):
        model.graph.name = name
        model.functions.clear()
        model.opset_imports.pop(DOMAIN, None)
        RemoveUnusedNodesPass()(model)
        for value in [value for value in model.graph.inputs if not value.uses()]:
            model.graph.inputs.remove(value)
    parts = ir.to_proto(encoder), ir.to_proto(decoder)
    for part in parts:
        onnx.checker.check_model(part, full_check=True)
    return parts


def _keep_what_comes_before(model: ir.Model) -> None:
    node, embedding = _cut(model.graph)
    features = node.inputs[1]
    assert features is not None
    embedding.name, features.name = EMBEDDING, LOOKUP_FEATURES
    model.graph.outputs[:] = [embedding, features]


def _keep_what_comes_after(model: ir.Model) -> None:
    graph = model.graph
    node, embedding = _cut(graph)
    for value, name in ((embedding, EMBEDDING), (node.outputs[0], POINTS), (node.outputs[1], LOOKED_UP)):
        given = ir.val(name, value.dtype, value.shape)
        value.replace_all_uses_with(given)
        graph.inputs.append(given)


def _cut(graph: ir.Graph) -> tuple[ir.Node, ir.Value]:
    """The RaySamples of LED's graph, and the embedding: what its features are computed of, and the decoder as well."""
    (node,) = [node for node in graph if node.domain == DOMAIN and node.op_type == RAY_SAMPLES]
    before = _ancestors(node.inputs[1])
    inside = {value for one in before for value in one.outputs}
    read_after = {value for one in graph if one is not node and one not in before for value in one.inputs}
    (embedding,) = inside & read_after
    assert embedding is not None
    return node, embedding


def _ancestors(value: ir.Value | None) -> set[ir.Node]:
    """The nodes that a value is computed by."""
    found: set[ir.Node] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        producer = None if one is None else one.producer()
        if producer is not None and producer not in found:
            found.add(producer)
            pending += producer.inputs
    return found
