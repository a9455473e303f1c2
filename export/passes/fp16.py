"""The FP16 pass: casts an FP32 graph to FP16, with FP32 islands chosen by small named rules.

TensorRT 11 networks are strongly typed and have no FP16 flag, so precision lives in the ONNX file (DESIGN §4).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hidenerf.export.custom_ops import DOMAIN, TRIPLANE_RENDER, fp32_inputs, fp32_outputs
from hidenerf.export.passes.base import FP16, FP32, constant, remove_unused_weights
from hidenerf.export.passes.map_nodes import nodes_of_maps
from hidenerf.runtime.errors import HideNerfError

LARGEST_FP16 = 65504.0

CAMERAS = ("camera", "source_camera")
# What an aligned identity path finds the source's surface with.
ALIGNMENT = ("source_projection", "source_surface", "rendered_alpha", "place", "face_sight")
# Graph inputs and outputs that stay FP32: pictures and SECCs come from the host as they are, the rest are coordinates,
# what TriplaneRender composites, pictures that GridSample reads, or what the host reads. Everything else that passes
# from graph to graph (planes, LED's constant, maps) is FP16.
FP32_TENSORS = {
    *CAMERAS,
    *("source_image", "secc_canonical", "secc_driving"),
    *("deformation", "rendered", "alpha", "frame"),
    *ALIGNMENT,
    *("source_pixels", "source_pixels_small"),
    *("own", "shown"),
}
# Suffix of a graph output's name while it still has the type of its node.
BEFORE_CAST = "_before_cast"

# The rule for nodes that a precision plan names because its range guard found that they overflow.
RANGE_GUARD = "range guard"

# Where coordinates turn into features, or features into coordinates.
_BOUNDARY_OPS = {"Conv", "GridSample", "QuantizeLinear"}
# Key of a node's metadata, which is not written to the file: name of the rule that keeps the node in FP32.
_ISLAND = "fp32_island"


@dataclass(frozen=True)
class IslandRule:
    """Which nodes stay FP32, and why.

    name: as the manifest counts it. reason: in words. select: from a graph to those of its nodes.
    """

    name: str
    reason: str
    select: Callable[[ir.Graph], set[ir.Node]]


def _is_boundary(node: ir.Node) -> bool:
    return node.domain == DOMAIN or node.op_type in _BOUNDARY_OPS


def _from_cameras(graph: ir.Graph) -> set[ir.Node]:
    geometry: set[ir.Value | None] = {value for value in graph.inputs if value.name in CAMERAS}
    chosen = set()
    for node in graph:
        if not _is_boundary(node) and not geometry.isdisjoint(node.inputs):
            chosen.add(node)
            geometry.update(node.outputs)
    return chosen


def _grid_samples(graph: ir.Graph) -> set[ir.Node]:
    return {node for node in graph if node.op_type == "GridSample" and not node.domain}


def _towards_outputs(graph: ir.Graph) -> set[ir.Node]:
    reached: set[ir.Value | None] = {value for value in graph.outputs if value.name in FP32_TENSORS}
    chosen = set()
    for node in reversed(graph):
        if not _is_boundary(node) and not reached.isdisjoint(node.outputs):
            chosen.add(node)
            reached.update(node.inputs)
    return chosen


def _alignment(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that read nothing but `ALIGNMENT`, constants, and what is computed of these."""
    known: set[ir.Value | None] = {value for value in graph.inputs if value.name in ALIGNMENT}
    chosen = set()
    for node in graph:
        if node.domain == DOMAIN and node.op_type == TRIPLANE_RENDER:
            known.update(node.outputs[1:])
        elif node.op_type == "GridSample" or not _is_boundary(node):
            read = [value for value in node.inputs if value is not None and _is_real(value) and not _is_constant(value)]
            if read and known.issuperset(read):
                chosen.add(node)
                known.update(node.outputs)
    return chosen


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return value.is_initializer() or (producer is not None and producer.op_type == "Constant")


ISLAND_RULES = (
    IslandRule(
        "camera geometry",
        "ray points and sampling coordinates lose up to an eighth of a texel in FP16",
        _from_cameras,
    ),
    IslandRule(
        "grid sampling",
        "its coordinates are FP32, TensorRT wants data of the same type, and ONNX Runtime's FP16 kernel is CPU-only",
        _grid_samples,
    ),
    IslandRule(
        "outputs",
        "deformation is a coordinate and the frame is rounded to 8 bits",
        _towards_outputs,
    ),
    IslandRule(
        "alignment",
        "FP16 would hold the depths that are compared to a tenth of their tolerance, a place to a quarter of a pixel",
        _alignment,
    ),
    IslandRule(
        "maps",
        "where weights nearly cancel out, their rounding made features of a flat background wrong by 2 %",
        nodes_of_maps,
    ),
)


def find_islands(graph: ir.Graph, named: Collection[str] = ()) -> dict[ir.Node, str]:
    """Nodes that stay FP32, each with the name of the first rule that keeps it.

    graph: FP32. named: names of nodes that stay FP32 by the rule `RANGE_GUARD`.
    """
    islands: dict[ir.Node, str] = {}
    for rule in ISLAND_RULES:
        for node in rule.select(graph):
            islands.setdefault(node, rule.name)
    for node in graph:
        if node.name in named:
            islands.setdefault(node, RANGE_GUARD)
    return islands


