"""Even choices of frames, by hand."""

import pytest

from hidenerf.calibration.frames import spread, spread_pairs


@pytest.mark.parametrize(
    ("length", "count", "chosen"),
    [(125, 5, [0, 31, 62, 93, 124]), (2, 5, [0, 1]), (1, 3, [0]), (10, 1, [0])],
)
def test_frames_are_spread_evenly(length: int, count: int, chosen: list[int]) -> None:
    assert spread(length, count) == chosen


@pytest.mark.parametrize(
    ("length", "count", "numbers"),
    [
        (1, 1, [0]),
        (1, 30, [0]),
        (5, 1, [0]),
        (5, 2, [0, 1]),
        (5, 3, [0, 1]),
        (5, 4, [0, 1, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (78, 6, [0, 1, 38, 39, 76, 77]),
    ],
)
def test_pairs_of_consecutive_frames(length: int, count: int, numbers: list[int]) -> None:
    assert spread_pairs(length, count) == numbers
