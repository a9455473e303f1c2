"""`Chain`: the end of a graph, followed from its outputs backwards."""

from typing import Any

import onnx

from hidenerf.export.lowering.onnx_view import LoweringError, OnnxView


class Chain:
    """Follows a graph backwards, and notes which nodes it has passed."""

    def __init__(self, view: OnnxView) -> None:
        self.view = view
        self.passed: set[str] = set()

    def node(self, name: str, kind: str, **attributes: Any) -> onnx.NodeProto:
        """The node that makes a value. Errors: it is of another kind, or has other attributes."""
        node = self.view.producer(name)
        if node is None or node.op_type != kind:
            found = "an input" if node is None else f"a {node.op_type}"
            raise LoweringError(f"{name} is made by {found} and not by a {kind}")
        own = self.view.attributes(node)
        for key, value in attributes.items():
            if own.get(key) != value:
                raise LoweringError(f"{kind} {name} has {key} {own.get(key)} in place of {value}")
        self.passed.update(node.output)
        return node

    def is_kind(self, name: str, kind: str) -> bool:
        """Whether a value is made by such a node."""
        node = self.view.producer(name)
        return node is not None and node.op_type == kind

    def number(self, name: str) -> float:
        """A constant of one number. Errors: it is none."""
        values = self.view.constant(name)
        if values is None or values.size != 1:
            raise LoweringError(f"{name} is no constant number")
        return float(values.reshape(-1)[0])

    def through(self, name: str, kind: str, *numbers: float, **attributes: Any) -> str:
        """A value's maker's first input, where the other inputs are these constants."""
        node = self.node(name, kind, **attributes)
        found = tuple(self.number(one) for one in node.input[1:])
        if found != numbers:
            raise LoweringError(f"{kind} {name} has the constants {found} in place of {numbers}")
        return node.input[0]

    def channels(self, name: str, first: int, count: int) -> str:
        """What a Slice takes channels first to first + count of."""
        node = self.node(name, "Slice")
        starts, ends, axes, steps = (self.number(one) for one in node.input[1:])
        available = self.view.shape(node.input[0])[1]
        if (starts, min(ends, available), axes, steps) != (first, first + count, 1, 1):
            raise LoweringError(f"Slice {name} takes other channels than {first} to {first + count}")
        return node.input[0]

    def doubled(self, name: str) -> str:
        """What a bilinear Resize doubles."""
        node = self.node(
            name, "Resize", mode="linear", coordinate_transformation_mode="half_pixel", antialias=0, exclude_outside=0
        )
        scales = self.view.constant(node.input[2]) if len(node.input) == 3 else None
        if scales is None or scales.tolist() != [1, 1, 2, 2]:
            raise LoweringError(f"Resize {name} does not double")
        return node.input[0]
