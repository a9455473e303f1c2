"""ONNX Runtime on the CPU for graphs in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

Tensors = dict[str, NDArray[Any]]

ERRORS_ONLY = 3


class Session:
    """One graph; inputs are taken by name from a larger set and cast to the types that the graph wants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {
            value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.input
        }
        self._outputs = [value.name for value in model.graph.output]

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> Tensors:
        """All outputs by name."""
        feed = {name: np.ascontiguousarray(tensors[name], dtype) for name, dtype in self._inputs.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def with_values(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of an FP32 model that returns these FP32 tensors, its inputs among them, as `NAME:value`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in names:
        output = f"{name}:value"
        copy.graph.node.append(helper.make_node("Identity", [name], [output], name=f"{output}_identity"))
        copy.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return copy


def with_extremes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of an FP32 model (functions inlined) that returns `NAME:max`, `NAME:min` and `NAME:sum` of these tensors.

    Reduced to scalars in the graph, so that no more than its own peak of memory is needed. ONNX Runtime's maximum and
    minimum overlook a NaN, its sum does not.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in names:
        for op, label in (("ReduceMax", "max"), ("ReduceMin", "min"), ("ReduceSum", "sum")):
            output = f"{name}:{label}"
            copy.graph.node.append(helper.make_node(op, [name], [output], name=f"{output}_reduce", keepdims=0))
            copy.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return copy
