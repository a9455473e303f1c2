"""Small ONNX networks whose features can be worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def write_projection(path: Path, side: int, matrix: NDArray[np.floating], batch: int | str = "B") -> Path:
    """A network that multiplies all values [3·side·side] of a picture, channels first, by a matrix [..., D]."""
    return _write(
        path,
        [
            helper.make_node("Reshape", ["picture", "shape"], ["values"]),
            helper.make_node("MatMul", ["values", "matrix"], ["features"]),
        ],
        [batch, 3, side, side],
        [batch, matrix.shape[1]],
        {"shape": np.array([0, 3 * side * side]), "matrix": np.asarray(matrix, np.float32)},
    )


def write_channel_means(path: Path, side: int) -> Path:
    """A network whose three features, shaped [B, 3, 1, 1], are the means of a picture's channels."""
    node = helper.make_node("GlobalAveragePool", ["picture"], ["features"])
    return _write(path, [node], ["B", 3, side, side], ["B", 3, 1, 1], {})


def write_identity(path: Path, shape: list[int | str]) -> Path:
    """A network that gives back what it gets, of this shape."""
    return _write(path, [helper.make_node("Identity", ["picture"], ["features"])], shape, shape, {})


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    output_shape: list[int | str],
    constants: dict[str, NDArray],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
