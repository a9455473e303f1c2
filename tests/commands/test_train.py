"""`hidenerf-train`: what it refuses. What it trains is tested in tests/training."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from hidenerf.commands.train import main
from hidenerf.model.checkpoint import default_checkpoint_path
from hidenerf.model.config import PRESETS
from hidenerf.training.loop import run
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.processes import Processes
from hidenerf.training.loop.session import SessionOptions, train
from hidenerf.training.loop.state import save_state
from hidenerf.training.loop.trainer import Trainer
from tests.support.tiny import TINY, aligned_config
from tests.support.tiny_training import Pairs, tiny_batch, tiny_trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "1", "--preset", "huge"], "--preset huge: no such preset; choose one of base, demo, demo512."),
        (["--preset", "demo"], "either seconds or steps"),
        (["--steps", "1", "--seconds", "5"], "either seconds or steps"),
        (["--steps", "1", "--resume", "nowhere"], "no run to resume"),
        (["--steps", "1", "--initial", "nowhere"], "nowhere: no such checkpoint"),
        (
            ["--steps", "1", "--preset", "base", "--initial", str(default_checkpoint_path())],
            "of other sizes than 'base'",
        ),
        (["--steps", "1", "--config", "nowhere.json"], "cannot read the training config"),
        (["--steps", "1", "--learning-rate", "0"], "learning_rate"),
        (["--steps", "1", "--identity", "x.safetensors"], "set losses.identity above 0 with --config, or"),
        (["--steps", "1", "--vgg", "x.safetensors"], "No such option"),
    ],
)
def test_it_refuses_in_a_sentence(tmp_path: Path, arguments: Sequence[str], message: str) -> None:
    result = CliRunner().invoke(main, ["--output", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_a_weight_of_the_identity_loss_asks_for_its_network(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"steps": 1, "losses": {"identity": 0.5}}')
    result = CliRunner().invoke(main, ["--output", str(tmp_path / "out"), "--config", str(config)])
    assert result.exit_code == 2
    assert "losses.identity is 0.5" in result.output
    assert "give --identity FILE or set the weight to 0." in result.output
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(
        main, ["--output", str(tmp_path / "out"), "--config", str(config), "--identity", str(config)]
    )
    assert result.exit_code == 2
    assert "config.json: cannot read the network" in result.output


def test_it_does_not_write_over_a_run(tmp_path: Path) -> None:
    train(tiny_trainer(1), Pairs(), tiny_batch(2), tmp_path, SessionOptions())
    result = CliRunner().invoke(main, ["--output", str(tmp_path), "--steps", "1"])
    assert result.exit_code == 2
    assert "holds a run already; go on with --resume" in result.output


def test_it_refuses_to_resume_another_models_run(tmp_path: Path) -> None:
    train(tiny_trainer(1), Pairs(), tiny_batch(2), tmp_path, SessionOptions())
    arguments = ["--output", str(tmp_path / "out"), "--resume", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "the run trains model 'tiny' with other sizes than 'demo'" in result.output


def test_a_run_goes_on_with_the_alignment_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = aligned_config("maps", 2)
    trainer = Trainer(config, TrainingConfig.from_dict({"steps": 1, "batch_size": 2}), Processes(torch.device("cpu")))
    save_state(trainer, tmp_path / "run")
    asked = []
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(run, "run_session", lambda _output, model_config, *_, **__: asked.append(model_config))
    arguments = ["--output", str(tmp_path / "out"), "--preset", "tiny", "--resume", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert asked == [config]
