"""dlib's recogniser from a package: 8-bit weights, and the network against PyTorch in FP64."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.assets.recognition_network import BLOCKS, main

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")

Floats = NDArray[np.float64]
NAME = "face_recognition_model"


def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all weights, by name."""
    convolutions = {"conv32_down": (7, 3, 32)}
    inputs = 32
    for block in BLOCKS:
        outputs = int(block.removeprefix("conv").split("_")[0])
        convolutions |= {f"{block}/conv1": (3, inputs, outputs), f"{block}/conv2": (3, outputs, outputs)}
        inputs = outputs
    found: dict[str, tuple[int, ...]] = {}
    for name, (side, before, after) in convolutions.items():
        found[f"{name}/conv/filters"] = (side, side, before, after)
        found |= {f"{name}/{part}": (after,) for part in ("conv/bias", "scale/weights", "scale/biases")}
    return found | {"fc": (256, 128)}


def write_package(folder: Path, without: str = "") -> dict[str, Floats]:
    """A package with random weights in 8 bits; returns them, by name."""
    random = np.random.default_rng(0)
    entries, content, weights = [], b"", {}
    for name, shape in shapes().items():
        if name == without:
            continue
        steps = random.integers(0, 256, shape, np.uint8)
        # Layers keep the size of what they get, so that no ReLU sees one sign alone.
        reach = 1 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.3
        scale, least = 2 * reach / 255, -reach + (1.0 if name.endswith("scale/weights") else 0.0)
        quantization = {"dtype": "uint8", "scale": scale, "min": least}
        entries.append({"name": name, "shape": shape, "dtype": "float32", "quantization": quantization})
        content += steps.tobytes()
        weights[name] = steps * scale + least
    folder.mkdir()
    manifest = [{"paths": [f"{NAME}.bin"], "weights": entries}]
    (folder / f"{NAME}-weights_manifest.json").write_text(json.dumps(manifest))
    (folder / f"{NAME}.bin").write_bytes(content)
    return weights


def expected_features(weights: dict[str, Floats], picture: Tensor) -> Tensor:
    """dlib's network in FP64, layer by layer; picture [B, 3, 150, 150]."""

    def convolution(x: Tensor, name: str, stride: int) -> Tensor:
        tensors = {part: torch.from_numpy(weights[f"{name}/{part}"]) for part in ("conv/filters", "conv/bias")}
        gain, shift = (
            torch.from_numpy(weights[f"{name}/scale/{part}"])[:, None, None] for part in ("weights", "biases")
        )
        x = F.conv2d(x, tensors["conv/filters"].permute(3, 2, 0, 1), tensors["conv/bias"], stride, int(stride == 1))
        return x * gain + shift

    x = F.max_pool2d(F.relu(convolution(picture, "conv32_down", 2)), 3, 2)
    for block in BLOCKS:
        down = "down" in block
        inner = convolution(F.relu(convolution(x, f"{block}/conv1", 1 + down)), f"{block}/conv2", 1)
        if down:
            x = F.avg_pool2d(x, 2)
            both = [max(one, other) for one, other in zip(x.shape[1:], inner.shape[1:], strict=True)]
            x, inner = (
                F.pad(one, (0, both[2] - one.shape[3], 0, both[1] - one.shape[2], 0, both[0] - one.shape[1]))
                for one in (x, inner)
            )
        x = F.relu(x + inner)
    return x.mean((2, 3)) @ torch.from_numpy(weights["fc"])


def test_the_network_is_dlibs(tmp_path: Path) -> None:
    weights = write_package(tmp_path / "package")
    out = tmp_path / "recognition.onnx"
    result = CliRunner().invoke(main, [str(tmp_path / "package"), "-o", str(out)])
    assert result.exit_code == 0, result.output
    picture = torch.randn(2, 3, 150, 150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = expected_features(weights, picture).numpy()
    assert np.abs(expected).max() > 0.01
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"picture": picture.numpy().astype(np.float32)})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_packages_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    write_package(tmp_path / "package", without="conv128_1/conv2/scale/weights")
    out = tmp_path / "recognition.onnx"
    for place, sentence in (
        (tmp_path / "package", "the weight conv128_1/conv2/scale/weights is missing or misshapen; give @vladmandic/"),
        (tmp_path, "holds 0 files face_recognition_model-weights_manifest.json, not one"),
        (tmp_path / "none.tgz", "cannot be read"),
    ):
        for child in tmp_path.glob("package/*") if place == tmp_path else ():
            child.unlink()
        result = CliRunner().invoke(main, [str(place), "-o", str(out)])
        assert result.exit_code == 2
        assert sentence in result.output
        assert not out.exists()
