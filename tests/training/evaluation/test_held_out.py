import logging

import pytest

from hidenerf.training.evaluation.held_out import Progress, time_left


def test_progress_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([100.0, 110.0, 400.0, 500.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO, "hidenerf.training"):
        progress = Progress("views", 40)
        for done in (10, 20, 40):
            progress(done)
    assert caplog.messages == [
        "views: 0 of 40",
        "views: 10 of 40, 31 s left",
        "views: 20 of 40, 6 min left",
        "views: 40 of 40",
    ]
    assert time_left(89.5) == "90 s"