def island_counts(model: ir.Model) -> dict[str, int]:
    """How many nodes each rule kept in FP32, by rule name. model: as `Fp16` returned it, not read from a file."""
    counts = {rule.name: 0 for rule in ISLAND_RULES} | {RANGE_GUARD: 0}
    for node in model.graph:
        if _ISLAND in node.meta:
            counts[node.meta[_ISLAND]] += 1
    return counts


def boundary_type(name: str | None) -> ir.DataType:
    """Type of the graph input or output `name` in an FP16 graph."""
    return FP32 if name in FP32_TENSORS else FP16


@dataclass(frozen=True)
class Fp16:
    """The FP16 pass.

    `FunctionBodies` must run after it: the bodies of custom ops have the types of their nodes.

    keep: names of nodes that stay FP32 besides those of the island rules.
    """

    keep: frozenset[str] = frozenset()
    name: str = "FP16"

    def __call__(self, model: ir.Model) -> ir.Model:
        """Turn an FP32 model into FP16 in place.

        Errors: a graph that has FP16 tensors already, a weight beyond FP16's range, a node of `keep` that the graph
        does not have.
        """
        graph = model.graph
        self._require_fp32(graph)
        islands = find_islands(graph, self.keep)
        casts = _Casts(graph)
        # A new type each time: clones of a model share their types, and setting `dtype` would change those in place.
        for entry in graph.inputs:
            if _is_real(entry):
                entry.type = ir.TensorType(boundary_type(entry.name))
        for node in list(graph):
            if node in islands:
                node.meta[_ISLAND] = islands[node]
            input_types, output_types = _node_types(node, node in islands)
            for index, (value, dtype) in enumerate(zip(node.inputs, input_types, strict=True)):
                if value is not None and _is_real(value):
                    node.replace_input_with(index, casts.as_type(value, dtype, before=node))
            for output, dtype in zip(node.outputs, output_types, strict=True):
                if _is_real(output):
                    output.type = ir.TensorType(dtype)
        for index, output in enumerate(graph.outputs):
            if _is_real(output) and output.dtype != boundary_type(output.name):
                graph.outputs[index] = _cast_output(graph, output)
        remove_unused_weights(graph)
        return model

    def _require_fp32(self, graph: ir.Graph) -> None:
        for value in (*graph.inputs, *graph.initializers.values()):
            if value.dtype == FP16:
                raise HideNerfError(f"The FP16 pass takes FP32 graphs, and {value.name} is FP16 already; export again.")
        if missing := self.keep - {node.name for node in graph if node.domain != DOMAIN}:
            raise HideNerfError(
                f"The graph has no node {min(missing)} to keep in FP32, as the precision plan asks; make the plan anew "
                "with hidenerf-calibrate."
            )


def _is_real(value: ir.Value) -> bool:
    return value.dtype in (FP32, FP16)


def _node_types(node: ir.Node, island: bool) -> tuple[list[ir.DataType], list[ir.DataType]]:
    """The floating-point type that each input and each output of `node` must have."""
    if node.domain == DOMAIN:
        return (
            [FP32 if fixed else FP16 for fixed in fp32_inputs(node)],
            [FP32 if fixed else FP16 for fixed in fp32_outputs(node)],
        )
    dtype = FP32 if island else FP16
    inputs = [dtype] * len(node.inputs)
    if node.op_type == "Resize":
        inputs[1:] = [FP32] * (len(inputs) - 1)
    return inputs, [dtype] * len(node.outputs)


class _Casts:
    """The casts and converted weights of one graph; a value is converted once, however many nodes read it."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def as_type(self, value: ir.Value, dtype: ir.DataType, before: ir.Node) -> ir.Value:
        """`value` as `dtype`; a new Cast node goes in front of the node `before`."""
        if value.dtype == dtype:
            return value
        if (value, dtype) not in self._made:
            made = _fp16_weight(self._graph, value) if value.is_initializer() else None
            self._made[value, dtype] = made or self._cast(value, dtype, before)
        return self._made[value, dtype]

    def _cast(self, value: ir.Value, dtype: ir.DataType, before: ir.Node) -> ir.Value:
        node = _cast_node(value, f"{value.name}_as_{'fp16' if dtype == FP16 else 'fp32'}", dtype)
        self._graph.insert_before(before, node)
        return node.outputs[0]


def _fp16_weight(graph: ir.Graph, value: ir.Value) -> ir.Value:
    if value.const_value is None:
        raise ValueError(f"Weight {value.name} has no values.")
    values = value.const_value.numpy()
    largest = float(np.abs(values).max()) if values.size else 0.0
    if not largest <= LARGEST_FP16:
        raise HideNerfError(f"Weight {value.name} reaches {largest:g}, more than FP16 holds; export without --fp16.")
    weight = constant(f"{value.name}_fp16", values.astype(np.float16))
    graph.register_initializer(weight)
    return weight


def _cast_output(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The graph output of this name in its boundary type, cast at the end of the graph."""
    name = value.name or ""
    value.name = f"{name}{BEFORE_CAST}"
    node = _cast_node(value, name, boundary_type(name))
    graph.append(node)
    return node.outputs[0]


def _cast_node(value: ir.Value, name: str, dtype: ir.DataType) -> ir.Node:
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    return ir.node("Cast", [value], {"to": dtype}, outputs=[output], name=f"{name}_cast")
