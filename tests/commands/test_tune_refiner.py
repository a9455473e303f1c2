"""The command that trains the refine network alone: what it writes, says and refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from hidenerf.commands.tune_refiner import main
from hidenerf.model.checkpoint import load_checkpoint
from hidenerf.training.loop.refiner_tuning import RefinerTuning

Tune = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tune(small_checkpoint: Path, tmp_path: Path) -> Tune:
    """The command, on two people, OUTPUT new/tuned.safetensors, with a config of these entries."""

    def run(*options: str, output: str = "new/tuned.safetensors", **config: object) -> Result:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"batch_size": 2, **config}))
        arguments = ["-o", str(tmp_path / output), "--people", "2", "--config", str(path), *options]
        return CliRunner().invoke(main, [str(small_checkpoint), *arguments])

    return run


@pytest.mark.slow
def test_it_writes_a_checkpoint_and_says_how_it_goes(tune: Tune, small_checkpoint: Path, tmp_path: Path) -> None:
    result = tune(steps=2, losses={"sharpness": 2})
    assert result.exit_code == 0, result.output
    output = tmp_path / "new" / "tuned.safetensors"
    assert "step 2 of 2" in result.output
    assert "sharpness_refined" in result.output
    assert result.stderr.endswith("saved step 2\n")
    assert result.stdout == f"Checkpoint written to {output}.\n"
    before, after = (load_checkpoint(path).state_dict() for path in (small_checkpoint, output))
    kept = "deformation.head.weight"
    assert torch.equal(before[kept].half().float(), after[kept])
    assert not torch.equal(before["refiner.head.weight"].half().float(), after["refiner.head.weight"])
    assert output.stat().st_size < 0.6 * small_checkpoint.stat().st_size


def test_an_option_comes_before_the_config(tune: Tune) -> None:
    assert "step 1 of 1" in tune("--steps", "1", steps=9).output


@pytest.mark.slow
def test_what_was_learned_is_kept_meanwhile_and_after_ctrl_c(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hidenerf.training.loop.refiner_tuning.SECONDS_BETWEEN_SAVES", 0.0)
    step = RefinerTuning.step

    def interrupted(tuning: RefinerTuning) -> dict[str, float]:
        if tuning.done == 2:
            raise KeyboardInterrupt
        return step(tuning)

    monkeypatch.setattr(RefinerTuning, "step", interrupted)
    result = tune(steps=9)
    assert result.exit_code == 130
    assert result.output.count("saved step") == 3
    assert "saved step 1" in result.output
    load_checkpoint(tmp_path / "new" / "tuned.safetensors")


@pytest.mark.parametrize(
    ("output", "config", "message"),
    [
        ("tuned.pt", {}, "tuned.pt: a checkpoint is a .safetensors file; give the name of one."),
        ("config.json", {}, "config.json: a checkpoint is a .safetensors file"),
        ("there.safetensors", {}, "there.safetensors: is there already; give another name."),
        ("folder.safetensors", {}, "folder.safetensors: a checkpoint is a .safetensors file"),
        ("new.safetensors", {"seconds": 60}, "is trained by steps; give these, not seconds."),
        ("new.safetensors", {"seed": -1}, "seed must lie in [0, 2³²)"),
        ("new.safetensors", {"losses": {"identity": 1}}, "set the weight losses.identity to 0."),
        ("new.safetensors", {"speed": 1}, "unknown entry 'speed'"),
    ],
)
def test_it_refuses_in_a_sentence(
    tune: Tune, tmp_path: Path, output: str, config: dict[str, object], message: str
) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"kept")
    (tmp_path / "folder.safetensors").mkdir()
    result = tune(output=output, **config)
    assert result.exit_code == 2
    assert message in result.output
    assert "pairs" not in result.output
    assert (tmp_path / "there.safetensors").read_bytes() == b"kept"
