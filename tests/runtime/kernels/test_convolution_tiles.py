"""Tiles: every layer of the presets has one on every SM, within its memory, and small layers fill the GPU."""

import pytest

from hidenerf.runtime.kernels.compile import SMS
from hidenerf.runtime.kernels.convolution_tiles import (
    MEASURED_LAYERS,
    MOST_SUMS,
    SHARED_OF_BLOCK,
    ConvolutionTile,
    LayerShape,
    choose_tile,
    estimated_cycles,
    tiles_for,
)
from tests.support.kernels.layer_shapes import LAYERS


def test_shared_memory_by_hand() -> None:
    tile = ConvolutionTile(3, 1, 1, 8, 8, 64, 32, 64, 2, 2, 2, 1)
    # 100 pixels of 80 bytes, or 64 of 144 of the second input; four pairs of 18 steps of 512 bytes.
    assert tile.shared_bytes == 2 * (64 * 144 + 4 * 18 * 512)
    assert tile.threads == 128
    assert tile.sums == 32
    assert tile.grid(17, 16, 65) == (6, 2, 1)
    # The sums of eight warps' shares, where they need more.
    assert ConvolutionTile(1, 1, 0, 4, 8, 32, 16, 16, 2, 1, 1, 8).shared_bytes == 4 * 8 * 32 * 40


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_a_tile_on_every_sm(layer: str, sm: int) -> None:
    shape = LAYERS[layer]
    tile = choose_tile(shape, sm, 132)
    assert tile in list(tiles_for(shape, sm))
    assert tile.shared_bytes <= SHARED_OF_BLOCK[sm] * 1024
    assert (tile.kernel, tile.stride, tile.second_kernel) == (shape.kernel, shape.stride, shape.second_kernel)


@pytest.mark.parametrize("layer", ["demo's coarsest", "base's coarsest", "demo's skip"])
def test_small_layers_are_divided_among_most_multiprocessors(layer: str) -> None:
    shape = LAYERS[layer]
    across, parts, _ = choose_tile(shape, 90, 132).grid(shape.height, shape.width, shape.outputs)
    assert across * parts >= 96


def test_an_unknown_sm_has_the_least_shared_memory() -> None:
    tile = choose_tile(LAYERS["demo's first"], 110, 20)
    assert tile.shared_bytes <= 64 * 1024


@pytest.mark.parametrize("shape", MEASURED_LAYERS, ids=str)
def test_a_measured_layer_has_a_tile_that_the_gpu_can_run(shape: LayerShape) -> None:
    assert choose_tile(shape, 90, 132) in list(tiles_for(shape, 90))


def test_the_measured_tile_is_chosen_on_the_measured_gpu_alone() -> None:
    # `base`'s block 4: 22.3 µs with this tile, 27.6 with the one of an estimate.
    shape = LayerShape(256, 256, 64, (64,), 3, 1, 0)
    fastest = ConvolutionTile(3, 1, 0, 16, 16, 64, 16, 16, 3, 4, 2, 1)
    assert choose_tile(shape, 90, 132) == fastest
    for sm, multiprocessors in ((90, 114), (80, 132)):
        assert choose_tile(shape, sm, multiprocessors).sums <= MOST_SUMS


@pytest.mark.parametrize(("sm", "multiprocessors"), [(90, 132), (86, 60)])
def test_other_layers_have_the_smallest_estimate(sm: int, multiprocessors: int) -> None:
    shape = LAYERS["enlarger"]
    tiles = [tile for tile in tiles_for(shape, sm) if tile.sums <= MOST_SUMS]
    least = min(estimated_cycles(tile, shape, sm, multiprocessors) for tile in tiles)
    assert estimated_cycles(choose_tile(shape, sm, multiprocessors), shape, sm, multiprocessors) == least
