"""A session's files and log, and the command's refusals."""

import csv
import logging
import math
from pathlib import Path

import pytest
import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.metrics_log import MetricsLog
from hidenerf.training.loop.session import SessionOptions, train
from hidenerf.training.loop.state import load_state, read_run
from hidenerf.training.loop.trainer import PairSource, Trainer
from tests.support.media import read_bgr
from tests.support.tiny_training import Pairs, tiny_batch, tiny_trainer


def run_session(out: Path, trainer: Trainer, pairs: PairSource, stop_after: float = math.inf) -> None:
    """A session that reports every step and saves at its end."""
    options = SessionOptions(stop_after=stop_after, report_every=0.0, save_every=math.inf)
    train(trainer, pairs, tiny_batch(2), out, options)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_a_state_a_metrics_log_and_a_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = tiny_trainer(3)
    with caplog.at_level(logging.INFO, "hidenerf.training"):
        run_session(tmp_path, trainer, Pairs())
    said = caplog.messages
    assert trainer.progress == 1.0
    assert read_run(tmp_path / "run")["step"] == 3
    picture = read_bgr(tmp_path / "samples.png")
    assert picture.shape == (2 * 32, 6 * 32, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "run", "samples.png"]
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["absolute_refined"]) > 0
    assert float(rows[0]["pairs_per_second"]) > 0
    assert {"data_ms", "forward_ms", "backward_ms", "optimiser_ms"} < rows[0].keys()
    assert "100.0% step 3" in said[-2]
    assert "forward" in said[-2]
    assert said[-1].startswith("saved step 3")


def test_the_picture_has_source_target_secc_and_the_models(tmp_path: Path) -> None:
    run_session(tmp_path, tiny_trainer(1), Pairs())
    batch = tiny_batch(2)
    columns = read_bgr(tmp_path / "samples.png")[..., ::-1].reshape(2, 32, 6, 32, 3)
    for place, expected in ((0, batch.source_image), (1, batch.target)):
        found = torch.from_numpy(columns[:, :, place].copy()).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(found, expected, atol=0.5 / 255 + 1e-6, rtol=0)


def test_two_sessions_make_one_run(tmp_path: Path) -> None:
    first, pairs = tiny_trainer(4), Pairs()
    run_session(tmp_path, first, pairs, stop_after=1e-9)
    assert first.step == 1
    second = tiny_trainer(4)
    load_state(second, tmp_path / "run")
    run_session(tmp_path, second, pairs)
    assert [row["step"] for row in rows_of(tmp_path)] == ["1", "2", "3", "4"]
    assert read_run(tmp_path / "run")["seconds"] > first.seconds


class Stopping(Pairs):
    """Ctrl-C at the third batch."""

    def sample(self, batch_size: int) -> Batch:
        if self.drawn == 2:
            self.drawn += 1
            raise KeyboardInterrupt
        return super().sample(batch_size)


def test_an_interrupted_run_is_saved(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_session(tmp_path, tiny_trainer(9), Stopping())
    assert read_run(tmp_path / "run")["step"] == 2


def test_a_metrics_log_goes_on_where_the_saved_state_was(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0, False) as log:
        for step in (1.0, 2.0, 3.0):
            log.add({"step": step, "loss": step / 8})
    with MetricsLog(tmp_path, 2, False) as log:
        log.add({"step": 4.0, "loss": 0.5, "late": 7.0})
    assert rows_of(tmp_path) == [
        {"step": "1", "loss": "0.125", "late": ""},
        {"step": "2", "loss": "0.25", "late": ""},
        {"step": "4", "loss": "0.5", "late": "7"},
    ]
