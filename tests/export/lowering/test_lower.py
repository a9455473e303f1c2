"""Refiners as launch plans: the plan computes what the graph computes, and graphs that it cannot take are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import helper

from hidenerf.export.bundle_writer import export_graph
from hidenerf.export.graph_modules import graph_modules, refiner_module
from hidenerf.export.lowering.lower import Lowered, lower_refiner
from hidenerf.export.lowering.onnx_view import LoweringError
from hidenerf.export.precision import FloatPrecision
from hidenerf.model.config import PRESETS
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.launch_plan import ChannelsLast, Convolution, FramePixels
from tests.support.exported import run_onnx, whole
from tests.support.plan_reference import PlanReference
from tests.support.refiner_inputs import random_inputs
from tests.support.tiny import TINY_ENLARGED


def require_same(model: onnx.ModelProto, lowered: Lowered) -> None:
    """ONNX Runtime rounds to FP16 where the graph says so, the reference nowhere."""
    inputs = random_inputs(model)
    expected = run_onnx(model, inputs)
    found = PlanReference(lowered.plan, lowered.weights, inputs).outputs
    assert np.std(expected["frame"].astype(float)) > 5
    difference = 255 * found["frame"].clamp(0, 1).numpy() - expected["frame"]
    assert np.abs(difference).max() < 1.5
    assert np.abs(found["alpha"].clamp(0, 1).numpy() - expected["alpha"]).max() < 4e-3


@pytest.mark.parametrize("graph", ["refiner", "aligned refiner"])
def test_a_tiny_plan_computes_its_graph(graph: str) -> None:
    model = whole(graph, "fp16")
    require_same(model, lower_refiner(model))


@pytest.mark.slow
def test_a_plan_with_an_enlarger_computes_its_graph() -> None:
    modules = graph_modules(random_model(TINY_ENLARGED, 0))
    model, _ = export_graph(refiner_module(modules[-1]), FloatPrecision.FP16)
    lowered = lower_refiner(model)
    require_same(model, lowered)
    last = lowered.plan.steps[-1]
    assert isinstance(last, FramePixels)
    assert last.change is not None
    # The enlarger's first layer reads two maps with one kernel.
    assert [step.second_kernel for step in lowered.plan.steps if isinstance(step, Convolution)].count(3) == 1


@pytest.mark.slow
def test_demo_s_plan_computes_its_graph() -> None:
    modules = graph_modules(random_model(PRESETS["demo"], 0))
    model, _ = export_graph(refiner_module(modules[-1]), FloatPrecision.FP16)
    require_same(model, lower_refiner(model))


def test_a_layer_takes_in_what_follows_it() -> None:
    plan = lower_refiner(whole("refiner", "fp16")).plan
    convolutions = [step for step in plan.steps if isinstance(step, Convolution)]
    # Stem, two downwards, two in each of four blocks, head. Each 1 × 1 skip is in a block's second.
    assert len(convolutions) == 12
    assert [step.second_kernel for step in convolutions] == [0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    assert sum(step.modulation is not None for step in convolutions) == 8
    assert sum(step.modulation is not None and step.modulation.enlarged for step in convolutions) == 3
    (stem,) = (step for step in plan.steps if isinstance(step, ChannelsLast) and "rendered" in step.output)
    assert [(one.scale, one.offset) for one in stem.planes] == [(2.0, -1.0), (1.0, 0.0)]
    assert isinstance(plan.steps[-1], FramePixels)


def test_constant_norms_are_constants() -> None:
    lowered = lower_refiner(whole("aligned refiner", "fp16"))
    constants = [s.modulation for s in lowered.plan.steps if isinstance(s, Convolution) and s.modulation]
    (constant,) = (one for one in constants if one.constant)
    assert lowered.weights[constant.gamma].dtype == np.float16
    assert lowered.weights[constant.gamma].shape == (8,)


def changed(change: Callable[[onnx.GraphProto], None], graph: str = "refiner") -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(whole(graph, "fp16"))
    change(model.graph)
    return model


def set_attribute(kind: str, name: str, value: Any) -> Callable[[onnx.GraphProto], None]:
    """Change an attribute of the first node of a kind."""

    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == kind)
        for index, one in enumerate(node.attribute):
            if one.name == name:
                del node.attribute[index]
                break
        node.attribute.append(helper.make_attribute(name, value))

    return change


def replace_kind(kind: str, by: str) -> Callable[[onnx.GraphProto], None]:
    """Make the last node of a kind one of another kind, without attributes."""

    def change(graph: onnx.GraphProto) -> None:
        node = [node for node in graph.node if node.op_type == kind][-1]
        node.op_type = by
        del node.attribute[:]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_attribute("Conv", "dilations", [2, 2]), "Conv conv2d is taken by no rule .convolution: it has dilat"),
        (set_attribute("Conv", "pads", [0, 0, 1, 1]), "it has pads"),
        (set_attribute("Resize", "nearest_mode", "ceil"), "it enlarges by nearest, asymmetric, ceil"),
        (set_attribute("Concat", "axis", 2), "it joins along axis 2"),
        (replace_kind("LeakyRelu", "Relu"), "Relu leaky_relu.* is taken by no rule .no rule is for nodes of"),
        (replace_kind("Round", "Floor"), "is made by a Floor and not by a Round"),
    ],
)
def test_a_graph_that_no_rule_takes_is_refused(change: Callable[[onnx.GraphProto], None], reason: str) -> None:
    with pytest.raises(LoweringError, match=reason):
        lower_refiner(changed(change))


def test_an_fp32_graph_is_refused() -> None:
    with pytest.raises(LoweringError):
        lower_refiner(whole("refiner", "fp32"))


def test_an_activation_of_a_value_with_other_readers_is_refused() -> None:
    """It would change what these read."""

    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "LeakyRelu")
        follower = next(other for other in graph.node if node.output[0] in other.input)
        follower.input[0] = node.input[0]

    with pytest.raises(LoweringError, match="has 2 readers"):
        lower_refiner(changed(change))
