"""`OnnxView`: a graph's nodes, shapes and constants by name, as the lowering reads them."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hidenerf.runtime.errors import HideNerfError


class LoweringError(HideNerfError):
    """A graph, or one of its nodes, is not what a rule takes; the message says why."""


class OnnxView:
    """Read-only view of a graph whose shapes are all static.

    nodes: in the graph's order. inputs, outputs: their names.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.nodes = list(graph.node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self._constants]
        self.outputs = [value.name for value in graph.output]
        known = [*graph.value_info, *graph.input, *graph.output]
        self._types = {value.name: value.type.tensor_type for value in known}
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._uses: dict[str, int] = {}
        for name in [*(name for node in self.nodes for name in node.input), *self.outputs]:
            self._uses[name] = self._uses.get(name, 0) + 1

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return self._producers.get(name)

    def uses(self, name: str) -> int:
        """How many nodes and outputs read a value."""
        return self._uses.get(name, 0)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value or constant. Errors: it is unknown."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        if name not in self._types or not self._types[name].HasField("shape"):
            raise LoweringError(f"the shape of {name} is unknown")
        return tuple(dimension.dim_value for dimension in self._types[name].shape.dim)

    def dtype(self, name: str) -> np.dtype[Any] | None:
        """Of a value or constant; None where it is unknown."""
        kind = self._constants[name].data_type if name in self._constants else 0
        if not kind and name in self._types:
            kind = self._types[name].elem_type
        return np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """Values of a constant; None if it is none."""
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None

    @staticmethod
    def attributes(node: onnx.NodeProto) -> dict[str, Any]:
        """A node's attributes by name, text as str."""
        found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
