"""Launch plans that do not fit their maps, weights or tensors."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hidenerf.export.lowering.lower import lower_led
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.plan_checks import check_plan
from hidenerf.runtime.launch_plan import (
    Convolution,
    MapRead,
    PlanMap,
    RaySamples,
    TanhPlanes,
)
from hidenerf.runtime.manifest import TensorSpec
from tests.support.exported import whole
from tests.support.kernels.convolution_cases import CASES, Prepared, prepare, prepare_concatenation
from tests.support.plan_inputs import random_inputs

Change = Callable[[Convolution], Convolution]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"second": PlanMap(13, 7, 9, "all", 16)}, "the maps in all do not lie side by side"),
        ({"third": PlanMap(8, 9, 7, "all", 24)}, "the maps in all do not lie side by side"),
        ({"all": PlanMap(40, 7, 9)}, "the maps in all do not fill it"),
        ({"first": PlanMap(6, 7, 9)}, "the maps in all do not lie side by side"),
        ({"doubled": PlanMap(20, 14, 9)}, "doubled has another size"),
        ({"input": PlanMap(5, 7, 9, "all", 32), "all": PlanMap(40, 7, 9)}, "a change of layout into a concatenation"),
    ],
)
def test_maps_that_do_not_fit_a_concatenation_are_refused(change: dict[str, PlanMap], reason: str) -> None:
    prepared = prepare_concatenation()
    specs = specs_of(prepared) | {"planes": TensorSpec("planes", (1, 21, 14, 18), np.dtype(np.float32))}
    check_plan(prepared.plan, prepared.weights, specs)
    plan = dataclasses.replace(prepared.plan, maps={**prepared.plan.maps, **change})
    with pytest.raises(HideNerfError, match=reason):
        check_plan(plan, prepared.weights, specs)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (RaySamples, {"samples": 7}, "RaySamples: another number of samples"),
        (RaySamples, {"samples": 9}, "getitem's size"),
        (RaySamples, {"samples": 300}, "RaySamples: too many samples"),
        (RaySamples, {"camera": "secc_driving"}, "secc_driving is no camera"),
        (Convolution, {"leak": 0.1}, "planes beside other results"),
        (Convolution, {"planes": TanhPlanes("camera", 0.3)}, "camera has another type or shape"),
    ],
)
def test_a_led_plan_that_reaches_beyond_its_tensors_is_refused(kind: type, change: dict[str, Any], reason: str) -> None:
    model = whole("led", "fp16")
    lowered = lower_led(model)
    tensors = random_inputs(model) | {"deformation": np.zeros((1, 18, 16, 16), np.float32)}
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in tensors.items()}
    check_plan(lowered.plan, lowered.weights, specs)
    steps = list(lowered.plan.steps)
    index = max(i for i, step in enumerate(steps) if isinstance(step, kind))
    steps[index] = dataclasses.replace(steps[index], **change)
    with pytest.raises(HideNerfError, match=f"The launch plan of led does not fit: .*{reason}"):
        check_plan(dataclasses.replace(lowered.plan, steps=tuple(steps)), lowered.weights, specs)


def specs_of(prepared: Prepared) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, array.shape, array.dtype) for name, array in prepared.inputs.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda step: dataclasses.replace(step, height=step.height + 1), "a result of another size"),
        (lambda step: dataclasses.replace(step, channels=17 + step.channels), "weights of another shape"),
        (lambda step: dataclasses.replace(step, stride=3), "a kernel"),
        (lambda step: dataclasses.replace(step, inputs=(MapRead("unknown"),)), "reads what no step before it writes"),
        (lambda step: dataclasses.replace(step, inputs=(MapRead("input 0", True),)), "a result of another size"),
        (lambda step: dataclasses.replace(step, output="input 0"), "writes a map twice"),
        (lambda step: dataclasses.replace(step, sums=(MapRead("gamma"),)), "gamma has another size"),
        (lambda step: dataclasses.replace(step, weights="nothing"), "'nothing'"),
    ],
)
def test_a_plan_that_reaches_beyond_its_maps_is_refused(change: Change, reason: str) -> None:
    prepared = prepare(CASES["SPADE, enlarged"])
    check_plan(prepared.plan, prepared.weights, specs_of(prepared))
    *before, last = prepared.plan.steps
    assert isinstance(last, Convolution)
    plan = dataclasses.replace(prepared.plan, steps=(*before, change(last)))
    with pytest.raises(HideNerfError, match=f"layer: .*{reason}.*export it again"):
        check_plan(plan, prepared.weights, specs_of(prepared))


def test_an_input_of_another_shape_is_refused() -> None:
    prepared = prepare(CASES["whole tiles"])
    specs = {name: dataclasses.replace(one, shape=(1, 16, 16, 15)) for name, one in specs_of(prepared).items()}
    with pytest.raises(HideNerfError, match="input 0 has another shape"):
        check_plan(prepared.plan, prepared.weights, specs)
