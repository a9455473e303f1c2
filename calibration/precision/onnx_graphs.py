"""ONNX graphs in memory on ONNX Runtime's CPU provider, and copies of them that return inner tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx.inliner
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hidenerf.export.custom_ops import ABSENT, ALIGN_SOURCE, DOMAIN, ENLARGED, TRIPLANE_RENDER, is_set
from hidenerf.export.graph_modules import source_in_frame
from hidenerf.runtime.backends.onnxruntime_cpu import PROVIDER
from hidenerf.runtime.backends.onnxruntime_session import new_session

Tensors = dict[str, NDArray[Any]]


class Session:
    """One graph, ready to run; inputs are taken by name from a larger set and cast to the types of the graph."""

    def __init__(self, model: ir.Model) -> None:
        self._session = new_session(onnxruntime, ir.to_proto(model).SerializeToString(), PROVIDER)
        self._inputs = {value.name or "": value.dtype.numpy() for value in model.graph.inputs if value.dtype}
        self._outputs = [value.name or "" for value in model.graph.outputs]

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> Tensors:
        """All outputs by name. tensors: the graph's inputs by name, others are ignored."""
        feed = {name: np.ascontiguousarray(tensors[name], dtype) for name, dtype in self._inputs.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def inlined(model: ir.Model) -> ir.Model:
    """A copy with the bodies of custom ops in place of their nodes."""
    return ir.from_proto(onnx.inliner.inline_local_functions(ir.to_proto(model)))


def with_values(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of an FP32 model that returns these FP32 tensors, its inputs among them, as `NAME:value`."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    copy.graph.outputs.clear()
    for name in names:
        _return(copy.graph, "Identity", values[name], f"{name}:value")
    return copy


def with_extremes(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of an FP32 model (functions inlined) that returns `NAME:max`, `NAME:min` and `NAME:sum` of these tensors.

    They are reduced to scalars in the graph, so that its tensors need not all be in memory at once. ONNX Runtime's
    maximum and minimum ignore NaN, its sum does not.
    """
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    copy.graph.outputs.clear()
    for name in names:
        for op, label in (("ReduceMax", "max"), ("ReduceMin", "min"), ("ReduceSum", "sum")):
            _return(copy.graph, op, values[name], f"{name}:{label}", keepdims=0)
    return copy


def _return(graph: ir.Graph, op: str, value: ir.Value, name: str, **attributes: int) -> None:
    """Apply `op` to `value`, and return the result as the FP32 output `name`."""
    output = ir.val(name, ir.DataType.FLOAT)
    graph.append(ir.node(op, [value], attributes, outputs=[output], name=f"{name}_{op}"))
    graph.outputs.append(output)


def refiner_inputs(renderer_refiner: ir.Model, source: Tensors, rendered: Tensors) -> Tensors:
    """All that the graph `refiner` reads, and more.

    renderer_refiner: whose AlignSource knows what maps are where the source shows nothing.
    source: what the source encoder returns, with what the frame takes (`Animator.frame_inputs`).
    rendered: what `renderer_alone` returns of a frame.
    """
    tensors = source | rendered
    if "place" not in rendered:
        return tensors
    (node,) = [node for node in renderer_refiner.graph if node.domain == DOMAIN and node.op_type == ALIGN_SOURCE]
    (constants,) = [value.const_value for value in node.inputs if value is not None and value.name == ABSENT]
    assert constants is not None
    absent = torch.from_numpy(np.array(constants.numpy()))
    given = {name: torch.from_numpy(array) for name, array in tensors.items()}
    sampled = source_in_frame(given, absent, enlarged=is_set(node, ENLARGED))
    return tensors | {name: tensor.numpy() for name, tensor in sampled.items()}


def renderer_alone(renderer_refiner: ir.Model) -> ir.Model:
    """What comes before the graph `refiner`: TriplaneRender, with outputs for `refiner_inputs`."""
    model = renderer_refiner.clone()
    graph = model.graph
    (node,) = [node for node in graph if node.domain == DOMAIN and node.op_type == TRIPLANE_RENDER]
    for value, name in zip(node.outputs, ("rendered", "rendered_alpha", "place"), strict=False):
        value.name = name
    graph.outputs[:] = node.outputs
    RemoveUnusedNodesPass()(model)
    for value in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(value)
    return model
