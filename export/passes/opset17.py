"""The pass for older parsers: an opset 20 graph in the words of opset 17, which TensorRT 8.6 reads.

TensorRT 8.6 knows opset 17, IR 8, no local functions, 32-bit integers, and samples of 2-D pictures only. `RULES` is all
that changes; each rule says which operators it rewrites and why. What no rule covers and opset 17 does not have is
refused by name. The outputs stay those of the graph, up to the rounding of FP16.

PyTorch is not imported: a machine that builds engines need not have it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx.defs
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass, ShapeInferencePass
from onnxscript.optimizer import fold_constants

from hidenerf.export.engines.plugin import NAMESPACE
from hidenerf.export.passes.base import FP16, FP32, constant, remove_unused_weights
from hidenerf.runtime.errors import HideNerfError

OPSET = 17
IR_VERSION = 8
INT32 = np.iinfo(np.int32)
# Operators that opset 18 gave `axes` as an input; before, they were an attribute.
REDUCTIONS = tuple(f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod"))
REDUCTIONS += ("ReduceSumSquare",)
# Attributes that came after opset 17, with the value that means what opset 17 does.
NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "AveragePool": {"dilations": 1},
    "Cast": {"saturate": 1},
    "LpPool": {"dilations": 1, "ceil_mode": 0},
    "QuantizeLinear": {"saturate": 1},
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"},
}
# Values of attributes that opset 17 spells differently, or lacks.
GRID_SAMPLE_MODES = {"linear": "bilinear", "cubic": "bicubic"}
LATER_VALUES = {
    "Resize": ("coordinate_transformation_mode", "half_pixel_symmetric"),
    "Pad": ("mode", "wrap"),
    "ScatterElements": ("reduction", "max", "min"),
    "ScatterND": ("reduction", "max", "min"),
}


@dataclass(frozen=True)
class Rule:
    """How nodes of some operators become nodes of opset 17.

    name: in words. reason: why TensorRT 8.6 needs it. operators: which it looks at. rewrite: changes a node in place;
    a `HideNerfError` where opset 17 cannot say what the node means.
    """

    name: str
    reason: str
    operators: tuple[str, ...]
    rewrite: Callable[[ir.Graph, ir.Node], None]


@dataclass(frozen=True)
class Opset17:
    """The pass. It runs on a bundle's graph, so after all others.

    plugin: whether our plugin takes the nodes of our domain: these stay as they are, without a body. Otherwise each is
        replaced by its body.
    """

    plugin: bool
    name: str = "opset 17"

    def __call__(self, model: ir.Model) -> ir.Model:
        """Rewrite `model` in place and return it.

        Errors: a node that opset 17 cannot express, with its name.
        """
        InlinePass(None if not self.plugin else lambda function: function.domain != NAMESPACE)(model)
        model.functions.clear()
        # Bodies compute axes and shapes, which have to be constants.
        fold_constants(model)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        ShapeInferencePass()(model)
        for rule in RULES:
            for node in [node for node in model.graph if not node.domain and node.op_type in rule.operators]:
                rule.rewrite(model.graph, node)
        for node in model.graph:
            _require_opset_17(node)
        remove_unused_weights(model.graph)
        model.opset_imports[""] = OPSET
        if not any(node.domain == NAMESPACE for node in model.graph):
            model.opset_imports.pop(NAMESPACE, None)
        model.ir_version = IR_VERSION
        return model


def _cast_like(graph: ir.Graph, node: ir.Node) -> None:
    like = node.inputs[1]
    if like is None or like.dtype is None:
        raise _refusal(node, "the type it casts to is not recorded")
    _replace(graph, node, ir.node("Cast", [node.inputs[0]], {"to": like.dtype}, name=node.name))


def _grid_sample_mode(_graph: ir.Graph, node: ir.Node) -> None:
    # The default is the same sampling under both names.
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "linear"
    node.attributes["mode"] = ir.AttrString("mode", GRID_SAMPLE_MODES.get(mode, mode))


def _volume_samples(graph: ir.Graph, node: ir.Node) -> None:
    """A trilinear sample of a volume: two bilinear ones of a picture of all slices, weighted by the distance in depth.

    The slices lie below each other, each between two rows of zeros, and a slice of zeros first and last. So what is
    outside the volume is zero, and no slice reaches into the next. Rows are numbers of up to (D + 2)·(H + 2), of which
    FP32 leaves 1e-4 of a row at the sizes of `base`.
    """
    volume, grid = node.inputs[0], node.inputs[1]
    assert volume is not None
    assert grid is not None
    if volume.shape is None or grid.shape is None or grid.dtype != FP32:
        raise _refusal(node, "the shapes it samples are not recorded, or its coordinates are not FP32")
    if len(volume.shape) == 4:
        return
    batch, channels, depth, height, width = volume.shape.numpy()
    _, *points, _ = grid.shape.numpy()
    settings = {name: attribute.value for name, attribute in node.attributes.items()}
    defaults = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 0}
    if batch != 1 or defaults | settings != defaults:
        raise _refusal(node, "of volumes, it has linear samples of one volume with zeros around it, and no others")
    add = _Inserter(graph, node)
    rows, flat = (depth + 2) * (height + 2), [points[0] * points[1], points[2]]
    padded = add("Pad", [volume, add.ints([0, 0, 1, 1, 0] * 2)])
    picture = add("Reshape", [padded, add.ints([1, channels, rows, width])])
    grid = add("Reshape", [grid, add.ints([1, *flat, 3])])
    x, y, z = (add("Slice", [grid, *map(add.ints, ([axis], [axis + 1], [3]))]) for axis in range(3))

    def scaled(value: ir.Value, factor: float, offset: float) -> ir.Value:
        return add("Add", [add("Mul", [value, add.real(factor)]), add.real(offset)])

    # From [-1, 1] to rows and slices, as GridSample does.
    row = add("Clip", [scaled(y, height / 2, (height - 1) / 2), add.real(-1), add.real(height)])
    position = scaled(z, depth / 2, (depth - 1) / 2)
    near = add("Floor", [position])
    part = add("Reshape", [add("Sub", [position, near]), add.ints([1, 1, *flat])])
    sampled = []
    for step, weight in ((0, add("Sub", [add.real(1), part])), (1, part)):
        one = add("Clip", [add("Add", [near, add.real(step)]), add.real(-1), add.real(depth)])
        of_all = add("Add", [scaled(one, height + 2, height + 3), row])
        place = add("Concat", [x, scaled(of_all, 2 / rows, 1 / rows - 1)], axis=3)
        sampled.append(add("Mul", [add("GridSample", [picture, place], **settings), weight]))
    total = add("Add", sampled)
    _replace(graph, node, ir.node("Reshape", [total, add.ints([1, channels, *points])], name=node.name))


def _cumulative_sums(graph: ir.Graph, node: ir.Node) -> None:
    """A product with a triangle of ones."""
    data, axis = node.inputs[0], _ints(node, 1)[0]
    if data is None or data.shape is None or data.dtype is None:
        raise _refusal(node, "the shape that it sums is not recorded")
    rank, count = len(data.shape), data.shape.numpy()[axis]
    reverse, exclusive = (
        name in node.attributes and bool(node.attributes[name].as_int()) for name in ("reverse", "exclusive")
    )
    # Row i of the triangle is where element i is counted.
    ones = np.triu(np.ones((count, count)), int(exclusive))
    triangle = ones.T if reverse else ones
    # Its own inverse: swaps the axis with the last.
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    add = _Inserter(graph, node)
    product = add("MatMul", [add("Transpose", [data], perm=order), add.array(triangle, data.dtype)])
    _replace(graph, node, ir.node("Transpose", [product], {"perm": order}, name=node.name))


def _reduction_axes(graph: ir.Graph, node: ir.Node) -> None:
    axes = _ints(node, 1)
    noop = node.attributes.pop("noop_with_empty_axes", None)
    if not axes and noop is not None and noop.as_int():
        _replace(graph, node, ir.node("Identity", [node.inputs[0]], name=node.name))
        return
    node.resize_inputs(1)
    if axes:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)


def _neutral_attributes(_graph: ir.Graph, node: ir.Node) -> None:
    for name, neutral in NEUTRAL[node.op_type].items():
        attribute = node.attributes.pop(name, None)
        if attribute is None:
            continue
        values = attribute.value if isinstance(attribute.value, Sequence) else [attribute.value]
        # Only casts to 8-bit floats saturate.
        eight_bits = node.op_type != "Cast" or "FLOAT8" in ir.DataType(node.attributes["to"].as_int()).name
        if attribute.value != neutral and any(value != neutral for value in values) and eight_bits:
            raise _refusal(node, f"it has no {name}, which is {attribute.value} here")


def _later_values(_graph: ir.Graph, node: ir.Node) -> None:
    name, *later = LATER_VALUES[node.op_type]
    if name in node.attributes and node.attributes[name].as_string() in later:
        raise _refusal(node, f"its {name} is not {node.attributes[name].as_string()}")


def _split_sizes(graph: ir.Graph, node: ir.Node) -> None:
    count = node.attributes.pop("num_outputs", None)
    if count is None:
        return
    data = node.inputs[0]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    size = data.shape[axis] if data is not None and data.shape is not None else None
    if not isinstance(size, int):
        raise _refusal(node, "the size that it divides is not recorded")
    part = -(-size // count.as_int())
    sizes = [min(part, size - index * part) for index in range(count.as_int())]
    node.resize_inputs(2)
    node.replace_input_with(1, _Inserter(graph, node).ints(sizes))


def _pad_axes(graph: ir.Graph, node: ir.Node) -> None:
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return
    data = node.inputs[0]
    if data is None or data.shape is None:
        raise _refusal(node, "the rank that it pads is not recorded")
    axes, given, rank = _ints(node, 3), _ints(node, 1), len(data.shape)
    pads = np.zeros((2, rank), np.int64)
    pads[:, axes] = np.reshape(given, (2, len(axes)))
    node.resize_inputs(3)
    node.replace_input_with(1, _Inserter(graph, node).ints(pads.ravel()))


def _resize_axes(graph: ir.Graph, node: ir.Node) -> None:
    axes = node.attributes.pop("axes", None)
    if axes is None:
        return
    data = node.inputs[0]
    if data is None or data.shape is None:
        raise _refusal(node, "the shape that it resizes is not recorded")
    add, given = _Inserter(graph, node), list(axes.as_ints())
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        scales = np.ones(len(data.shape), np.float32)
        scales[given] = _constant(node, 2)
        node.replace_input_with(2, add.array(scales, FP32))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        sizes = data.shape.numpy()
        whole = np.array(sizes, np.int64)
        whole[given] = _constant(node, 3)
        node.replace_input_with(3, add.ints(whole))


def _quantised_types(graph: ir.Graph, node: ir.Node) -> None:
    """FP32 scales: FP16 data is cast before it is quantised, and a convolution of two quantised factors is FP32.

    No cast may stand between a DequantizeLinear and the convolution that is to run in INT8.
    """
    scale = node.inputs[1]
    if scale is None or scale.dtype != FP16:
        return
    node.replace_input_with(1, _Inserter(graph, node).array(_constant(node, 1), FP32))
    if node.op_type == "QuantizeLinear":
        node.replace_input_with(0, _Inserter(graph, node)("Cast", [node.inputs[0]], to=FP32))
        return
    output = node.outputs[0]
    convolutions = [reader for reader, index in output.uses() if reader.op_type == "Conv" and index < 2]
    _make_fp32(graph, node, [reader for reader, _ in output.uses() if reader not in convolutions])
    for convolution in convolutions:
        if convolution.outputs[0].dtype == FP16:
            for index, value in enumerate(convolution.inputs):
                if value is not None and _operator(value) != "DequantizeLinear":
                    cast = _Inserter(graph, convolution)("Cast", [value], to=FP32)
                    convolution.replace_input_with(index, cast)
            _make_fp32(graph, convolution, [reader for reader, _ in convolution.outputs[0].uses()])


def _small_integers(graph: ir.Graph, node: ir.Node) -> None:
    for index, value in enumerate(node.inputs):
        numbers = None if value is None else value.const_value
        if numbers is None or numbers.dtype != ir.DataType.INT64:
            continue
        array = numbers.numpy()
        if array.size == 0 or (array.min() >= INT32.min and array.max() <= INT32.max):
            continue
        # A slice may name an end far behind the last element.
        if node.op_type != "Slice":
            raise _refusal(node, f"it has no integers of 64 bits, and input {index} holds {array.flat[0]}")
        clamped = np.clip(array, -INT32.max, INT32.max)
        node.replace_input_with(index, _Inserter(graph, node).ints(clamped))


ALL_OPERATORS = tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas()}))

RULES = (
    Rule("casts to a type", "it has no CastLike", ("CastLike",), _cast_like),
    Rule("names of sampling modes", "opset 20 renamed them", ("GridSample",), _grid_sample_mode),
    Rule("samples of volumes", "it samples pictures only", ("GridSample",), _volume_samples),
    Rule("cumulative sums", "it runs a loop for them", ("CumSum",), _cumulative_sums),
    Rule("axes of reductions", "they are attributes before opset 18", REDUCTIONS, _reduction_axes),
    Rule("attributes that change nothing", "they came after opset 17", tuple(NEUTRAL), _neutral_attributes),
    Rule("values of attributes", "they came after opset 17", tuple(LATER_VALUES), _later_values),
    Rule("sizes of a split", "num_outputs came with opset 18", ("Split",), _split_sizes),
    Rule("axes of a pad", "they came with opset 18", ("Pad",), _pad_axes),
    Rule("axes of a resize", "they came with opset 18", ("Resize",), _resize_axes),
    Rule("quantisation", "scales are FP32 before opset 19", ("QuantizeLinear", "DequantizeLinear"), _quantised_types),
    Rule("integers of 32 bits", "it cuts larger ones with a warning", ALL_OPERATORS, _small_integers),
)


def _require_opset_17(node: ir.Node) -> None:
    """A `HideNerfError` unless opset 17 has a node's operator, attributes and number of inputs."""
    if node.domain:
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    except onnx.defs.SchemaError:
        raise _refusal(node, "it has no such operator") from None
    if unknown := sorted(node.attributes.keys() - schema.attributes.keys()):
        raise _refusal(node, f"its {node.op_type} has no {unknown[0]}")
    if len(node.inputs) > schema.max_input:
        raise _refusal(node, f"its {node.op_type} has {schema.max_input} inputs at most, not {len(node.inputs)}")


