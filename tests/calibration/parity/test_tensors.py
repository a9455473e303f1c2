import copy
import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from polygraphy.comparator import IterationResult

from hidenerf.calibration.parity.metrics import TensorDifference
from hidenerf.calibration.parity.runners import CPU, GraphRunner, TorchRunner, bundle_graphs, torch_graph
from hidenerf.calibration.parity.tensors import (
    GraphComparison,
    TensorCompareFunc,
    TensorRow,
    Tensors,
    worst_rows,
)
from hidenerf.calibration.parity.thresholds import Thresholds, thresholds_for
from hidenerf.export.graph_modules import GraphModule, graph_modules
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.errors import HideNerfError

FP32, FP16 = thresholds_for("fp32"), thresholds_for("fp16")


@pytest.fixture(scope="module")
def graphs(model: HideNerf) -> dict[str, GraphModule]:
    return {graph.name: graph for graph in graph_modules(model)}


def led_inputs(graphs: dict[str, GraphModule]) -> Tensors:
    generator = torch.Generator().manual_seed(1)
    inputs = dict(graphs["led"].inputs)
    inputs["secc_driving"] = torch.rand(inputs["secc_driving"].shape, generator=generator)
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def onnx_led(bundle: Bundle) -> GraphRunner:
    return bundle_graphs(bundle, CPU)["led"]


def test_the_torch_runner_is_the_graph_by_name(graphs: dict[str, GraphModule]) -> None:
    graph = graphs["renderer_refiner"]
    shuffled = OrderedDict((name, graph.inputs[name].numpy()) for name in sorted(graph.inputs))
    with TorchRunner(graph) as runner:
        metadata = runner.get_input_metadata(use_numpy_dtypes=False)
        outputs = runner.infer(shuffled)
        assert runner.last_inference_time() > 0.0
    assert {name: tuple(value.shape) for name, value in metadata.items()} == {
        name: tuple(tensor.shape) for name, tensor in graph.inputs.items()
    }
    for name, expected in graph.run(graph.inputs).items():
        np.testing.assert_array_equal(outputs[name], expected.numpy())
        assert outputs[name].flags.c_contiguous


@pytest.mark.parametrize(("precision", "limits"), [("fp32", FP32), ("fp16", FP16)])
def test_a_bundles_graph_agrees_with_its_original(
    request: pytest.FixtureRequest, graphs: dict[str, GraphModule], precision: str, limits: Thresholds
) -> None:
    bundle = open_bundle(request.getfixturevalue(f"bundle_{precision}"))
    comparison = GraphComparison(torch_graph(graphs["led"]), onnx_led(bundle), limits)
    inputs = led_inputs(graphs)
    reference = comparison.compare({**inputs, "not an input": np.zeros(1)})
    (row,) = comparison.rows
    assert (row.graph, row.tensor, row.passed) == ("led", "deformation", True)
    assert 0.0 < row.difference.relative < (1e-5 if precision == "fp32" else 1e-2)
    expected = graphs["led"].run({name: torch.from_numpy(x) for name, x in inputs.items()})["deformation"]
    np.testing.assert_array_equal(reference["deformation"], expected.numpy())


def test_another_models_graph_does_not_agree(
    bundle_fp32: Path, graphs: dict[str, GraphModule], model: HideNerf
) -> None:
    other = replace(graphs["led"], module=graph_modules(_shifted(model))[1].module)
    comparison = GraphComparison(torch_graph(other), onnx_led(open_bundle(bundle_fp32)), FP32)
    comparison.compare(led_inputs(graphs))
    assert not comparison.rows[0].passed


def _shifted(model: HideNerf) -> HideNerf:
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        assert shifted.deformation.head.bias is not None
        shifted.deformation.head.bias += 0.01
    return shifted


