"""Refiners and LED as launch plans: a plan computes what its graph computes; graphs that no rule takes are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import helper

from hidenerf.export.bundle_writer import export_graph
from hidenerf.export.graph_modules import graph_modules, refiner_module
from hidenerf.export.lowering.lower import Lowered, lower_led, lower_refiner
from hidenerf.export.lowering.onnx_view import LoweringError
from hidenerf.export.precision import FloatPrecision
from hidenerf.model.config import PRESETS
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.launch_plan import (
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    RaySamples,
    TanhPlanes,
)
from tests.support.exported import run_onnx, whole
from tests.support.plan_inputs import random_inputs
from tests.support.plan_reference import PlanReference
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


def require_same_deformation(model: onnx.ModelProto, lowered: Lowered) -> None:
    """The same as `require_same` for LED, within the rounding of its layers."""
    inputs = random_inputs(model)
    expected = run_onnx(model, inputs)["deformation"]
    found = PlanReference(lowered.plan, lowered.weights, inputs).outputs["deformation"].numpy()
    assert expected.std() > 1e-3
    assert np.abs(found - expected[0]).max() < 5e-3 * np.abs(expected).max()


def test_a_tiny_led_s_plan_computes_its_graph() -> None:
    model = whole("led", "fp16")
    require_same_deformation(model, lower_led(model))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["base", "demo"])
def test_a_preset_s_led_s_plan_computes_its_graph(preset: str) -> None:
    led = next(graph for graph in graph_modules(random_model(PRESETS[preset], 0)) if graph.name == "led")
    model, _ = export_graph(led, FloatPrecision.FP16)
    lowered = lower_led(model)
    require_same_deformation(model, lowered)
    kinds = [type(step) for step in lowered.plan.steps]
    assert (kinds.count(ChannelsLast), kinds.count(Convolution)) == (2, 20)
    assert (kinds.count(RaySamples), kinds.count(BilinearDoubling)) == (1, 3)


def test_what_led_s_decoder_reads_lies_side_by_side() -> None:
    """Embedding, position and looked-up features, of 6, 6 and 8 channels."""
    plan = lower_led(whole("led", "fp16")).plan
    (samples,) = (step for step in plan.steps if isinstance(step, RaySamples))
    parts = sorted((one.first, one.channels) for one in plan.maps.values() if one.within is not None)
    assert parts == [(0, 6), (8, 6), (16, 8)]
    joined = plan.maps[samples.looked_up].within
    assert joined is not None
    assert plan.maps[joined].channels == 24
    (reader,) = (s for s in plan.steps if isinstance(s, Convolution) and s.inputs[0].map == joined)
    assert (reader.kernel, reader.second_kernel) == (3, 0)
    # The embedding is read alone as well, by the layer whose result is looked up.
    embedding = next(name for name, one in plan.maps.items() if one.within == joined and one.first == 0)
    assert [s.output for s in plan.steps if isinstance(s, Convolution) and s.inputs[0].map == embedding] == [
        samples.features
    ]


def test_the_deformation_is_a_result_of_led_s_head() -> None:
    last = lower_led(whole("led", "fp16")).plan.steps[-1]
    assert isinstance(last, Convolution)
    assert (last.output, last.channels, last.leak) == (None, 18, 1.0)
    assert last.planes == TanhPlanes("deformation", float(np.float32(0.3)))


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
    with pytest.raises(LoweringError, match="is made by a Conv and not by a Cast"):
        lower_led(whole("led", "fp32"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_attribute("Resize", "coordinate_transformation_mode", "align_corners"), "it enlarges by linear, align_"),
        (set_attribute("Concat", "axis", 2), "it joins along axis 2"),
        (set_attribute("RaySamples", "samples", 300), "a pixel has 1304 numbers, and a block has room for 766"),
        (replace_kind("Tanh", "Sigmoid"), "is made by a Sigmoid and not by a Tanh"),
    ],
)
def test_a_led_that_no_rule_takes_is_refused(change: Callable[[onnx.GraphProto], None], reason: str) -> None:
    with pytest.raises(LoweringError, match=reason):
        lower_led(changed(change, "led"))


def test_an_activation_of_a_value_with_other_readers_is_refused() -> None:
    """It would change what these read."""

    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "LeakyRelu")
        follower = next(other for other in graph.node if node.output[0] in other.input)
        follower.input[0] = node.input[0]

    with pytest.raises(LoweringError, match="has 2 readers"):
        lower_refiner(changed(change))
