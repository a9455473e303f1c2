"""TensorFlow Lite graphs as ONNX: each operator against PyTorch in FP64, channels last to channels first."""

import struct

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hidenerf.assets.tflite_graph import OPERATORS, tflite_to_onnx
from hidenerf.runtime.errors import HideNerfError

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")
pytest.importorskip("tflite", reason="tflite is not installed (extra [dev])")

from tests.support.tflite_files import File, Node  # noqa: E402  # it imports tflite

Floats = NDArray[np.float64]
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3
random = np.random.default_rng(0)


def drawn(*shape: int, dtype: str = "float32") -> NDArray[np.floating]:
    return (2 * random.standard_normal(shape)).astype(dtype)


def run(file: File, *inputs: NDArray[np.floating]) -> NDArray[np.float32]:
    """The ONNX network's output, channels last again."""
    model = tflite_to_onnx(file.content(), "test", {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    fed = {f"input_{place}": one.transpose(0, 3, 1, 2) for place, one in enumerate(inputs)}
    (found,) = session.run(None, fed)
    return np.asarray(found.transpose(0, 2, 3, 1))


def first(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float64)).permute(0, 3, 1, 2)


def last(values: torch.Tensor) -> Floats:
    return np.asarray(values.permute(0, 2, 3, 1).numpy())


def close(found: NDArray[np.float32], expected: Floats) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)


def convolution(padding: int, stride: int, activation: int) -> tuple[str, dict[str, int]]:
    fields = {"Padding": padding, "StrideH": stride, "StrideW": stride, "FusedActivationFunction": activation}
    return "Conv2DOptions", fields | {"DilationHFactor": 1, "DilationWFactor": 1}


def test_a_convolution_with_weights_in_fp16() -> None:
    x, kernel, bias = drawn(1, 7, 8, 3), drawn(5, 3, 3, 3, dtype="float16"), drawn(5, dtype="float16")
    nodes = [
        Node("DEQUANTIZE", [1], [3]),
        Node("DEQUANTIZE", [2], [4]),
        Node("CONV_2D", [0, 3, 4], [5], convolution(SAME, 2, RELU6)),
    ]
    tensors = [
        (x.shape, "float32", None),
        (kernel.shape, "float16", kernel),
        (bias.shape, "float16", bias),
        (kernel.shape, "float32", None),
        (bias.shape, "float32", None),
        ((1, 4, 4, 5), "float32", None),
    ]
    # TensorFlow's SAME at stride 2: 7 rows need one above and one below, 8 columns only one at the right.
    padded = F.pad(first(x), (0, 1, 1, 1))
    expected = F.conv2d(padded, first(kernel), torch.from_numpy(bias.astype(np.float64)), 2)
    close(run(File([0], [5], nodes, tensors), x), last(expected.clamp(0, 6)))


def test_the_weights_stay_in_fp16() -> None:
    kernel = drawn(64, 3, 3, 16, dtype="float16")
    nodes = [Node("DEQUANTIZE", [1], [2]), Node("CONV_2D", [0, 2], [3], convolution(VALID, 1, 0))]
    tensors = [
        ((1, 5, 5, 16), "float32", None),
        (kernel.shape, "float16", kernel),
        (kernel.shape, "float32", None),
        ((1, 3, 3, 64), "float32", None),
    ]
    model = tflite_to_onnx(File([0], [3], nodes, tensors).content(), "test", {"mean": "0"})
    assert len(model.SerializeToString()) < kernel.nbytes + 2000
    assert {one.key: one.value for one in model.metadata_props} == {"mean": "0"}


def test_a_depthwise_convolution() -> None:
    x, kernel, bias = drawn(1, 6, 6, 4), drawn(1, 3, 3, 4), drawn(4)
    _, fields = convolution(VALID, 1, RELU)
    nodes = [Node("DEPTHWISE_CONV_2D", [0, 1, 2], [3], ("DepthwiseConv2DOptions", fields | {"DepthMultiplier": 1}))]
    tensors = [
        (x.shape, "float32", None),
        (kernel.shape, "float32", kernel),
        (bias.shape, "float32", bias),
        ((1, 4, 4, 4), "float32", None),
    ]
    weight = torch.from_numpy(kernel.astype(np.float64)).permute(3, 0, 1, 2)
    expected = F.conv2d(first(x), weight, torch.from_numpy(bias.astype(np.float64)), groups=4).relu()
    close(run(File([0], [3], nodes, tensors), x), last(expected))


