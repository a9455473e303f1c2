"""A matting network that tests can foresee: what is red is a person."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

METADATA = {"mean": "0", "scale": "255"}


def red_network(
    size: int | str,
    metadata: Mapping[str, str] = METADATA,
    *,
    gain: float = 1.0,
    shape: Sequence[int | str] | None = None,
    outputs: int = 1,
) -> onnx.ModelProto:
    """A network whose opacity is the red that it sees, times a gain.

    size: side of its picture, or a name for any. shape: of the input, in place of [1, 3, size, size].
    outputs: channels of the output.
    """
    kernel = np.zeros((outputs, 3, 1, 1), np.float32)
    kernel[:, 0] = gain
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape or [1, 3, size, size])
    opacity = helper.make_tensor_value_info("opacity", TensorProto.FLOAT, [1, outputs, None, None])
    node = helper.make_node("Conv", ["picture", "kernel"], ["opacity"])
    graph = helper.make_graph([node], "red", [picture], [opacity], [numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    return model


def write_red_network(path: Path, size: int | str = 64) -> Path:
    """A file of `red_network`."""
    onnx.save(red_network(size), path)
    return path
