"""mixed_networks.py: which networks come from which checkpoint, and what is refused."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.mixed_networks import main
from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.model.hidenerf import HideNerf, random_model
from tests.support.tiny import TINY, TINY_ALIGNED


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    for seed, path in enumerate((before, after)):
        # As trained checkpoints are: weights that FP16 holds.
        save_checkpoint(random_model(TINY, seed).half().float(), path)
    return before, after


def network(model: HideNerf, name: str) -> dict[str, torch.Tensor]:
    return dict(getattr(model, name).state_dict())


def test_the_named_networks_are_the_second_checkpoints(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "mixed.safetensors"
    result = CliRunner().invoke(main, [*map(str, checkpoints), "--take", "refiner,id_encoder", "-o", str(output)])
    assert result.exit_code == 0, result.output
    before, after, mixed = (load_checkpoint(path) for path in (*checkpoints, output))
    for name, _ in mixed.named_children():
        expected = network(after if name in ("refiner", "id_encoder") else before, name)
        other = network(before if name in ("refiner", "id_encoder") else after, name)
        found = network(mixed, name)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert any(not torch.equal(found[key], other[key]) for key in other)


def test_a_share_of_the_second_checkpoint(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "mixed.safetensors"
    taken = ["--take", "refiner", "--share", "0.25", "-o", str(output)]
    assert CliRunner().invoke(main, [*map(str, checkpoints), *taken]).exit_code == 0
    before, after, mixed = (load_checkpoint(path) for path in (*checkpoints, output))
    for name, share in (("refiner", 0.25), ("id_encoder", 0.0)):
        one, other, found = (network(model, name) for model in (before, after, mixed))
        for key in (key for key in found if found[key].is_floating_point()):
            # Rounded to FP16.
            torch.testing.assert_close(
                found[key], 0.75 * one[key] + 0.25 * other[key] if share else one[key], rtol=1e-3, atol=1e-6
            )


def test_an_unknown_network_and_another_config_are_refused(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "mixed.safetensors"
    result = CliRunner().invoke(main, [*map(str, checkpoints), "--take", "nose", "-o", str(output)])
    assert result.exit_code == 2
    assert "there is no network nose; the model has appearance, deformation" in result.output
    save_checkpoint(random_model(TINY_ALIGNED, 1), checkpoints[1])
    result = CliRunner().invoke(main, [*map(str, checkpoints), "--take", "refiner", "-o", str(output)])
    assert result.exit_code == 2
    assert "another config" in result.output
    assert not output.exists()
