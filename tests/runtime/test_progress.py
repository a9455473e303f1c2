import io
import logging
import sys

import pytest

from hidenerf.runtime.progress import no_progress, progress_bar


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


def draw(length: int | None) -> None:
    with progress_bar(length) as advance:
        for _ in range(3):
            advance()


@pytest.mark.parametrize(("level", "drawn"), [(logging.INFO, True), (logging.ERROR, False)])
@pytest.mark.parametrize(("length", "shown"), [(3, "3/3"), (None, "3 frames")])
def test_it_is_drawn_where_notes_are_logged(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    level: int,
    drawn: bool,
    length: int | None,
    shown: str,
) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with caplog.at_level(level, "hidenerf"):
        draw(length)
    if drawn:
        assert shown in terminal.getvalue()
    else:
        assert terminal.getvalue() == ""


def test_it_is_not_drawn_into_a_file_or_pipe(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    with caplog.at_level(logging.INFO, "hidenerf"):
        draw(3)
    assert terminal.getvalue() == ""


def test_no_progress_shows_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with caplog.at_level(logging.INFO, "hidenerf"), no_progress(3) as advance:
        advance()
    assert terminal.getvalue() == ""
