"""Frames of rows from timecodes, clock times and numbers; the expected frames are counted by hand."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.drivers.row_times import RowTimeError, row_frames, rows_without_times, timecode_rate


@given(
    st.sampled_from([24, 25, 30, 48, 50, 60]),
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]),
    st.integers(0, 23 * 3600),
    st.floats(0, 0.9),
    st.floats(-1e-3, 1e-3),
)
def test_the_frame_rate_is_exact_whatever_the_timecode_counts(
    count: int, step: Fraction, start: int, offset: float, drift: float
) -> None:
    ticks = [start * count + offset + index * (float(step) + drift * float(step)) for index in range(4 * count)]
    timecodes = [(int(tick // count), tick % count, False) for tick in ticks]
    assert timecode_rate(timecodes)[1] == Fraction(count) / step


def test_a_lost_row_and_midnight_do_not_change_the_rate() -> None:
    frames = [(86399, float(f)) for f in range(0, 60, 2)] + [(0, float(f)) for f in range(0, 60, 2) if f != 20]
    assert timecode_rate([(second, frame, False) for second, frame in frames])[1] == 30


def test_a_take_within_one_second_counts_at_sixty() -> None:
    assert timecode_rate([(5, 10.0 + 2 * index, False) for index in range(8)])[1] == 30
    assert timecode_rate([(5, 10.0, False)])[1] == 30


def test_without_times_every_row_is_a_frame() -> None:
    rows = rows_without_times(3)
    assert (rows.fps, rows.frame.tolist(), rows.missing) == (30, [0, 1, 2], 0)


def app_timecodes(ticks: Sequence[int]) -> list[str]:
    """Timecodes of 60 frames a second as the app writes them."""
    return [f"23:59:{58 + tick // 60:02}:{tick % 60:02}.685" for tick in ticks]


def test_rows_are_placed_by_timecode() -> None:
    ticks = [tick for tick in range(0, 120, 2) if not 20 <= tick < 50 and tick != 80]
    rows = row_frames(app_timecodes(ticks))
    assert rows.fps == 30
    assert rows.frame.tolist() == [tick // 2 for tick in ticks]
    assert rows.missing == 15 + 1


def test_half_of_the_rows_may_be_missing() -> None:
    ticks = [tick for tick in range(0, 240, 2) if tick % 8 in (0, 2)]
    rows = row_frames([f"10:00:{tick // 60:02}:{tick % 60:02}" for tick in ticks])
    assert (rows.fps, rows.missing) == (30, 58)  # two of four, none after the last row
    assert rows.frame.tolist() == [tick // 2 for tick in ticks]


def test_time_goes_on_after_midnight() -> None:
    rows = row_frames(["23:59:59:28", "23:59:59:29", "00:00:00:00", "00:00:00:02"])
    assert (rows.fps, rows.frame.tolist()) == (30, [0, 1, 2, 4])


def test_drop_frame_timecode_leaves_out_labels_not_frames() -> None:
    # 10:00:59;28, 10:00:59;29, 10:01:00;02, 10:01:00;03: labels ;00 and ;01 do not exist in that minute.
    labels = [f"10:00:{index // 30:02};{index % 30:02}" for index in range(1800)]
    labels += [f"10:01:00;{index:02}" for index in range(2, 30)]
    rows = row_frames(labels)
    assert rows.fps == Fraction(30000, 1001)
    assert (rows.missing, rows.frame[-1]) == (0, 1800 + 28 - 1)


def test_frames_of_three_digits_are_milliseconds() -> None:
    rows = row_frames([f"00:00:{ms // 1000:02}:{ms % 1000:03}.000" for ms in (0, 33, 66, 100, 200, 966, 1000, 1033)])
    assert rows.fps == 30
    assert rows.frame.tolist() == [0, 1, 2, 3, 6, 29, 30, 31]


@pytest.mark.parametrize(
    ("times", "fps"),
    [
        ([index / 30 for index in range(60)], Fraction(30)),
        ([index / 60 for index in range(60)], Fraction(60)),
        ([1700000000 + index / 25 for index in range(60)], Fraction(25)),
        ([index * 1001 / 30000 for index in range(60)], Fraction(30000, 1001)),
        ([round(index / 24, 3) for index in range(60)], Fraction(24)),
        ([index * 100 / 3 for index in range(60)], Fraction(30)),  # milliseconds
        ([index * 16667 for index in range(60)], Fraction(60)),  # microseconds
        ([index * 40_000_000 for index in range(60)], Fraction(25)),  # nanoseconds
        ([index / 7 for index in range(60)], Fraction(7)),
        ([100 + index for index in range(60)], Fraction(30)),  # numbers of frames
    ],
)
def test_rates_of_numbers(times: list[float], fps: Fraction) -> None:
    rows = row_frames([repr(time) for time in times])
    assert rows.fps == fps
    assert rows.frame.tolist() == list(range(60))


def test_seconds_of_dropped_and_uneven_rows() -> None:
    jitter = (0.0, 0.004, -0.003, 0.006, 0.0, -0.005)
    kept = [frame for frame in range(90) if frame % 5 != 3]
    rows = row_frames([f"{frame / 30 + jitter[frame % 6]:.4f}" for frame in kept])
    assert rows.fps == 30
    assert rows.frame.tolist() == kept
    assert rows.missing == 18  # frames 3, 8, ..., 88


@pytest.mark.parametrize("style", ["{:02}:{:02}:{:06.3f}", "2026-01-31T{:02}:{:02}:{:06.3f}Z"])
def test_clock_times(style: str) -> None:
    seconds = [index / 50 for index in range(200) if index != 100]
    rows = row_frames([style.format(23, 59, second) for second in seconds])
    assert (rows.fps, rows.missing, rows.frame[-1]) == (50, 1, 199)


def test_a_clock_coarser_than_the_rows_is_spread() -> None:
    # 60 rows a second with timecode that counts 30: each one stands twice, the first began before the take.
    rows = row_frames([f"10:00:{index // 60:02}:{index % 60 // 2:02}" for index in range(1, 240)])
    assert (rows.fps, rows.missing) == (60, 0)
    rows = row_frames([f"10:00:{index // 25:02}" for index in range(10, 200)])
    assert (rows.fps, rows.missing) == (25, 0)


def test_a_clock_that_stands_says_nothing() -> None:
    rows = row_frames(["00:00:00:00"] * 5)
    assert (rows.fps, rows.frame.tolist()) == (30, [0, 1, 2, 3, 4])


def test_of_rows_with_one_time_the_last_counts() -> None:
    rows = row_frames(["0.0", "0.1", "0.1", "0.2", "0.3", "0.4"])
    assert (rows.fps, rows.frame.tolist(), rows.missing, rows.doubled) == (10, [0, 1, 1, 2, 3, 4], 0, 1)


def test_a_row_that_drifts_is_not_dropped() -> None:
    # A frame late after 4000 rows: no row is lost, one frame has none.
    rows = row_frames([repr(index / 30 * (1 + 1.5e-4)) for index in range(4000)])
    assert rows.fps == 30
    assert len(np.unique(rows.frame)) == 4000
    assert rows.missing == 1


@pytest.mark.parametrize(
    ("cells", "row", "problem"),
    [
        (["noon"], 0, '"noon" is not a timecode HH:MM:SS:FF or a number of seconds'),
        (["0.0", "0.1", "10:00:00:01"], 2, '"10:00:00:01" is not a timecode'),
        (["0.0", "0.1", ""], 2, '"" is not a timecode'),
        (["0.0", "0.1", "nan"], 2, '"nan" is not'),
        (["10:00:05:00", "10:00:05:02", "10:00:01:00"], 2, "time goes back by 4.*several takes"),
        (["10:00:05:00", "10:00:05:02", "11:00:05:02"], 2, "time leaps by 3600 s from the rows before"),
        (["3.0", "2.9", "2.8"], 1, "time goes back from row to row"),
        ([str(9 - index / 2 + index % 2) for index in range(9)], 2, "time goes back by 1.5 s from the rows before"),
        (["0.0", "500.0", "500.001", "500.002"], 3, "the take has 500003 frames, more than 500000"),
        (["0.0", "0.00001", "0.00002"], 0, "rows are 1e-05 s apart, which is no frame rate from 1 to 1000"),
    ],
)
def test_what_is_wrong_with_a_time_is_said(cells: list[str], row: int, problem: str) -> None:
    with pytest.raises(RowTimeError, match=problem) as raised:
        row_frames(cells)
    assert raised.value.row == row
