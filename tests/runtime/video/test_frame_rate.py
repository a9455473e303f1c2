import itertools
from fractions import Fraction

import numpy as np
import pytest

from hidenerf.runtime.video.frame_rate import rate_of_times

NTSC = Fraction(30000, 1001)


def in_milliseconds(times: list[Fraction]) -> list[Fraction]:
    return [Fraction(round(1000 * time), 1000) for time in times]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), NTSC, Fraction(24000, 1001), Fraction(60), Fraction(12)])
@pytest.mark.parametrize("declared", ["the rate", None, Fraction(1000)])
def test_a_constant_rate_in_milliseconds(rate: Fraction, declared: str | Fraction | None) -> None:
    times = in_milliseconds([7 + index / rate for index in range(240)])
    assert rate_of_times(times, rate if declared == "the rate" else declared) == rate


def test_the_declared_rate_counts_where_a_short_clip_could_have_either() -> None:
    times = in_milliseconds([index / NTSC for index in range(10)])
    assert rate_of_times(times, NTSC) == NTSC
    assert rate_of_times(times, Fraction(30)) == 30


def test_a_recorder_s_uneven_times_have_their_mean_rate() -> None:
    steps = np.random.default_rng(0).choice([23, 31, 33, 36, 42, 48], 199)
    times = [Fraction(int(tick), 1000) for tick in np.cumsum([0, *steps])]
    for declared in (Fraction(1000), None, Fraction(30)):
        found = rate_of_times(times, declared)
        assert found is not None
        assert float(found) == pytest.approx(199 / float(times[-1]), rel=1e-4)
        assert found.denominator <= 1001


def test_a_few_dropped_frames_leave_the_rate() -> None:
    times = in_milliseconds([index / NTSC for index in range(100) if index % 9])
    assert rate_of_times(times, NTSC) == NTSC
    assert rate_of_times(times, None) == NTSC


def test_a_rate_of_which_half_the_frames_are_missing_is_none() -> None:
    times = [Fraction(index, 25) for index in range(50)]
    assert rate_of_times(times, Fraction(50)) == 25
    assert rate_of_times(times, Fraction(90000)) == 25


def test_order_and_repetitions_do_not_matter() -> None:
    times = [Fraction(index, 25) for index in (0, 3, 1, 2, 7, 5, 4, 4, 6)]
    assert rate_of_times(times, None) == 25


def test_very_slow_pictures() -> None:
    times = [Fraction(500 * index + 13 * (index % 2)) for index in range(5)]
    assert rate_of_times(times, None) == Fraction(4) / 2000


def test_a_time_that_leaps_does_not_count() -> None:
    steps = np.random.default_rng(1).choice([23, 31, 33, 36, 42, 48], 99)
    times = [Fraction(int(tick), 1000) for tick in np.cumsum([0, *steps])]
    mean = rate_of_times(times, None)
    assert rate_of_times([*times, Fraction(2_600_000)], None) == mean
    assert rate_of_times([Fraction(0), Fraction(2_600_000)], None) is None


def test_one_picture_has_no_rate() -> None:
    assert rate_of_times([], Fraction(30)) is None
    assert rate_of_times([Fraction(1)] * 3, Fraction(30)) is None


def test_two_usual_rates_are_told_apart() -> None:
    for one, other in itertools.permutations((Fraction(30), NTSC), 2):
        assert rate_of_times(in_milliseconds([index / one for index in range(256)]), other) == one
