"""Launch plans on emulated kernels against ONNX Runtime and FP64, and plans that do not fit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hidenerf.export.lowering.lower import lower_refiner
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.plan_executor import check_plan, lifetimes_of
from hidenerf.runtime.launch_plan import Convolution, FramePixels, LaunchPlan, MapRead, PlanMap
from hidenerf.runtime.manifest import TensorSpec
from tests.support.exported import run_onnx, whole
from tests.support.kernels.convolution_cases import CASES, Prepared, prepare
from tests.support.kernels.plan_kernels import run_plan, use_emulated_plans
from tests.support.refiner_inputs import random_inputs

Change = Callable[[Convolution], Convolution]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    use_emulated_plans(monkeypatch, emulated_kernels)


@pytest.mark.parametrize("graph", ["refiner", "aligned refiner"])
@pytest.mark.usefixtures("emulated")
def test_a_tiny_refiner_s_frame_is_onnx_runtime_s(graph: str) -> None:
    model = whole(graph, "fp16")
    lowered, inputs = lower_refiner(model), random_inputs(model)
    expected = run_onnx(model, inputs)
    outputs: dict[str, Any] = {name: (one.shape, one.dtype) for name, one in expected.items()}
    found, _ = run_plan(lowered.plan, lowered.weights, inputs, outputs)
    assert expected["frame"].std() > 5
    assert np.abs(found["frame"].astype(int) - expected["frame"]).max() <= 1
    assert np.abs(found["alpha"] - expected["alpha"]).max() < 4e-3


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize("doublings", [0, 1, 2, 3])
@pytest.mark.usefixtures("emulated")
def test_a_frame_agrees_with_pytorch(doublings: int, change: bool) -> None:
    generator = torch.Generator().manual_seed(doublings)
    small, side = 4, 4 << doublings
    if change and side < 8:
        pytest.skip("an enlarger doubles")
    head_side = side // 2 if change else side

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rendered, alpha = (0.5 + 0.2 * random(1, channels, small, small) for channels in (5, 1))
    own, shown = (torch.rand(1, channels, side, side, generator=generator) for channels in (3, 1))
    head, changes = ((0.3 * random(1, channels, head_side, head_side)).half() for channels in (5, 20))

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

    picture = torch.cat([rendered[:, :3], alpha], 1).double()
    while picture.shape[-1] < head_side:
        picture = doubled(picture)
    expected = torch.cat([picture + head[:, :4].double(), head[:, 4:].double()], 1)
    if change:
        expected = doubled(expected) + F.pixel_shuffle(changes.double(), 2)
    colours = expected[:, :3]
    colours = colours + shown.double() * torch.sigmoid(expected[:, 4:]) * (own.double() - colours)

    plan = LaunchPlan(
        "test",
        {"head": PlanMap(5, head_side, head_side), "change": PlanMap(20, head_side, head_side)},
        (
            *(plan_input(name, channels) for name, channels in (("head", 5), ("change", 20))),
            FramePixels("head", "rendered", "alpha in", "change" if change else None, "own", "shown"),
        ),
    )
    inputs = {"rendered": rendered, "alpha in": alpha, "own": own, "shown": shown, "head": head, "change": changes}
    arrays = {name: one.numpy() for name, one in inputs.items()}
    outputs: Any = {"frame": ((side, side, 3), np.uint8), "alpha": ((side, side), np.float32)}
    found, _ = run_plan(plan, {}, arrays, outputs)
    right = 255 * colours[0].permute(1, 2, 0).clamp(0, 1).numpy()
    assert np.abs(found["frame"] - right).max() < 0.501
    assert np.abs(found["alpha"] - expected[0, 3].clamp(0, 1).numpy()).max() < 1e-6


def plan_input(name: str, channels: int) -> Any:
    from hidenerf.runtime.launch_plan import ChannelsLast, Planes

    return ChannelsLast((Planes(name, 0, channels),), name)


def test_a_map_lives_until_its_last_reader() -> None:
    plan = prepare(CASES["SPADE, enlarged"]).plan
    last = len(plan.steps) - 1
    found = lifetimes_of(plan)
    assert found["layer"] == found["second"] == (last, last)
    assert {found[name][1] for name in ("input 0", "sum 0", "gamma", "beta")} == {last}


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
