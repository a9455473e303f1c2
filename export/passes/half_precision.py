"""FP16 as a cast pass over an FP32 graph, with FP32 islands chosen by small named rules.

TensorRT 11 networks are strongly typed and know no FP16 flag, so precision lives in the ONNX file (DESIGN §4).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.passes.custom_ops import DOMAIN, FP32_INPUTS, FP32_OUTPUTS, triplane_render_inputs
from hidenerf.runtime.errors import HideNerfError

CAMERAS = ("camera", "source_camera")
# Graph inputs and outputs that stay FP32: pictures and SECCs come from the host as they are, the rest are coordinates,
# what TriplaneRender composites, or what the host reads. Everything else that passes from graph to graph (planes, LED's
# constant, maps) is FP16.
FP32_TENSORS = {
    *CAMERAS,
    *("source_image", "secc_canonical", "secc_driving"),
    *("deformation", "rendered", "rendered_alpha", "alpha", "frame"),
}
LARGEST_HALF = 65504.0

# The rule of nodes that a precision plan names, since its range guard found them to overflow.
RANGE_GUARD = "range guard"

# Where coordinates turn into features, or features into coordinates.
_BOUNDARY_OPS = {"Conv", "GridSample"}

Nodes = list[NodeProto]


@dataclass(frozen=True)
class IslandRule:
    """Which nodes stay FP32, and why. `select` returns indices into the graph's nodes."""

    name: str
    reason: str
    select: Callable[[onnx.GraphProto], set[int]]


def _is_boundary(node: NodeProto) -> bool:
    return node.domain == DOMAIN or node.op_type in _BOUNDARY_OPS


def _from_cameras(graph: onnx.GraphProto) -> set[int]:
    geometry = {tensor.name for tensor in graph.input if tensor.name in CAMERAS}
    chosen = set()
    for index, node in enumerate(graph.node):
        if not _is_boundary(node) and geometry.intersection(node.input):
            chosen.add(index)
            geometry.update(node.output)
    return chosen


def _grid_samples(graph: onnx.GraphProto) -> set[int]:
    return {index for index, node in enumerate(graph.node) if node.op_type == "GridSample" and not node.domain}


def _towards_outputs(graph: onnx.GraphProto) -> set[int]:
    wanted = {tensor.name for tensor in graph.output if tensor.name in FP32_TENSORS}
    chosen = set()
    for index in range(len(graph.node) - 1, -1, -1):
        node = graph.node[index]
        if not _is_boundary(node) and wanted.intersection(node.output):
            chosen.add(index)
            wanted.update(node.input)
    return chosen


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
)


def find_islands(graph: onnx.GraphProto) -> dict[int, str]:
    """Node index → name of the first rule that keeps it FP32."""
    islands: dict[int, str] = {}
    for rule in ISLAND_RULES:
        for index in rule.select(graph):
            islands.setdefault(index, rule.name)
    return islands


def boundary_type(name: str) -> int:
    """ONNX type of a graph input or output in an FP16 graph."""
    return TensorProto.FLOAT if name in FP32_TENSORS else TensorProto.FLOAT16


def _wanted_types(node: NodeProto, island: bool) -> tuple[list[int], list[int]]:
    """The floating-point type that each input and each output of `node` shall have."""
    half, single = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
    if node.domain == DOMAIN:
        fixed_inputs, fixed_outputs = FP32_INPUTS[node.op_type], FP32_OUTPUTS[node.op_type]
        triplane = node.op_type == "TriplaneRender"
        inputs = triplane_render_inputs(len(node.input) - 6) if triplane else ["volume", "grid"]
        outputs = ["rendered", "alpha"] if triplane else ["sampled"]
        return (
            [single if name in fixed_inputs else half for name in inputs],
            [single if name in fixed_outputs else half for name in outputs],
        )
    kind = single if island else half
    inputs_kind = [kind] * len(node.input)
    if node.op_type == "Resize":
        inputs_kind[1:] = [single] * (len(node.input) - 1)
    return inputs_kind, [kind] * len(node.output)


