"""Saved runs: whole, small, safe to read, and going on as if nothing had been."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hidenerf.model.checkpoint import load_checkpoint
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop import state
from hidenerf.training.loop.state import CHECKPOINT_NAME, STATE_VERSION, load_state, read_run, save_state
from hidenerf.training.loop.trainer import PhaseClock, Trainer
from tests.support.tiny import tiny_inputs
from tests.support.tiny_training import Pairs, tiny_trainer

ADVERSARIAL = {"losses": {"adversarial": 0.05}, "adversarial_start": 0.0}


def losses(trainer: Trainer, pairs: Pairs, steps: int) -> list[dict[str, float]]:
    clock = PhaseClock(torch.device("cpu"))
    return [{name: float(value) for name, value in trainer.train_step(pairs, clock).items()} for _ in range(steps)]


@pytest.mark.parametrize("settings", [{}, ADVERSARIAL], ids=["plain", "adversarial"])
def test_a_resumed_run_has_the_same_next_losses(tmp_path: Path, settings: dict[str, object]) -> None:
    whole, pairs = tiny_trainer(20, **settings), Pairs()
    losses(whole, pairs, 4)
    whole.seconds = 12.5
    save_state(whole, tmp_path / "run")
    resumed, same_pairs = tiny_trainer(20, **settings), Pairs()
    same_pairs.drawn = pairs.drawn
    load_state(resumed, tmp_path / "run")
    assert (resumed.step, resumed.seconds) == (4, 12.5)
    expected, found = losses(whole, pairs, 3), losses(resumed, same_pairs, 3)
    # The first losses come from the same weights; then moments rounded to BF16 (3 digits) have moved them.
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one == pytest.approx(other, rel=5e-3)
    for one, other in zip(resumed.ema.parameters(), whole.ema.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_without_its_moments_a_run_would_not_go_on_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would miss if it could not fail."""
    whole, pairs = tiny_trainer(20), Pairs()
    losses(whole, pairs, 4)
    monkeypatch.setattr(state, "_moments", lambda *_: {})
    save_state(whole, tmp_path / "run")
    resumed, same_pairs = tiny_trainer(20), Pairs()
    same_pairs.drawn = pairs.drawn
    load_state(resumed, tmp_path / "run")
    expected, found = losses(whole, pairs, 3), losses(resumed, same_pairs, 3)
    assert found[2] != pytest.approx(expected[2], rel=5e-3)


def test_the_checkpoint_is_the_ema_in_half_precision(tmp_path: Path) -> None:
    trainer = tiny_trainer()
    losses(trainer, Pairs(), 2)
    save_state(trainer, tmp_path / "run")
    model = load_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)
    assert model.config == trainer.model.config
    ema = dict(trainer.ema.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, ema[name].half().float()), name
    with torch.no_grad():
        torch.testing.assert_close(model(**tiny_inputs()).frame, trainer.ema(**tiny_inputs()).frame, atol=5e-3, rtol=0)


def test_parts_are_small_and_hold_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 64 * 1024
    monkeypatch.setattr(state, "PART_BYTES", limit)
    trainer = tiny_trainer(**ADVERSARIAL)
    losses(trainer, Pairs(), 1)
    save_state(trainer, tmp_path / "run")
    parts = sorted((tmp_path / "run").glob("state-*.safetensors"))
    assert len(parts) > 3
    names: list[str] = []
    for part in parts:
        tensors = safetensors.torch.load_file(part)
        names += tensors
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= limit
    assert len(names) == len(set(names))
    assert {f"model.{name}" for name in trainer.model.state_dict()} < set(names)
    resumed = tiny_trainer(**ADVERSARIAL)
    load_state(resumed, tmp_path / "run")
    for one, other in zip(resumed.trained_parameters(), trainer.trained_parameters(), strict=True):
        assert torch.equal(one, other)


def test_saving_replaces_the_last_state_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer()
    save_state(trainer, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    trainer.step = 9

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(HideNerfError, match="disk is full"):
        save_state(trainer, tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_read_run_says_where_the_run_is(tmp_path: Path) -> None:
    trainer = tiny_trainer(50, batch_size=3)
    trainer.step = 7
    save_state(trainer, tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run["step"] == 7
    assert run["config"]["batch_size"] == 3


def test_discriminators_may_join_a_run_later(tmp_path: Path) -> None:
    trainer = tiny_trainer()
    losses(trainer, Pairs(), 1)
    save_state(trainer, tmp_path / "run")
    resumed = tiny_trainer(**ADVERSARIAL)
    load_state(resumed, tmp_path / "run")
    assert "discriminator_refined" in losses(resumed, Pairs(), 1)[0]


def test_what_is_no_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    trainer = tiny_trainer()
    with pytest.raises(HideNerfError, match="no run to resume"):
        load_state(trainer, tmp_path)
    folder = tmp_path / "run"
    save_state(trainer, folder)
    first = folder / "state-0.safetensors"
    other = tmp_path / "other"
    trainer.step = 3
    save_state(trainer, other)
    tensors = safetensors.torch.load_file(first)
    run = json.dumps(read_run(other))
    metadata = {"format": "hidenerf-training-state", "version": STATE_VERSION, "part": "1", "parts": "2"}
    safetensors.torch.save_file(tensors, folder / "state-1.safetensors", metadata | {"run": run})
    safetensors.torch.save_file(tensors, first, metadata | {"part": "0", "run": json.dumps(read_run(folder))})
    with pytest.raises(HideNerfError, match="another moment of the run"):
        load_state(trainer, folder)
    first.write_bytes(b"nonsense")
    with pytest.raises(HideNerfError, match="not a readable safetensors"):
        read_run(folder)
    safetensors.torch.save_file(tensors, first, {"format": "something"})
    with pytest.raises(HideNerfError, match="not a saved run"):
        read_run(folder)
