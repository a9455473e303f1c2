"""Small TensorFlow Lite files, written with the builders of the package `tflite`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

TYPES = {"float32": 0, "float16": 1, "int32": 2, "int8": 9}


@dataclass(frozen=True)
class Node:
    """An operator: its kind in the schema, or a custom operator's name; numbers of tensors; and its options.

    options: name of the schema's table, and its fields.
    """

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: tuple[str, dict[str, Any]] | None = None
    custom: bytes = b""


@dataclass
class File:
    """Tensors [shape, dtype, values or None] and operators."""

    inputs: Sequence[int]
    outputs: Sequence[int]
    nodes: Sequence[Node]
    tensors: list[tuple[Sequence[int], str, NDArray[Any] | None]] = field(default_factory=list)

    def content(self) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)
        buffers = [_buffer(b, None)] + [_buffer(b, values) for _, _, values in self.tensors]
        tensors = [_tensor(b, shape, dtype, place + 1) for place, (shape, dtype, _) in enumerate(self.tensors)]
        codes, operators = [], []
        for place, node in enumerate(self.nodes):
            codes.append(_code(b, node.kind))
            operators.append(_operator(b, node, place))
        inputs, outputs = _ints(b, self.inputs), _ints(b, self.outputs)
        tensors, operators = _offsets(b, tensors), _offsets(b, operators)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, operators)
        graphs = _offsets(b, [tflite.SubGraphEnd(b)])
        codes, buffers = _offsets(b, codes), _offsets(b, buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def _operator(b: Any, node: Node, place: int) -> Any:
    inputs, outputs = _ints(b, node.inputs), _ints(b, node.outputs)
    custom = b.CreateByteVector(node.custom) if node.custom else None
    table = None
    if node.options is not None:
        name, fields = node.options
        getattr(tflite, f"{name}Start")(b)
        for key, value in fields.items():
            getattr(tflite, f"{name}Add{key}")(b, value)
        table = getattr(tflite, f"{name}End")(b)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, place)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    if custom is not None:
        tflite.OperatorAddCustomOptions(b, custom)
    if node.options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, node.options[0]))
        tflite.OperatorAddBuiltinOptions(b, table)
    return tflite.OperatorEnd(b)


def _code(b: Any, kind: str) -> Any:
    known = hasattr(tflite.BuiltinOperator, kind)
    name = None if known else b.CreateString(kind)
    number = getattr(tflite.BuiltinOperator, kind if known else "CUSTOM")
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, number)
    tflite.OperatorCodeAddBuiltinCode(b, number)
    if name is not None:
        tflite.OperatorCodeAddCustomCode(b, name)
    return tflite.OperatorCodeEnd(b)


def _tensor(b: Any, shape: Sequence[int], dtype: str, buffer: int) -> Any:
    lengths, name = _ints(b, shape), b.CreateString(f"tensor_{buffer}")
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, lengths)
    tflite.TensorAddType(b, TYPES[dtype])
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, name)
    return tflite.TensorEnd(b)


def _buffer(b: Any, values: NDArray[Any] | None) -> Any:
    data = None if values is None else b.CreateByteVector(values.tobytes())
    tflite.BufferStart(b)
    if data is not None:
        tflite.BufferAddData(b, data)
    return tflite.BufferEnd(b)


def _ints(b: Any, values: Sequence[int]) -> Any:
    return b.CreateNumpyVector(np.array(values, np.int32))


def _offsets(b: Any, offsets: Sequence[Any]) -> Any:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
