"""The convolution kernel and whole launch plans on a GPU, against PyTorch in FP64 and ONNX Runtime on the CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hidenerf.export.lowering.lower import Lowered, lower_led, lower_refiner
from hidenerf.runtime.kernels.convolution_tiles import LayerShape, estimated_cycles, tiles_for
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.plan_executor import PlanExecutor
from hidenerf.runtime.kernels.ray_sampler import SampleSizes
from hidenerf.runtime.launch_plan import Convolution
from hidenerf.runtime.manifest import TensorSpec
from tests.support.exported import run_onnx, whole
from tests.support.kernels.convolution_cases import CASES, Prepared, prepare, prepare_concatenation, results
from tests.support.kernels.ray_scenes import BASE, DEMO, ODD, expected_samples, ray_scene, rays_plan
from tests.support.plan_inputs import random_inputs
from tests.support.plan_reference import PlanReference

pytestmark = pytest.mark.gpu


def executor_of(device: Device, prepared: Any, **options: Any) -> PlanExecutor:
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in prepared.inputs.items()}
    addresses = {name: device.allocate_copy(array) for name, array in prepared.inputs.items()}
    return PlanExecutor(device, prepared.plan, prepared.weights, specs, addresses, **options)


def read(device: Device, executor: PlanExecutor, prepared: Any, name: str) -> np.ndarray:
    """A map with its unused channels, also one that lies in another."""
    sizes = prepared.plan.maps[name]
    whole, first = (sizes, 0) if sizes.within is None else (prepared.plan.maps[sizes.within], sizes.first)
    found = np.empty((whole.height, whole.width, whole.padded), np.float16)
    device.download(found, executor.maps[sizes.within or name])
    device.synchronize()
    return found[..., first : first + sizes.padded]


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


def test_maps_side_by_side_a_doubling_and_planes_agree_with_fp64(device: Device) -> None:
    prepared = prepare_concatenation()
    right = PlanReference(prepared.plan, prepared.weights, prepared.inputs).outputs["planes"].numpy()
    shapes = {"planes": np.empty((1, *right.shape), np.float32)}
    for found in captured_runs(device, Lowered(prepared.plan, prepared.weights), prepared.inputs, shapes):
        assert np.abs(found["planes"][0] - right).max() < 1e-3


@pytest.mark.parametrize("sizes", [ODD, DEMO, BASE], ids=["odd", "demo", "base"])
def test_what_led_reads_along_its_rays_is_the_model_s(device: Device, sizes: SampleSizes) -> None:
    """Errors as tests/runtime/kernels/test_ray_sampler.py has them, for maps."""
    plan = rays_plan(sizes)
    for seed in range(3):
        camera, features = ray_scene(sizes, seed, fp16=True)
        prepared = Prepared(plan, {}, {"camera": camera.numpy(), "features": features.numpy()})
        executor = executor_of(device, prepared)
        executor.enqueue(device.stream)
        errors = (lambda right: 2e-5 * (1 + right**2)), (lambda _: 1e-5 * sizes.render_size)
        results = zip(("points", "looked_up"), expected_samples(camera, features, sizes), errors, strict=True)
        for name, expected, error in results:
            found, right = read(device, executor, prepared, name), expected.permute(1, 2, 0).numpy()
            rounding = 0.5 * np.spacing(np.abs(right).astype(np.float16)).astype(np.float64)
            assert (np.abs(found[..., : right.shape[-1]] - right) <= error(right) + rounding).all()
            assert not found[..., right.shape[-1] :].any()


def captured_runs(
    device: Device, lowered: Lowered, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of two launches of a plan as a CUDA graph. outputs: arrays of their shapes and types."""
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in (inputs | outputs).items()}
    addresses = {name: device.allocate_copy(array) for name, array in inputs.items()}
    addresses |= {name: device.allocate(array.nbytes) for name, array in outputs.items()}
    executor = PlanExecutor(device, lowered.plan, lowered.weights, specs, addresses)
    executor.enqueue(device.stream)
    captured = device.capture(lambda: executor.enqueue(device.stream))
    for _ in range(2):
        for name, array in outputs.items():
            device.clear(addresses[name], array.nbytes)
        device.launch(captured)
        found = {name: np.empty_like(array) for name, array in outputs.items()}
        for name, array in found.items():
            device.download(array, addresses[name])
        device.synchronize()
        yield found


@pytest.mark.parametrize("graph", ["refiner", "aligned refiner"])
def test_a_tiny_refiner_s_frame_is_onnx_runtime_s(device: Device, graph: str) -> None:
    model = whole(graph, "fp16")
    inputs = random_inputs(model)
    expected = run_onnx(model, inputs)
    for found in captured_runs(device, lower_refiner(model), inputs, expected):
        assert np.abs(found["frame"].astype(int) - expected["frame"]).max() <= 1
        assert np.abs(found["alpha"] - expected["alpha"]).max() < 4e-3


def test_a_tiny_led_s_deformation_is_onnx_runtime_s(device: Device) -> None:
    model = whole("led", "fp16")
    inputs = random_inputs(model)
    expected = run_onnx(model, inputs)
    for found in captured_runs(device, lower_led(model), inputs, expected):
        error = np.abs(found["deformation"] - expected["deformation"]).max()
        assert error < 5e-3 * np.abs(expected["deformation"]).max()
