"""`extending_checkpoint`: what it writes is the same model, in the size of what is new in it."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from hidenerf.assets.extending_checkpoint import main
from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.training.loop.state import fp16_weights
from tests.support.tiny import aligned_model, enlarged_model


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[Path, Path]:
    """A small model, and it with an enlarger."""
    small, large = tmp_path / "small.safetensors", tmp_path / "run" / "large.safetensors"
    save_checkpoint(fp16_weights(aligned_model("maps and picture", 3)), small)
    save_checkpoint(fp16_weights(enlarged_model()), large)
    return small, large


def test_the_extension_is_the_model_and_holds_the_enlarger_alone(checkpoints: tuple[Path, Path]) -> None:
    small, large = checkpoints
    output = small.with_name("extension.safetensors")
    result = CliRunner().invoke(main, [str(large), "--extends", str(small), "-o", str(output)])
    assert result.exit_code == 0, result.output
    expected, found = load_checkpoint(large).state_dict(), load_checkpoint(output).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert output.stat().st_size < small.stat().st_size / 3


def test_an_extension_elsewhere_is_refused(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    small, large = checkpoints
    output = tmp_path / "elsewhere" / "x.safetensors"
    result = CliRunner().invoke(main, [str(large), "--extends", str(small), "-o", str(output)])
    assert result.exit_code == 2
    assert f"would not lie beside {small}" in result.output
    assert not output.parent.exists()