def test_a_graph_with_other_names_is_refused(bundle_fp32: Path, graphs: dict[str, GraphModule], tmp_path: Path) -> None:
    bundle = open_bundle(bundle_fp32)
    spec = bundle.graphs["led"]
    renamed = onnx.load(spec.path)
    renamed.graph.output[0].name = "motion"
    for node in renamed.graph.node:
        node.output[:] = ["motion" if name == "deformation" else name for name in node.output]
    path = tmp_path / "led.onnx"
    onnx.save(renamed, path)
    changed = replace(bundle, graphs={**bundle.graphs, "led": replace(spec, path=path)})
    with pytest.raises(HideNerfError, match=r"outputs.*deformation, motion"):
        GraphComparison(torch_graph(graphs["led"]), onnx_led(changed), FP32)


def test_outputs_are_compared_by_name_whatever_their_order() -> None:
    a, b = np.ones(3, np.float32), np.full(3, 2.0, np.float32)
    func = TensorCompareFunc(FP32)
    results = func(IterationResult({"a": a, "b": b}), IterationResult({"b": b, "a": a}))
    assert all(results.values())
    assert results["a"].difference.max_abs == 0.0
    assert not any(func(IterationResult({"a": a, "b": b}), IterationResult({"b": a, "a": b})).values())


def test_pictures_are_held_to_the_frames_threshold_alone() -> None:
    func = TensorCompareFunc(Thresholds(frame_psnr=60.0, flicker_psnr=60.0, tensor_cosine=0.9999999, tensor_psnr=60.0))
    expected = np.full((4, 4), 100.0)
    off = expected.copy()
    off[0, 0] = 101.0  # 255²·16 = 60.2 dB as uint8, 100²·16 = 52.0 dB as a tensor; 1 - cosine is 3e-6
    assert func.compare(expected.astype(np.uint8), off.astype(np.uint8))
    assert not func.compare(expected, off)
    off[0, 1] = 101.0
    assert not func.compare(expected.astype(np.uint8), off.astype(np.uint8))


def test_the_angle_alone_can_fail_and_nan_always_does() -> None:
    func = TensorCompareFunc(Thresholds(frame_psnr=0.0, flicker_psnr=0.0, tensor_cosine=0.9, tensor_psnr=0.0))
    spike = np.array([100.0, 0.0, 0.0, 0.0])
    assert func.compare(spike, np.array([100.0, 1.0, 0.0, 0.0]))
    assert not func.compare(spike, np.array([10.0, 30.0, 0.0, 0.0]))
    assert not func.compare(spike, np.array([math.nan, 0.0, 0.0, 0.0]))


def test_worst_rows_by_hand() -> None:
    rows = [
        TensorRow("led", "x", TensorDifference(1.0, 0.1, 0.9, 30.0), True),
        TensorRow("led", "y", TensorDifference(0.0, 0.0, 1.0, math.inf), True),
        TensorRow("led", "x", TensorDifference(0.5, 0.2, 0.95, 25.0), False),
    ]
    assert worst_rows(rows) == [
        TensorRow("led", "x", TensorDifference(1.0, 0.2, 0.9, 25.0), False),
        TensorRow("led", "y", TensorDifference(0.0, 0.0, 1.0, math.inf), True),
    ]


@pytest.mark.parametrize("position", [0, 1])
def test_nan_is_worse_than_any_number(position: int) -> None:
    differences = [TensorDifference(1.0, 0.1, 0.9, 30.0)]
    differences.insert(position, TensorDifference(math.nan, math.nan, math.nan, math.nan))
    (row,) = worst_rows([TensorRow("led", "x", d, not math.isnan(d.psnr)) for d in differences])
    assert math.isnan(row.difference.psnr)
    assert not row.passed


def test_polygraphy_stays_silent(
    bundle_fp32: Path, graphs: dict[str, GraphModule], capfd: pytest.CaptureFixture[str]
) -> None:
    sides = torch_graph(graphs["led"]), onnx_led(open_bundle(bundle_fp32))
    GraphComparison(*sides, FP32).compare(led_inputs(graphs))
    assert capfd.readouterr() == ("", "")
