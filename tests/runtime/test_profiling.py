"""Percentiles within 2 %, whatever the durations; nothing grows with their number."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.profiling import StageTimes

durations = st.lists(st.floats(1e-6, 90.0), min_size=1, max_size=60)


@given(seconds=durations, percent=st.sampled_from([1.0, 50.0, 95.0, 99.0, 100.0]))
def test_a_percentile_is_one_of_the_durations_within_two_percent(seconds: list[float], percent: float) -> None:
    times = StageTimes()
    for value in seconds:
        times.add("stage", value)
    expected = sorted(seconds)[max(0, math.ceil(len(seconds) * percent / 100) - 1)]
    assert times.percentile("stage", percent) == pytest.approx(expected, rel=0.02)


def test_percentiles_of_a_hundred_durations() -> None:
    times = StageTimes()
    for milliseconds in np.random.default_rng(0).permutation(100) + 1:
        times.add("stage", milliseconds / 1e3)
    for percent in (50, 95, 99):
        assert times.percentile("stage", percent) == pytest.approx(percent / 1e3, rel=0.02)


def test_durations_beyond_the_ends_count_at_the_ends() -> None:
    times = StageTimes()
    times.add("short", 0.0)
    times.add("long", 1e5)
    assert times.percentile("short", 50) == pytest.approx(1e-6, rel=0.02)
    assert times.percentile("long", 50) == pytest.approx(100.0, rel=0.05)


def test_stages_are_kept_apart_and_in_the_order_of_their_first_use() -> None:
    times = StageTimes()
    for stage, seconds in (("secc", 0.004), ("led", 0.02), ("secc", 0.006), ("encode", 0.001)):
        times.add(stage, seconds)
    lines = times.table().splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "secc", "led", "encode"]
    assert lines[2].split()[1] == "1"
    assert [float(x) for x in lines[2].split()[2:]] == pytest.approx([20.0] * 3, rel=0.03)
    assert lines[1].split()[1] == "2"


def test_the_table_is_aligned_for_the_stages_that_there_are() -> None:
    times = StageTimes()
    for stage in ("secc", "source_encoder", "led", "renderer_refiner", "track", "encode"):
        times.add(stage, 0.0123)
    assert len({len(line) for line in times.table().splitlines()}) == 1


def test_a_block_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    times = StageTimes()
    clock = iter([3.0, 3.05])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with times.measure("work"):
        pass
    assert times.percentile("work", 50) == pytest.approx(0.05, rel=0.02)


def test_no_count_is_lost_between_threads() -> None:
    times = StageTimes()
    threads = [
        threading.Thread(target=lambda: [times.add("stage", 1e-3) for _ in range(2000)])  # type: ignore[func-returns-value]
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times.table().splitlines()[1].split()[1] == "8000"


def test_memory_does_not_grow_with_the_number_of_durations() -> None:
    import tracemalloc

    times = StageTimes()
    times.add("stage", 1e-3)
    tracemalloc.start()
    for _ in range(20000):
        times.add("stage", 1e-3)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20000
