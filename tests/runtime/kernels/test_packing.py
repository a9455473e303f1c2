"""The MLP's operands against the layouts' definitions."""

import numpy as np
import pytest

from hidenerf.model.config import PRESETS
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.packing import operand_words, pack_mlp, unit_order
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.scenes import BASE, DEMO, ODD, random_scene


def test_sizes_of_the_presets() -> None:
    """The benchmark's and the tests' sizes are the model's."""
    for name, sizes in (("base", BASE), ("demo", DEMO)):
        assert RendererSizes.of_model(PRESETS[name].to_dict()) == sizes
        assert sizes.place == 0


def test_an_aligned_model_composites_points() -> None:
    config = PRESETS["demo"].to_dict()
    for alignment, place in (("none", 0), ("maps", 1), ("maps and picture", 1)):
        assert RendererSizes.of_model(config | {"alignment": alignment}).place == place
    # A bundle that is older than alignment.
    del config["alignment"]
    assert RendererSizes.of_model(config) == DEMO


def test_operand_words_stand_where_the_lanes_read_them() -> None:
    matrix = np.arange(32 * 16, dtype=np.float64).reshape(32, 16)
    words = operand_words(matrix)
    halves = words.view(np.float16).reshape(2, 1, 32, 4, 2)
    for lane in range(32):
        quad, group = lane % 4, lane // 4
        for word, (tile, part) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            rows = 16 + 2 * quad + 8 * part
            np.testing.assert_array_equal(halves[1, 0, lane, word], matrix[rows : rows + 2, 8 * tile + group])


def test_every_unit_has_one_place() -> None:
    assert sorted(unit_order(96)) == list(range(96))
    # The first 16 bytes: quad 0's columns of tiles 0 … 3.
    assert list(unit_order(64)[:8]) == [0, 1, 8, 9, 16, 17, 24, 25]


def test_shapes_are_checked() -> None:
    weights = [t.numpy() for t in random_scene(ODD, 0).mlp]
    with pytest.raises(HideNerfError, match=r"weight_2 has shape \[5, 24\], not \[6, 24\]"):
        pack_mlp(ODD, weights[0], weights[1], weights[2][:-1], weights[3])


def test_a_weight_beyond_fp16_is_said() -> None:
    weights = [t.numpy().copy() for t in random_scene(ODD, 0).mlp]
    weights[2][0, 0] = 1e6
    with pytest.raises(HideNerfError, match=r"1e\+06, beyond FP16"):
        pack_mlp(ODD, *weights)
