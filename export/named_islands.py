"""FP32 islands by the nodes' names, in an FP16 graph: what a precision plan's range guard found to overflow."""

from collections.abc import Collection

import onnx
from onnx import NodeProto, TensorProto, helper

from hidenerf.runtime.errors import HideNerfError

HALF_SUFFIX = "_half"


def keep_single(model: onnx.ModelProto, names: Collection[str], original: onnx.ModelProto) -> None:
    """Turn the named nodes of an FP16 model (bodies attached) back to FP32, in place, with casts around them.

    Between two named nodes, and into a cast to FP32, values pass in FP32 without any cast. original: the FP32 model,
    whose weights these nodes take. Errors: a node that the model has not.
    """
    graph = model.graph
    missing = set(names) - {node.name for node in graph.node}
    if missing:
        raise HideNerfError(
            f"The graph has no node {min(missing)} that the precision plan keeps in FP32; make the plan anew with "
            "hidenerf-calibrate."
        )
    if not names:
        return
    types = _types(model)
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    present = {tensor.name for tensor in graph.initializer}
    single: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for source in graph.node:
        node = NodeProto()
        node.CopyFrom(source)
        if node.op_type == "Cast" and node.input[0] in single and _target(node) == TensorProto.FLOAT:
            node.input[0] = single[node.input[0]]
        if node.name in names:
            for position, name in enumerate(node.input):
                if types.get(name) != TensorProto.FLOAT16:
                    continue
                if name not in single and name.removesuffix(HALF_SUFFIX) in weights:
                    single[name] = name.removesuffix(HALF_SUFFIX)
                    if single[name] not in present:
                        graph.initializer.append(weights[single[name]])
                elif name not in single:
                    single[name] = f"{name}_to_island"
                    nodes.append(_cast(name, single[name], TensorProto.FLOAT))
                node.input[position] = single[name]
            nodes.append(node)
            for position, name in enumerate(node.output):
                if types.get(name) == TensorProto.FLOAT16:
                    single[name] = node.output[position] = f"{name}_in_island"
                    nodes.append(_cast(single[name], name, TensorProto.FLOAT16))
        else:
            nodes.append(node)
    _keep_used(graph, nodes)


def _keep_used(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    """A value that only the island reads would still overflow in the cast behind it."""
    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    nodes = [node for node in nodes if node.op_type != "Cast" or node.output[0] in used]
    used = {name for node in nodes for name in node.input}
    produced = {name for node in nodes for name in node.output}
    weights = [tensor for tensor in list(graph.initializer) if tensor.name in used]
    values = [value for value in list(graph.value_info) if value.name in produced]
    fresh = onnx.GraphProto(
        name=graph.name, node=nodes, initializer=weights, input=graph.input, output=graph.output, value_info=values
    )
    graph.CopyFrom(fresh)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output, *graph.value_info]}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _cast(name: str, output: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [name], [output], name=f"{output}_cast", to=kind)


def _target(node: NodeProto) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))