def test_averages_leave_out_what_is_beyond_the_border() -> None:
    x = drawn(1, 5, 5, 2)
    fields = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 3}
    nodes = [Node("AVERAGE_POOL_2D", [0], [1], ("Pool2DOptions", fields))]
    expected = F.avg_pool2d(first(x), 3, 2, 1, count_include_pad=False)
    close(run(File([0], [1], nodes, [(x.shape, "float32", None), ((1, 3, 3, 2), "float32", None)]), x), last(expected))


@pytest.mark.parametrize("half_pixel", [True, False])
def test_bilinear_resizing(half_pixel: bool) -> None:
    x = drawn(1, 3, 4, 2)
    nodes = [Node("RESIZE_BILINEAR", [0, 1], [2], ("ResizeBilinearOptions", {"HalfPixelCenters": half_pixel}))]
    tensors = [
        (x.shape, "float32", None),
        ((2,), "int32", np.array([6, 8], np.int32)),
        ((1, 6, 8, 2), "float32", None),
    ]
    expected = last(F.interpolate(first(x), (6, 8), mode="bilinear"))
    if not half_pixel:
        # Output pixel i looks at i / 2.
        at = [np.minimum(np.arange(2 * length) / 2, length - 1) for length in x.shape[1:3]]
        low = [one.astype(int) for one in at]
        high = [np.minimum(one + 1, length - 1) for one, length in zip(low, x.shape[1:3], strict=True)]
        share = (at[0] - low[0])[None, :, None, None], (at[1] - low[1])[None, None, :, None]
        rows = x[:, low[0]] * (1 - share[0]) + x[:, high[0]] * share[0]
        expected = rows[:, :, low[1]] * (1 - share[1]) + rows[:, :, high[1]] * share[1]
    close(run(File([0], [2], nodes, tensors), x), expected)


def test_mediapipes_transposed_convolution_with_bias() -> None:
    x, kernel, bias = drawn(1, 3, 4, 5), drawn(2, 2, 2, 5), drawn(2)
    nodes = [Node("Convolution2DTransposeBias", [0, 1, 2], [3], custom=struct.pack("<3i", 1, 2, 2))]
    tensors = [
        (x.shape, "float32", None),
        (kernel.shape, "float32", kernel),
        (bias.shape, "float32", bias),
        ((1, 6, 8, 2), "float32", None),
    ]
    # Blocks of 2 × 2 pixels that do not overlap.
    blocks = np.einsum("nhwi,oyxi->nhywxo", x.astype(np.float64), kernel.astype(np.float64))
    close(run(File([0], [3], nodes, tensors), x), blocks.reshape(1, 6, 8, 2) + bias)


def test_elementwise_operators() -> None:
    x, weight = drawn(1, 3, 3, 4), drawn(1, 1, 1, 4)
    nodes = [
        Node("RELU", [0], [2]),
        Node("HARD_SWISH", [0], [3]),
        Node("ADD", [2, 3], [4], ("AddOptions", {})),
        Node("MUL", [4, 1], [5], ("MulOptions", {})),
        Node("LOGISTIC", [5], [6]),
    ]
    tensors = [(x.shape, "float32", None), (weight.shape, "float32", weight)] + 5 * [(x.shape, "float32", None)]
    wide = x.astype(np.float64)
    both = np.maximum(wide, 0) + wide * np.clip(wide + 3, 0, 6) / 6
    close(run(File([0], [6], nodes, tensors), x), 1 / (1 + np.exp(-both * weight)))


def test_an_unknown_operator_is_named() -> None:
    picture = ((1, 2, 2, 3), "float32", None)
    assert "TANH" not in OPERATORS
    for kind in ("TANH", "Landmarks2TransformMatrix"):
        content = File([0], [1], [Node(kind, [0], [1])], [picture, picture]).content()
        with pytest.raises(HideNerfError, match=f"the operator {kind} of TensorFlow Lite is not known here; add it to"):
            tflite_to_onnx(content, "test", {})


def test_quantised_networks_are_refused() -> None:
    kernel = np.ones((1, 1, 1, 3), np.int8)
    nodes = [Node("CONV_2D", [0, 1], [2], convolution(VALID, 1, 0))]
    tensors = [((1, 2, 2, 3), "float32", None), (kernel.shape, "int8", kernel), ((1, 2, 2, 1), "float32", None)]
    with pytest.raises(HideNerfError, match="tensor_2 has the type 9 of the schema where a constant in FP32 or FP16"):
        tflite_to_onnx(File([0], [2], nodes, tensors).content(), "test", {})


def test_other_files_are_refused() -> None:
    with pytest.raises(HideNerfError, match="no TensorFlow Lite file"):
        tflite_to_onnx(b"PK\3\4 something else", "test", {})
    with pytest.raises(HideNerfError, match="damaged"):
        tflite_to_onnx(b"\xff\xff\xff\x7fTFL3" + bytes(4), "test", {})
