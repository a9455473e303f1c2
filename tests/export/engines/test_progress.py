"""How far a build is: hand-made phases, and TensorRT-RTX's own."""

import io
import logging
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.export.engines import progress
from hidenerf.export.engines.build import build_plan
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.export.engines.progress import Phases, TimedLayers, build_bar, following_log
from hidenerf.runtime.errors import HideNerfError
from tests.support.networks import convolution, rtx


def test_a_phase_is_a_part_of_its_parents_step() -> None:
    phases = Phases()
    assert phases.done() == 0.0
    phases.start("build", None, 4)
    phases.step("build", 0)
    assert phases.done() == 0.25
    phases.start("optimise", "build", 2)
    phases.step("optimise", 0)
    assert phases.done() == 0.25 + 0.5 / 4
    phases.start("time", "optimise", 5)
    phases.step("time", 1)
    assert phases.done() == pytest.approx(0.25 + (0.5 + 0.4 / 2) / 4)
    phases.finish("time")
    phases.finish("optimise")
    phases.step("build", 1)
    assert phases.done() == 0.5


NAMES = st.sampled_from("abc")
EVENTS = st.one_of(
    st.tuples(st.just("start"), NAMES, st.none() | NAMES, st.integers(0, 5)),
    st.tuples(st.just("step"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("finish"), NAMES),
)


@given(st.lists(EVENTS))
def test_the_part_done_never_falls_whatever_the_order(events: list[tuple[object, ...]]) -> None:
    phases, last = Phases(), 0.0
    for kind, name, *rest in events:
        getattr(phases, str(kind))(name, *rest)
        now = phases.done()
        assert last <= now <= 1.0
        last = now


def test_tensorrt_tells_how_far_it_is(tmp_path: Path) -> None:
    graph = convolution(tmp_path)
    seen: list[float] = []
    parsed = network_from_onnx(rtx(), graph, graph.path.read_bytes())
    assert build_plan(rtx(), "net", parsed, 86, cancelled=lambda: False, advance=seen.append)
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert seen[-1] > 0.8


def test_a_cancelled_build_ends_at_its_next_step(tmp_path: Path) -> None:
    graph, seen, cancelled = convolution(tmp_path), [], threading.Event()
    parsed = network_from_onnx(rtx(), graph, graph.path.read_bytes())

    def cancel(part: float) -> None:
        seen.append(part)
        cancelled.set()

    with pytest.raises(HideNerfError, match="cancel"):
        build_plan(rtx(), "net", parsed, 86, cancelled=cancelled.is_set, advance=cancel)
    assert 0 < len(seen) < 5


@pytest.mark.parametrize(("level", "drawn"), [(logging.INFO, True), (logging.ERROR, False)])
def test_the_bar_is_drawn_on_a_terminal_where_notes_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: int, drawn: bool
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(level, "hidenerf"), build_bar("SM 86 led") as moved:
        moved(0.5)
    assert ("SM 86 led" in terminal.getvalue()) == drawn


def test_the_bar_follows_the_layers_that_the_log_of_8_6_names() -> None:
    """Lines as TensorRT 8.6 writes them."""
    timed = TimedLayers(8)
    lines = {
        "*************** Autotuning format combination: Float(6,3,1) -> Float(6,3,1) ***************": 0.0,
        "--------------- Timing Runner: conv1 + relu1 (CaskConvolution[0x80000009])": 0.25,
        "--------------- Timing Runner: conv1 + relu1 (CudnnConvolution)": 0.25,
        "--------------- Timing Runner: Optimizer Reformat(<in> -> x) (Reformat)": 0.25,
        "--------------- Timing Runner: {ForeignNode[a...b]} (Myelin[0x80000023])": 0.5,
        "Fastest Tactic: 0x00000000000003ea Time: 0.00364102": 0.5,
        "--------------- Timing Runner: PWN(PWN(c + d), e) (PointWise)": 0.875,
        "--------------- Timing Runner: f + g + h + i (CaskConvolution)": 1.0,
    }
    for line, done in lines.items():
        before = timed.done()
        assert timed.read(line) == (done > before)
        assert timed.done() == done


class EndedError(Exception):
    """Stands for the end of the process."""


def test_the_log_is_followed_during_a_build_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> None:
        raise EndedError(status)

    monkeypatch.setattr(progress.os, "_exit", end)
    logger = type("Logger", (), {"listener": None})()
    seen: list[float] = []
    cancelled = threading.Event()
    with following_log(logger, 2, cancelled.is_set, seen.append):
        for name in ("a", "a", "b"):
            logger.listener(f"--------------- Timing Runner: {name} (CaskConvolution)")
        assert seen == [0.5, 1.0]
        cancelled.set()
        with pytest.raises(EndedError):
            logger.listener("anything")
    assert logger.listener is None
