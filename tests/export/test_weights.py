"""Which weights an export takes: those of a checkpoint, a preset's shipped ones, or untrained ones."""

from pathlib import Path

import pytest

from hidenerf.export.weights import DEFAULT_SEED, load_weights
from hidenerf.model.checkpoint import save_checkpoint, shipped_checkpoint_path
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import TINY, tiny_model


@pytest.mark.parametrize(("preset", "shipped"), [(None, "demo"), ("demo", "demo"), ("demo512", "demo512")])
def test_a_preset_has_its_shipped_weights(preset: str | None, shipped: str) -> None:
    weights = load_weights(None, None, preset)
    assert weights.checkpoint == shipped_checkpoint_path(shipped)
    assert (weights.seed, weights.model.config.name) == (None, shipped)


@pytest.mark.parametrize(("seed", "preset", "expected"), [(None, "base", DEFAULT_SEED), (3, "base", 3), (0, "demo", 0)])
def test_a_seed_and_a_preset_without_weights_give_untrained_ones(seed: int | None, preset: str, expected: int) -> None:
    weights = load_weights(None, seed, preset)
    assert (weights.checkpoint, weights.seed, weights.model.config.name) == (None, expected, preset)


def test_a_checkpoint_has_its_own_weights(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model(), path)
    assert load_weights(path, None, None).model.config == TINY
    for seed, preset in ((1, None), (None, "demo")):
        with pytest.raises(HideNerfError, match="leave out --random-init and --preset"):
            load_weights(path, seed, preset)
