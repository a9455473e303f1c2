"""Small ONNX graphs, and a bundle around them: only what the builder reads of one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.engines.builder_library import load_builder_library
from hidenerf.export.engines.targets import Targets
from hidenerf.runtime.bundle import GRAPH_NAMES, GraphSpec, TensorSpec
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.tensorrt.library import Library

SHAPE = (1, 3, 8, 8)


def rtx() -> Library:
    """TensorRT-RTX, or skip."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra [tensorrt-rtx])")
    return load_builder_library("tensorrt-rtx")


def targets(*sms: int, lenient: bool = False) -> Targets:
    return Targets(rtx(), sms, lenient)


def graph_of(
    folder: Path,
    nodes: list[NodeProto],
    weights: dict[str, Any] | None = None,
    *,
    shape: tuple[int, ...] = SHAPE,
    output: int = TensorProto.FLOAT,
) -> GraphSpec:
    """A graph from `x`, FP32 of SHAPE, to `y` of `shape`, in the file net.onnx. weights: arrays, or TensorProtos."""
    initializers = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (weights or {}).items()
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", output, shape)],
        initializers,
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    dtype = helper.tensor_dtype_to_np_dtype(output)
    specs = TensorSpec("x", SHAPE, np.dtype(np.float32)), TensorSpec("y", shape, dtype)
    return GraphSpec("net", path, {"x": specs[0]}, {"y": specs[1]})


def kernel() -> Any:
    return np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32)


def convolution(folder: Path) -> GraphSpec:
    return graph_of(folder, [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4)], {"w": kernel()})


def quantised_convolution(folder: Path, kind: int) -> GraphSpec:
    """A convolution of FP32 tensors between QuantizeLinear and DequantizeLinear of `kind`, then a plain one."""

    def through(name: str) -> list[NodeProto]:
        inputs = [f"{name}_q", "scale", "zero"]
        return [
            helper.make_node("QuantizeLinear", [name, *inputs[1:]], [inputs[0]], name=f"{name}_quantize"),
            helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], name=f"{name}_dequantize"),
        ]

    nodes = [
        *through("x"),
        *through("w"),
        helper.make_node("Conv", ["x_dq", "w_dq"], ["h"], name="quantised", pads=[1] * 4),
        helper.make_node("Conv", ["h", "w"], ["y"], name="plain", pads=[1] * 4),
    ]
    zero = helper.make_tensor("zero", kind, [], [0])
    return graph_of(folder, nodes, {"w": kernel(), "scale": np.float32(0.1), "zero": zero})


def bundle_of(graph: GraphSpec, folder: Path) -> Path:
    """An FP16 bundle whose three graphs are all this one: they build in a moment."""
    folder.mkdir()
    (folder / "face_model.npz").write_bytes(b"a face")
    entry = {
        kind: [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype.name} for t in specs.values()]
        for kind, specs in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    manifest = {
        "schema": "hidenerf-bundle",
        "schema_version": 1,
        "model": {"name": "tiny", "image_size": 8, "render_size": 8, "secc_size": 8},
        "checkpoint": {"random_init": 0},
        "precision": {"name": "fp16"},
        "graphs": {name: {"file": f"{name}.onnx", **entry} for name in GRAPH_NAMES},
        "face_model": {"file": "face_model.npz", "name": "none"},
        "files": {"face_model.npz": sha256_of(folder / "face_model.npz")},
        "parity": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name in GRAPH_NAMES:
        replace_graph(folder, name, graph.path)
    return folder


def replace_graph(bundle: Path, name: str, path: Path) -> None:
    """Put another file of the same tensors in place of a graph's, with the manifest to match."""
    shutil.copyfile(path, bundle / f"{name}.onnx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][f"{name}.onnx"] = sha256_of(path)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
