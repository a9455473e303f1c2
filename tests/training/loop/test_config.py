"""A run's config from JSON and back, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop.config import LossWeights, TrainingConfig, read_config


def test_there_and_back_through_json() -> None:
    config = TrainingConfig(steps=7, batch_size=3, losses=LossWeights(adversarial=0.25))
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_entries_left_out_keep_their_defaults_and_whole_numbers_do_for_others() -> None:
    config = TrainingConfig.from_dict({"seconds": 60, "losses": {"region": 5}})
    assert config == TrainingConfig(seconds=60.0, losses=LossWeights(region=5.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either seconds or steps"),
        ({"seconds": 5.0, "steps": 5}, "either seconds or steps"),
        ({"steps": -5}, "either seconds or steps"),
        ({"steps": 5, "batch_size": 0}, "batch_size"),
        ({"steps": 5, "schedule": "linear"}, "'cosine' or 'constant'"),
        ({"steps": 5, "ema_decay": 1.5}, r"must lie in \[0, 1\]"),
        ({"steps": 5, "losses": {"alpha": -1}}, "loss weights"),
        ({"steps": 5, "learningrate": 1e-3}, "unknown entry 'learningrate'"),
        ({"steps": 5, "losses": {"l1": 1}}, "unknown entry 'l1'"),
        ({"steps": 2.5}, "steps is 2.5; it must be a int"),
        ({"steps": True}, "steps is True"),
        ({"steps": 5, "schedule": 3}, "schedule is 3"),
        ({"steps": 5, "losses": 3}, "losses is 3"),
    ],
)
def test_a_wrong_entry_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HideNerfError, match=message):
        TrainingConfig.from_dict(values)


def test_a_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(HideNerfError, match="cannot read"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(HideNerfError, match="not JSON"):
        read_config(path)
    path.write_text("[1]")
    with pytest.raises(HideNerfError, match="must be a JSON object"):
        read_config(path)
    path.write_text('{"steps": 5}')
    assert read_config(path) == {"steps": 5}
