"""The convolution kernel on the host against PyTorch in FP64, for layers of every kind and tiles of every shape."""

from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.kernels.convolution_tiles import ConvolutionTile, LayerShape
from tests.support.kernels.convolution_cases import CASES, Case, prepare, results
from tests.support.kernels.plan_kernels import run_plan, use_emulated_plans
from tests.support.plan_reference import PlanReference

# Height, width and outputs of a block; channels of a chunk of both inputs; stages; warps.
TILES = {
    "small": (4, 8, 16, 16, 32, 2, 1, 1, 1),
    "two warps along outputs": (8, 8, 32, 32, 16, 2, 2, 2, 1),
    "split sums": (4, 8, 32, 16, 32, 3, 1, 1, 3),
    "wide": (8, 16, 32, 16, 32, 2, 4, 1, 1),
}


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    use_emulated_plans(monkeypatch, emulated_kernels)


def check(case: Case, tile: ConvolutionTile | None) -> None:
    prepared = prepare(case)
    expected = PlanReference(prepared.plan, prepared.weights, prepared.inputs).maps
    options = {} if tile is None else {"tile": lambda _: tile}
    _, read = run_plan(prepared.plan, prepared.weights, prepared.inputs, {}, **options)
    for name in results(case):
        found, right = read(name), expected[name].permute(1, 2, 0).numpy()
        channels = prepared.plan.maps[name].channels
        assert np.abs(found[..., :channels] - right).max() < 2e-3 * max(1.0, np.abs(right).max())
        # The next layer reads them as zeros.
        assert not found[..., channels:].any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tile", TILES)
def test_layers_agree_with_fp64(name: str, tile: str) -> None:
    case = CASES[name]
    check(case, ConvolutionTile(case.kernel, case.stride, case.second_kernel, *TILES[tile]))


@pytest.mark.parametrize("name", ["many channels", "SPADE, enlarged", "stride 2"])
def test_the_chosen_tile_agrees_with_fp64(name: str) -> None:
    check(CASES[name], None)


def test_two_runs_have_the_same_bits() -> None:
    prepared = prepare(CASES["skip of an enlarged map"])
    first, second = (run_plan(prepared.plan, prepared.weights, prepared.inputs, {})[1]("layer") for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_shapes_of_layers_by_hand() -> None:
    prepared = prepare(CASES["skip of an enlarged map"])
    shape = LayerShape.of(prepared.plan.steps[-1], prepared.plan)
    assert shape == LayerShape(12, 10, 16, (24, 40), 3, 1, 1)