class _Inserter:
    """Adds nodes and constants in front of a node; calling it adds a node and gives its output."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph, self._before = graph, before

    def __call__(self, operator: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        name = self._name(operator)
        output = ir.val(f"{name}_output")
        if operator == "Cast":
            output.type = ir.TensorType(attributes["to"])
        self._graph.insert_before(self._before, ir.node(operator, inputs, attributes, outputs=[output], name=name))
        return output

    def ints(self, values: Sequence[int] | NDArray[Any]) -> ir.Value:
        """A constant of INT64."""
        return self.array(np.asarray(values), ir.DataType.INT64)

    def real(self, value: float) -> ir.Value:
        """A constant number of FP32."""
        return self.array(np.array(value), FP32)

    def array(self, values: NDArray[Any], dtype: ir.DataType) -> ir.Value:
        """A constant array."""
        made = constant(self._name("constant"), np.ascontiguousarray(values.astype(dtype.numpy())))
        self._graph.register_initializer(made)
        return made

    def _name(self, what: str) -> str:
        stem = f"{self._before.name or self._before.op_type}_{what}"
        taken = {*self._graph.initializers, *(node.name for node in self._graph)}
        number = 0
        while f"{stem}_{number}" in taken:
            number += 1
        return f"{stem}_{number}"


def _make_fp32(graph: ir.Graph, node: ir.Node, readers: Sequence[ir.Node]) -> None:
    """Turn a node's FP16 output into FP32; `readers`, and the graph's outputs, get it cast back, under its old name."""
    output = node.outputs[0]
    if not readers and not output.is_graph_output():
        output.type = ir.TensorType(FP32)
        return
    half = ir.val(output.name, FP16, output.shape)
    output.name, output.type = f"{output.name}_in_fp32", ir.TensorType(FP32)
    graph.insert_after(node, ir.node("Cast", [output], {"to": FP16}, outputs=[half], name=f"{node.name}_to_fp16"))
    for reader in readers:
        for index, value in enumerate(reader.inputs):
            if value is output:
                reader.replace_input_with(index, half)
    for index, value in enumerate(graph.outputs):
        if value is output:
            graph.outputs[index] = half


def _replace(graph: ir.Graph, node: ir.Node, new: ir.Node) -> None:
    """Put a node of one output in the place of another, under the same names."""
    ir.convenience.replace_nodes_and_values(graph, node, [node], [new], node.outputs, new.outputs)


def _operator(value: ir.Value) -> str:
    producer = value.producer()
    return "" if producer is None else producer.op_type


def _constant(node: ir.Node, index: int) -> NDArray[Any]:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros(0, np.int64)
    if value.const_value is None:
        raise _refusal(node, f"input {index} is computed, and must be a constant")
    return value.const_value.numpy()


def _ints(node: ir.Node, index: int) -> list[int]:
    return [int(number) for number in np.atleast_1d(_constant(node, index))]


def _refusal(node: ir.Node, why: str) -> HideNerfError:
    return HideNerfError(
        f"Node {node.name} ({node.op_type}) cannot be written in opset {OPSET}, the newest of TensorRT 8.6: {why}; "
        "use TensorRT 10.1 or newer."
    )
