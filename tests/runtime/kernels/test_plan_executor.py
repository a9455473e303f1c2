"""Launch plans on emulated kernels against ONNX Runtime and FP64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hidenerf.export.lowering.lower import lower_led, lower_refiner
from hidenerf.export.lowering.weights import pack_bias, pack_convolution
from hidenerf.runtime.launch_plan import (
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    PlanMap,
    TanhPlanes,
)
from tests.support.exported import run_onnx, whole
from tests.support.kernels.convolution_cases import prepare_concatenation
from tests.support.kernels.plan_kernels import run_plan, use_emulated_plans
from tests.support.plan_inputs import random_inputs
from tests.support.plan_reference import PlanReference

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


@pytest.mark.usefixtures("emulated")
def test_a_tiny_led_s_deformation_is_onnx_runtime_s() -> None:
    """Within what its layers round; the source's part is made once, before."""
    model = whole("led", "fp16")
    lowered, inputs = lower_led(model), random_inputs(model)
    expected = run_onnx(model, inputs)["deformation"]
    right = PlanReference(lowered.plan, lowered.weights, inputs).outputs["deformation"].numpy()
    outputs: Any = {"deformation": (expected.shape, np.float32)}
    found, _ = run_plan(lowered.plan, lowered.weights, inputs, outputs, of_source=["led_canonical"])
    assert expected.std() > 1e-3
    for one in (expected[0], right):
        assert np.abs(found["deformation"][0] - one).max() < 5e-3 * np.abs(right).max()


@pytest.mark.usefixtures("emulated")
def test_maps_side_by_side_a_doubling_and_planes_agree_with_fp64() -> None:
    prepared = prepare_concatenation()
    reference = PlanReference(prepared.plan, prepared.weights, prepared.inputs)
    outputs: Any = {"planes": ((1, 21, 14, 18), np.float32)}
    found, read = run_plan(prepared.plan, prepared.weights, prepared.inputs, outputs)
    right = reference.outputs["planes"].numpy()
    assert right.std() > 0.1
    assert np.abs(found["planes"][0] - right).max() < 1e-3
    doubled = reference.maps["doubled"].permute(1, 2, 0).numpy()
    assert np.abs(read("doubled")[..., :20] - doubled).max() < 2e-3 * np.abs(doubled).max()


@pytest.mark.usefixtures("emulated")
def test_a_large_deformation_is_its_maximum() -> None:
    """Also where e^2x has no FP32 number; what is not finite stays so."""
    maps = {"input": PlanMap(1, 1, 5)}
    weights = {"layer": pack_convolution([np.ones((1, 1, 1, 1), np.float16)]), "layer.bias": pack_bias(np.zeros(1))}
    layer = Convolution("layer", (MapRead("input"),), 1, 1, 0, "layer", 1, 1, 5, planes=TanhPlanes("planes", 0.25))
    values = np.array([-60000, -1, 0, 60000, np.nan], np.float16)
    plan = LaunchPlan("test", maps, (plan_input("input", 1), layer))
    outputs: Any = {"planes": ((1, 1, 1, 5), np.float32)}
    found, _ = run_plan(plan, weights, {"input": values.reshape(1, 1, 1, 5)}, outputs)
    np.testing.assert_allclose(found["planes"].reshape(-1), 0.25 * np.tanh(values.astype(float)), atol=1e-6)


def plan_input(name: str, channels: int) -> Any:
    from hidenerf.runtime.launch_plan import ChannelsLast, Planes

    return ChannelsLast((Planes(name, 0, channels),), name)
