"""The exported files: clean, self-contained, repeatable, and equal to PyTorch in ONNX Runtime."""

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import NodeProto, TensorProto
from torch import Tensor, nn

from hidenerf.export.graph_modules import graph_modules
from hidenerf.export.onnx_export import export_module
from tests.support.exported import (
    ALL_NAMES,
    NAMES,
    PRECISIONS,
    export_plain,
    graph_of,
    plain,
    run_onnx,
    values_of,
    whole,
)
from tests.support.tiny import TINY, tiny_model

every_file = pytest.mark.parametrize(("name", "precision"), [(n, p) for p in PRECISIONS for n in ALL_NAMES])

# They export the models by PyTorch.
pytestmark = pytest.mark.slow


def nodes_of(model: onnx.ModelProto) -> list[NodeProto]:
    return [*model.graph.node, *(node for function in model.functions for node in function.node)]


def computed_from_constants(nodes: Iterable[NodeProto], constants: set[str]) -> list[str]:
    """Nodes that would compute the same in every run."""
    constants = set(constants)
    found = []
    for node in nodes:
        if node.op_type == "Constant":
            constants.update(node.output)
        elif all(name in constants or not name for name in node.input):
            found.append(f"{node.name} ({node.op_type})")
    return found


@every_file
def test_versions_and_checker(name: str, precision: str) -> None:
    model = whole(name, precision)
    assert model.ir_version == 10
    versions = {entry.domain: entry.version for entry in model.opset_import}
    assert versions == {"": 20, "hidenerf": 1}
    assert all(entry.version == 20 for function in model.functions for entry in function.opset_import)
    onnx.checker.check_model(model, full_check=True)


@every_file
def test_nothing_tells_of_the_machine_that_made_it(name: str, precision: str) -> None:
    model = whole(name, precision)
    content = model.SerializeToString()
    for trace in (b".py", b"/work", b"/home", b"/root", b"site-packages", b"stack_trace", b"hidenerf.model"):
        assert trace not in content, trace
    assert not model.doc_string
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in nodes_of(model))


@every_file
def test_weights_are_inside_the_file_and_all_of_them_are_used(name: str, precision: str) -> None:
    model = whole(name, precision)
    assert not any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer)
    used = {value for node in model.graph.node for value in node.input}
    assert [t.name for t in model.graph.initializer if t.name not in used] == []
    read = used | {value.name for value in model.graph.output}
    idle = [node.name for node in model.graph.node if not read.intersection(node.output)]
    assert idle == []


@every_file
def test_no_node_is_computed_from_constants_only(name: str, precision: str) -> None:
    model = whole(name, precision)
    assert computed_from_constants(model.graph.node, {t.name for t in model.graph.initializer}) == []
    for function in model.functions:
        assert computed_from_constants(function.node, set()) == []


@every_file
def test_tensors_have_the_graphs_names_and_static_shapes(name: str, precision: str) -> None:
    model, graph = whole(name, precision), graph_of(name)
    assert [value.name for value in model.graph.input] == list(graph.inputs)
    assert [value.name for value in model.graph.output] == list(graph.outputs)
    for value in [*model.graph.input, *model.graph.output]:
        shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        assert shape == list(values_of(name)[value.name].shape), value.name


@pytest.mark.parametrize("name", ALL_NAMES)
def test_onnx_runtime_agrees_with_pytorch(name: str) -> None:
    """On random inputs and other cameras than the export's examples, so nothing of those was baked in."""
    values = {key: value.numpy() for key, value in values_of(name).items()}
    for output, found in run_onnx(whole(name, "fp32"), values).items():
        assert found.dtype == values[output].dtype
        if output == "frame":
            assert np.abs(found.astype(int) - values[output].astype(int)).max() <= 1
        else:
            np.testing.assert_allclose(found, values[output], atol=2e-5 * max(1.0, np.abs(values[output]).max()))


def test_exporting_again_gives_the_same_bytes() -> None:
    for name in ("led", "renderer_refiner"):
        graph = {graph.name: graph for graph in graph_modules(tiny_model())}[name]
        assert export_plain(graph) == plain(name).SerializeToString(), name


def test_no_convolution_of_the_source_runs_per_frame() -> None:
    """LED: driving half, encoder 3, lookup, position 2, U-Net 5 + 1 up, head. Refiner: encoder 3, blocks, head."""
    convolutions = {name: [n for n in plain(name).graph.node if n.op_type == "Conv"] for name in NAMES}
    levels, skips = len(TINY.deformation_channels) - 1, 4
    assert len(convolutions["led"]) == 1 + 3 + 1 + 2 + (1 + 2 * levels + 2 + levels) + 1
    assert (
        skips
        == sum(a != b for a, b in zip((10, *TINY.refiner_channels[:0:-1]), TINY.refiner_channels[::-1], strict=True))
        + 1
    )
    assert len(convolutions["renderer_refiner"]) == 3 + 2 * len(TINY.refiner_channels) + 3 + 1


@pytest.mark.parametrize("name", ALL_NAMES)
def test_batch_norms_are_gone(name: str) -> None:
    assert not any(node.op_type == "BatchNormalization" for node in plain(name).graph.node)


class FromWeightsAlone(nn.Module):
    """Half of what it computes needs no input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(40000, dtype=torch.float32).reshape(200, 200) / 4e4)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight @ self.weight.sin()).tanh()


def test_large_products_of_weights_are_folded() -> None:
    model = ir.to_proto(export_module(FromWeightsAlone(), {"x": torch.ones(1, 200)}, ["y"]))
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    x = np.random.default_rng(0).standard_normal((1, 200))
    weight = (np.arange(40000).reshape(200, 200) / 4e4).astype(np.float32).astype(np.float64)
    expected = x.astype(np.float32) @ np.tanh(weight @ np.sin(weight))
    np.testing.assert_allclose(run_onnx(model, {"x": x})["y"], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_the_module_is_exported_as_in_evaluation() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    x = torch.randn(1, 1, 3, 3)
    model = ir.to_proto(export_module(module, {"x": x}, ["y"]))
    with torch.no_grad():
        expected = module.eval()(x)
    np.testing.assert_allclose(run_onnx(model, {"x": x.numpy()})["y"], expected, atol=1e-6)


def test_producer_carries_no_version() -> None:
    model = plain("led")
    assert (model.producer_name, model.producer_version, model.domain) == ("hidenerf", "", "")
