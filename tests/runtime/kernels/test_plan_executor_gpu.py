"""The convolution kernel and whole launch plans on a GPU, against PyTorch in FP64 and ONNX Runtime on the CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hidenerf.export.lowering.lower import lower_refiner
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.convolution_tiles import LayerShape, estimated_cycles, tiles_for
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.plan_executor import PlanExecutor
from hidenerf.runtime.launch_plan import Convolution
from hidenerf.runtime.manifest import TensorSpec
from tests.support.exported import run_onnx, whole
from tests.support.kernels.convolution_cases import CASES, prepare, results
from tests.support.plan_inputs import random_inputs
from tests.support.plan_reference import PlanReference

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> Iterator[Device]:
    try:
        opened = Device()
    except HideNerfError as error:
        pytest.skip(f"{error}")
    yield opened
    opened.close()


def executor_of(device: Device, prepared: Any, **options: Any) -> PlanExecutor:
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in prepared.inputs.items()}
    addresses = {name: device.allocate_copy(array) for name, array in prepared.inputs.items()}
    return PlanExecutor(device, prepared.plan, prepared.weights, specs, addresses, **options)


def read(device: Device, executor: PlanExecutor, prepared: Any, name: str) -> np.ndarray:
    sizes = prepared.plan.maps[name]
    found = np.empty((sizes.height, sizes.width, sizes.padded), np.float16)
    device.download(found, executor.maps[name])
    device.synchronize()
    return found


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", CASES)
def test_layers_agree_with_fp64(device: Device, name: str, number: int) -> None:
    """With the chosen tile and the next ones, three times each with the same bits."""
    prepared = prepare(CASES[name], seed=number)
    step = prepared.plan.steps[-1]
    assert isinstance(step, Convolution)
    shape = LayerShape.of(step, prepared.plan)
    tiles = sorted(tiles_for(shape, device.sm), key=lambda one: estimated_cycles(one, shape, device.sm, 132))
    expected = PlanReference(prepared.plan, prepared.weights, prepared.inputs).maps
    executor = executor_of(device, prepared, tile=lambda _: tiles[7 * number])
    runs = []
    for _ in range(3):
        executor.enqueue(device.stream)
        runs.append([read(device, executor, prepared, result) for result in results(CASES[name])])
    assert len({b"".join(one.tobytes() for one in run) for run in runs}) == 1
    for result, found in zip(results(CASES[name]), runs[0], strict=True):
        right = expected[result].permute(1, 2, 0).numpy()
        assert np.abs(found[..., : right.shape[-1]] - right).max() < 2e-3 * max(1.0, np.abs(right).max())
        assert not found[..., right.shape[-1] :].any()


@pytest.mark.parametrize("graph", ["refiner", "aligned refiner"])
def test_a_tiny_refiner_s_frame_is_onnx_runtime_s(device: Device, graph: str) -> None:
    model = whole(graph, "fp16")
    lowered, inputs = lower_refiner(model), random_inputs(model)
    expected = run_onnx(model, inputs)
    tensors = inputs | expected
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in tensors.items()}
    addresses = {name: device.allocate_copy(array) for name, array in inputs.items()}
    addresses |= {name: device.allocate(array.nbytes) for name, array in expected.items()}
    executor = PlanExecutor(device, lowered.plan, lowered.weights, specs, addresses)
    executor.enqueue(device.stream)
    captured = device.capture(lambda: executor.enqueue(device.stream))
    frames = []
    for _ in range(2):
        found = {name: np.empty_like(array) for name, array in expected.items()}
        for name, array in found.items():
            device.download(array, addresses[name])
            device.clear(addresses[name], array.nbytes)
        device.launch(captured)
        device.synchronize()
        frames.append(found)
    for found in frames:
        assert np.abs(found["frame"].astype(int) - expected["frame"]).max() <= 1
        assert np.abs(found["alpha"] - expected["alpha"]).max() < 4e-3
