"""TensorFlow Lite networks as ONNX: reads a .tflite with the package `tflite` and builds the same graph.

Pictures lie channels last in TensorFlow Lite, [N, H, W, C], and channels first in ONNX, [N, C, H, W]. Here every tensor
of four dimensions is channels first, the graph's inputs and outputs too. An operator is one function in `OPERATORS`: to
read another network, add those that it needs. Weights in FP16 stay so in the file and are cast where they are used.
"""

import functools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hidenerf.runtime.errors import HideNerfError

Shape = tuple[int, ...]

OPSET = 17
IR_VERSION = 8
_IDENTIFIER = b"TFL3"


def tflite_to_onnx(content: bytes, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The ONNX network of a .tflite file with one graph, whose inputs are `input_0`, … and its outputs `output_0`, ….

    content: of the file.
    name: of the graph.
    metadata: what the network's `metadata_props` say.
    Errors: not a .tflite, several graphs, quantised tensors, an operator that is not known here.
    """
    if content[4:8] != _IDENTIFIER:
        raise HideNerfError("this is no TensorFlow Lite file; give a .tflite.")
    try:
        graph = _Graph(content)
        for operator in graph.operators:
            if operator.kind not in OPERATORS:
                raise HideNerfError(
                    f"the operator {operator.kind} of TensorFlow Lite is not known here; add it to OPERATORS in "
                    "hidenerf.assets.tflite_graph."
                )
            OPERATORS[operator.kind](graph, operator)
        model = graph.model(name)
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:
        raise HideNerfError(f"this TensorFlow Lite file is damaged ({error}); get it anew.") from None
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class Operator:
    """An operator of a TensorFlow Lite graph.

    kind: its name in the schema, or that of a custom operator.
    inputs, outputs: numbers of tensors.
    options: its table of the schema; None where it has none.
    custom: options of a custom operator, as its bytes.
    """

    kind: str
    inputs: Shape
    outputs: Shape
    options: Any
    custom: bytes


class _Graph:
    """A TensorFlow Lite graph, and the nodes and constants of its ONNX graph while that is built.

    content: of the file.
    """

    def __init__(self, content: bytes) -> None:
        self._tflite = _import_tflite()
        self._source = self._tflite.Model.GetRootAsModel(content, 0)
        if self._source.SubgraphsLength() != 1:
            raise HideNerfError(f"the file has {self._source.SubgraphsLength()} graphs; give one with a single graph.")
        self._graph = self._source.Subgraphs(0)
        self._inputs = [int(number) for number in self._graph.InputsAsNumpy()]
        self._outputs = [int(number) for number in self._graph.OutputsAsNumpy()]
        self._names = {number: f"input_{place}" for place, number in enumerate(self._inputs)}
        self._constants: dict[int, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    @functools.cached_property
    def operators(self) -> list[Operator]:
        """All operators, in the order in which they run."""
        return [self._operator(self._graph.Operators(index)) for index in range(self._graph.OperatorsLength())]

    def shape(self, tensor: int) -> Shape:
        """A tensor's shape in the file, channels last."""
        found = self._graph.Tensors(tensor)
        return tuple(int(length) for length in found.ShapeAsNumpy()) if found.ShapeLength() else ()

    def constant(self, tensor: int) -> NDArray[Any]:
        """The values of a constant tensor, channels last. Errors: the tensor is computed, or of another type."""
        if tensor not in self._constants:
            found = self._graph.Tensors(tensor)
            types = self._tflite.TensorType
            known = {types.FLOAT32: "<f4", types.FLOAT16: "<f2", types.INT32: "<i4"}
            buffer = self._source.Buffers(found.Buffer())
            if found.Type() not in known or not buffer.DataLength():
                wrong = f"has the type {found.Type()} of the schema" if buffer.DataLength() else "is computed"
                raise HideNerfError(
                    f"the tensor {found.Name().decode()} {wrong} where a constant in FP32 or FP16 is needed; give a "
                    "network that is not quantised."
                )
            values = np.frombuffer(buffer.DataAsNumpy().tobytes(), known[found.Type()])
            self._constants[tensor] = values.reshape(self.shape(tensor))
        return self._constants[tensor]

    def take_constant(self, tensor: int, values: NDArray[Any]) -> None:
        """Say that a tensor is a constant, channels last."""
        self._constants[tensor] = values

    def weight(self, values: NDArray[Any]) -> str:
        """Add a weight as ONNX takes it; returns its name, or that of its FP32 copy where it is FP16."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return self.node("Cast", name, to=TensorProto.FLOAT) if values.dtype == np.float16 else name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def name(self, tensor: int) -> str:
        """The ONNX name of a tensor, channels first."""
        if tensor not in self._names:
            values = self.constant(tensor)
            self._names[tensor] = self.weight(values.transpose(_CHANNELS_FIRST) if values.ndim == 4 else values)
        return self._names[tensor]

    def set_output(self, operator: Operator, name: str, activation: int = 0) -> None:
        """Say which ONNX tensor is an operator's output. activation: number of the activation fused with it."""
        types = self._tflite.ActivationFunctionType
        if activation == types.RELU:
            name = self.node("Relu", name)
        elif activation == types.RELU6:
            name = self.node("Clip", name, *(self.weight(np.array(end, np.float32)) for end in (0, 6)))
        elif activation != types.NONE:
            raise HideNerfError(f"{operator.kind} has the fused activation {activation}, which is not known here.")
        self._names[operator.outputs[0]] = name

    def is_same(self, padding: int) -> bool:
        """Whether a padding of the schema is SAME, not VALID."""
        return bool(padding == self._tflite.Padding.SAME)

    def model(self, name: str) -> onnx.ModelProto:
        """The network, after all operators."""
        outputs = [f"output_{place}" for place in range(len(self._outputs))]
        for tensor, output in zip(self._outputs, outputs, strict=True):
            self._nodes.append(helper.make_node("Identity", [self.name(tensor)], [output]))
        inputs = [self.name(tensor) for tensor in self._inputs]
        described = [
            helper.make_tensor_value_info(one, TensorProto.FLOAT, _channels_first(self.shape(tensor)))
            for one, tensor in zip(inputs + outputs, self._inputs + self._outputs, strict=True)
        ]
        made = helper.make_graph(self._nodes, name, described[: len(inputs)], described[len(inputs) :], self._weights)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _operator(self, found: Any) -> Operator:
        code = self._source.OperatorCodes(found.OpcodeIndex())
        # Files older than the schema's 128th operator have its number in another field.
        kind = _names_of(self._tflite.BuiltinOperator)[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        custom = b""
        if kind == "CUSTOM":
            kind = code.CustomCode().decode()
            custom = found.CustomOptionsAsNumpy().tobytes() if found.CustomOptionsLength() else b""
        inputs, outputs = (
            tuple(int(number) for number in one()) for one in (found.InputsAsNumpy, found.OutputsAsNumpy)
        )
        return Operator(kind, inputs, outputs, self._options(found), custom)

    def _options(self, found: Any) -> Any:
        table = found.BuiltinOptions()
        if table is None or found.BuiltinOptionsType() == self._tflite.BuiltinOptions.NONE:
            return None
        options = getattr(self._tflite, _names_of(self._tflite.BuiltinOptions)[found.BuiltinOptionsType()])()
        options.Init(table.Bytes, table.Pos)
        return options


_CHANNELS_FIRST = (0, 3, 1, 2)


def _convolution(graph: _Graph, operator: Operator) -> None:
    """CONV_2D: kernel [O, h, w, I]."""
    _convolve(graph, operator, graph.constant(operator.inputs[1]).transpose(_CHANNELS_FIRST), 1)


def _depthwise_convolution(graph: _Graph, operator: Operator) -> None:
    """DEPTHWISE_CONV_2D: kernel [1, h, w, C · multiplier]."""
    kernel = graph.constant(operator.inputs[1]).transpose(3, 0, 1, 2)
    _convolve(graph, operator, kernel, graph.shape(operator.inputs[0])[3])


def _convolve(graph: _Graph, operator: Operator, kernel: NDArray[Any], groups: int) -> None:
    """A convolution. kernel: [O, I / groups, h, w]."""
    options = operator.options
    strides = options.StrideH(), options.StrideW()
    dilations = options.DilationHFactor(), options.DilationWFactor()
    reach = [d * (length - 1) + 1 for d, length in zip(dilations, kernel.shape[2:], strict=True)]
    made = graph.node(
        "Conv",
        graph.name(operator.inputs[0]),
        graph.weight(kernel),
        *(graph.name(bias) for bias in operator.inputs[2:] if bias >= 0),
        strides=strides,
        dilations=dilations,
        group=groups,
        pads=_pads(graph, operator, reach, strides),
    )
    graph.set_output(operator, made, options.FusedActivationFunction())


def _average_pool(graph: _Graph, operator: Operator) -> None:
    """AVERAGE_POOL_2D: means of the pixels that are there."""
    options = operator.options
    window, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    made = graph.node(
        "AveragePool",
        graph.name(operator.inputs[0]),
        kernel_shape=window,
        strides=strides,
        pads=_pads(graph, operator, window, strides),
    )
    graph.set_output(operator, made, options.FusedActivationFunction())


def _pads(graph: _Graph, operator: Operator, window: "Shape | list[int]", strides: Shape) -> list[int]:
    """Rows and columns that TensorFlow adds above, at the left, below and at the right."""
    if not graph.is_same(operator.options.Padding()):
        return [0, 0, 0, 0]
    lengths = zip(graph.shape(operator.inputs[0])[1:3], window, strides, strict=True)
    both = [max(0, (-(-length // stride) - 1) * stride + reach - length) for length, reach, stride in lengths]
    return [*(one // 2 for one in both), *(one - one // 2 for one in both)]


def _transposed_convolution_with_bias(graph: _Graph, operator: Operator) -> None:
    """MediaPipe's Convolution2DTransposeBias: kernel [O, h, w, I].

    Its options are three integers: the padding (1: SAME), and the strides of columns and of rows.
    """
    padding, stride_columns, stride_rows = struct.unpack("<3i", operator.custom)
    kernel = graph.constant(operator.inputs[1]).transpose(3, 0, 1, 2)
    strides = stride_rows, stride_columns
    pads = [
        max(0, length - stride) if padding == 1 else 0 for length, stride in zip(kernel.shape[2:], strides, strict=True)
    ]
    made = graph.node(
        "ConvTranspose",
        graph.name(operator.inputs[0]),
        graph.weight(kernel),
        graph.name(operator.inputs[2]),
        strides=strides,
        pads=[*(one // 2 for one in pads), *(one - one // 2 for one in pads)],
    )
    graph.set_output(operator, made)


def _resize_bilinear(graph: _Graph, operator: Operator) -> None:
    """RESIZE_BILINEAR: to the size that the second input names."""
    options, shape = operator.options, _channels_first(graph.shape(operator.outputs[0]))
    how = "align_corners" if options.AlignCorners() else "half_pixel" if options.HalfPixelCenters() else "asymmetric"
    sizes = graph.weight(np.array(shape, np.int64))
    made = graph.node(
        "Resize", graph.name(operator.inputs[0]), "", "", sizes, mode="linear", coordinate_transformation_mode=how
    )
    graph.set_output(operator, made)


def _dequantise(graph: _Graph, operator: Operator) -> None:
    """DEQUANTIZE: of weights in FP16, which become FP32 by a cast."""
    graph.take_constant(operator.outputs[0], graph.constant(operator.inputs[0]))


def _of_one(kind: str) -> "Callable[[_Graph, Operator], None]":
    """An operator with one input that is an operator of ONNX."""
    return lambda graph, operator: graph.set_output(operator, graph.node(kind, graph.name(operator.inputs[0])))


def _of_two(kind: str) -> "Callable[[_Graph, Operator], None]":
    """An operator with two inputs, which may be broadcast, and a fused activation."""

    def make(graph: _Graph, operator: Operator) -> None:
        ranks = {len(graph.shape(tensor)) for tensor in operator.inputs}
        if len(ranks) > 1:
            raise HideNerfError(f"{operator.kind} of tensors with {sorted(ranks)} dimensions is not known here.")
        made = graph.node(kind, *(graph.name(tensor) for tensor in operator.inputs))
        graph.set_output(operator, made, operator.options.FusedActivationFunction())

    return make


OPERATORS: dict[str, Callable[[_Graph, Operator], None]] = {
    "ADD": _of_two("Add"),
    "AVERAGE_POOL_2D": _average_pool,
    "CONV_2D": _convolution,
    "Convolution2DTransposeBias": _transposed_convolution_with_bias,
    "DEPTHWISE_CONV_2D": _depthwise_convolution,
    "DEQUANTIZE": _dequantise,
    "HARD_SWISH": _of_one("HardSwish"),
    "LOGISTIC": _of_one("Sigmoid"),
    "MUL": _of_two("Mul"),
    "RELU": _of_one("Relu"),
    "RESIZE_BILINEAR": _resize_bilinear,
}


def _channels_first(shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in _CHANNELS_FIRST) if len(shape) == 4 else shape


@functools.cache
def _names_of(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _import_tflite() -> Any:
    """Import tflite; a `HideNerfError` with the pip command if it is not installed."""
    try:
        import tflite
    except ModuleNotFoundError:
        raise HideNerfError("Reading a .tflite needs tflite; install it with: pip install tflite==2.18.0") from None
    return tflite