class _Caster:
    """Rewrites one graph; holds what is known of each value's type and the casts made so far."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output, *graph.value_info]}
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.types.update({name: tensor.data_type for name, tensor in self.initializers.items()})
        self.nodes: Nodes = []
        self.kept: dict[str, TensorProto] = {}
        self.cast: dict[tuple[str, int], str] = {}

    def is_real(self, name: str) -> bool:
        return self.types.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16)

    def as_type(self, name: str, kind: int) -> str:
        """The name under which `name` is available as `kind`, after adding a converted weight or a Cast node."""
        if not name or not self.is_real(name):
            if name in self.initializers:
                self.kept[name] = self.initializers[name]
            return name
        if name in self.initializers:
            return self._weight(name, kind)
        if self.types[name] == kind:
            return name
        if (name, kind) not in self.cast:
            cast = f"{name}_as_{'half' if kind == TensorProto.FLOAT16 else 'single'}"
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=f"{cast}_cast", to=kind))
            self.cast[name, kind] = cast
            self.types[cast] = kind
        return self.cast[name, kind]

    def _weight(self, name: str, kind: int) -> str:
        tensor = self.initializers[name]
        if kind == TensorProto.FLOAT:
            self.kept[name] = tensor
            return name
        half = f"{name}_half"
        if half not in self.kept:
            values = numpy_helper.to_array(tensor)
            largest = float(np.abs(values).max()) if values.size else 0.0
            if not largest <= LARGEST_HALF:
                raise HideNerfError(f"Weight {name} reaches {largest:g}, more than FP16 holds; export without --fp16.")
            self.kept[half] = numpy_helper.from_array(values.astype(np.float16), half)
            self.types[half] = kind
        return half


def to_half(model: onnx.ModelProto, named: Collection[str] = ()) -> dict[str, int]:
    """Turn an FP32 model (custom ops' bodies not attached yet) into FP16 in place.

    named: nodes that stay FP32 besides those of the island rules. Returns how many nodes each rule kept in FP32.
    Errors: a weight beyond FP16's range, a named node that the model has not.
    """
    graph = model.graph
    if missing := set(named) - {node.name for node in graph.node if node.domain != DOMAIN}:
        raise HideNerfError(
            f"The graph has no node {min(missing)} to keep in FP32, as the precision plan asks; make the plan anew "
            "with hidenerf-calibrate."
        )
    islands = find_islands(graph)
    for index, node in enumerate(graph.node):
        if node.name in named:
            islands.setdefault(index, RANGE_GUARD)
    caster = _Caster(graph)
    for tensor in graph.input:
        if caster.is_real(tensor.name):
            caster.types[tensor.name] = tensor.type.tensor_type.elem_type = boundary_type(tensor.name)
    outputs = {tensor.name for tensor in graph.output}
    renamed: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        wanted_inputs, wanted_outputs = _wanted_types(node, index in islands)
        inputs = [caster.as_type(renamed.get(x, x), kind) for x, kind in zip(node.input, wanted_inputs, strict=True)]
        node.input[:] = inputs
        for position, (name, kind) in enumerate(zip(list(node.output), wanted_outputs, strict=True)):
            if not caster.is_real(name):
                continue
            if name in outputs and boundary_type(name) != kind:
                renamed[name] = f"{name}_before_cast"
                node.output[position] = renamed[name]
                caster.types[renamed[name]] = kind
            else:
                caster.types[name] = kind
        caster.nodes.append(node)
    for name, inner in renamed.items():
        caster.nodes.append(helper.make_node("Cast", [inner], [name], name=f"{name}_cast", to=boundary_type(name)))
        caster.types[name] = boundary_type(name)
    for tensor in graph.output:
        if caster.is_real(tensor.name):
            tensor.type.tensor_type.elem_type = boundary_type(tensor.name)
    _replace(graph, caster.nodes, caster.kept.values(), caster.types)
    counts = {rule.name: 0 for rule in ISLAND_RULES} | {RANGE_GUARD: 0}
    for name in islands.values():
        counts[name] += 1
    return counts


def _replace(
    graph: onnx.GraphProto, nodes: Nodes, initializers: Iterable[TensorProto], types: Mapping[str, int]
) -> None:
    nodes = [_copy(node) for node in nodes]
    initializers = list(initializers)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    for value in graph.value_info:
        if value.name in types:
            value.type.tensor_type.elem_type = types[value.name]


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
