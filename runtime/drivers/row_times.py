"""Times of rows: from a column of timecodes, clock times or numbers to a frame rate and each row's frame.

A take is read at a constant frame rate: each row is put on the frame that is nearest in time.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import shown

DEFAULT_FPS = Fraction(30)
MIN_FPS, MAX_FPS = 1, 1000
# A row that is earlier than the one before by no more belongs after it: clocks are set while they run.
MAX_STEP_BACK_SECONDS = 1.0
MAX_GAP_SECONDS = 600.0
MAX_FRAMES = 500_000

# Counts of frames per second that timecodes use.
_TIMECODE_COUNTS = (24, 25, 30, 48, 50, 60, 100, 120)
_USUAL_COUNT = 60
_WHOLE_RATES = tuple(Fraction(x) for x in ("10", "12", "12.5", "15", "20", "24", "25", "30", "40", "48", "50")) + tuple(
    map(Fraction, (60, 75, 90, 100, 120, 240))
)
_NTSC_RATES = tuple(Fraction(count * 1000, 1001) for count in (24, 30, 48, 60, 120))
_DAY_SECONDS = 86400

_TIMECODE = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})([:;])(\d{1,6}(?:\.\d{1,9})?)", re.ASCII)
_CLOCK = re.compile(
    r"(?:\d{4}-\d\d-\d\d[T ])?(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)(?:Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d{1,20}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?(?: ?s)?", re.ASCII)

Array = NDArray[np.float64]
# Seconds since midnight, the frame within the second, and whether it is drop-frame timecode.
Timecode = tuple[int, float, bool]


class RowTimeError(ValueError):
    """What is wrong with the time of one row.

    row: its index.
    problem: the rest of a sentence that begins with the row's place.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row, self.problem = row, problem


@dataclass(frozen=True)
class RowFrames:
    """The frame of each row.

    fps: exact frame rate.
    frame: [N] int64, ascending from 0; rows on the same frame follow each other, the last one counts.
    """

    fps: Fraction
    frame: NDArray[np.int64]

    @property
    def missing(self) -> int:
        """The number of frames without a row."""
        return int(self.frame[-1]) + 1 - len(np.unique(self.frame))

    @property
    def doubled(self) -> int:
        """The number of rows that do not count, because a later one is on their frame."""
        return len(self.frame) - len(np.unique(self.frame))


def rows_without_times(count: int) -> RowFrames:
    """Every row is one frame at `DEFAULT_FPS`."""
    return RowFrames(DEFAULT_FPS, np.arange(count, dtype=np.int64))


def row_frames(cells: Sequence[str]) -> RowFrames:
    """The frames of rows by their cells in the column of times.

    cells: all of one kind: timecodes HH:MM:SS:FF.sub (";" before FF: drop-frame, FF of three digits: milliseconds),
        clock times HH:MM:SS.fraction, or numbers: seconds, or milliseconds, microseconds, nanoseconds or frames where
        the step from row to row can be no other.
    Errors: `RowTimeError` where a cell is none of these, time goes back or leaps, or there is no such frame rate.
    """
    for pattern, place in ((_TIMECODE, _place_timecodes), (_CLOCK, _place_clock), (_NUMBER, _place_numbers)):
        if pattern.fullmatch(cells[0]):
            matches = [pattern.fullmatch(cell) for cell in cells]
            if None in matches:
                raise _not_a_time(matches.index(None), cells[matches.index(None)])
            return place([match for match in matches if match is not None])
    raise _not_a_time(0, cells[0])


def _not_a_time(row: int, cell: str) -> RowTimeError:
    return RowTimeError(
        row, f'"{shown(cell)}" is not a timecode HH:MM:SS:FF or a number of seconds, as its column has; correct it'
    )


def _place_timecodes(matches: Sequence[re.Match[str]]) -> RowFrames:
    if all(len(match[5].partition(".")[0]) == 3 for match in matches):
        return _place_seconds(_unwrapped(np.array([_second(m[1], m[2], m[3]) + float(m[5]) / 1000 for m in matches])))
    timecodes = [(int(_second(m[1], m[2], m[3])), float(m[5]), m[4] == ";") for m in matches]
    count, fps = timecode_rate(timecodes)
    seconds = _unwrapped(np.array([float(second) for second, _, _ in timecodes]))
    labels = seconds * count + np.array([frame for _, frame, _ in timecodes])
    if timecodes[0][2]:
        # Labels are left out at the start of each minute but every tenth: two where 30 are counted.
        minutes = seconds // 60
        labels -= round(count / 15) * (minutes - minutes // 10)
    nominal = fps * Fraction(1001, 1000) if timecodes[0][2] else fps
    return _on_frames(_spread_repeats(labels) * float(nominal / count), fps)


def _second(hours: str | None, minutes: str, seconds: str) -> float:
    return (int(hours or 0) * 60 + int(minutes)) * 60 + float(seconds)


def _place_clock(matches: Sequence[re.Match[str]]) -> RowFrames:
    return _place_seconds(_unwrapped(np.array([_second(match[1], match[2], match[3]) for match in matches])))


def _place_numbers(matches: Sequence[re.Match[str]]) -> RowFrames:
    numbers = np.array([float(match[0].rstrip(" s")) for match in matches])
    steps = np.diff(numbers)
    step = _typical_step(steps[steps > 0])
    if step == 1.0 and (numbers % 1 == 0).all():
        return _on_frames(_spread_repeats(numbers), DEFAULT_FPS * _repeats(numbers))
    unit = 1.0 if step < 1.0 else 1e3 if step < 1e3 else 1e6 if step < 1e6 else 1e9
    return _place_seconds((numbers - numbers[0]) / unit)


def _place_seconds(seconds: Array) -> RowFrames:
    seconds = _spread_repeats(seconds)
    fps = _rate_of_seconds(seconds)
    return _on_frames(seconds * float(fps), fps)


def _unwrapped(seconds: Array) -> Array:
    """Seconds that go on after midnight."""
    leaps = np.diff(seconds, prepend=seconds[:1]) < -_DAY_SECONDS / 2
    return seconds + _DAY_SECONDS * np.cumsum(leaps)


def _repeats(times: Array) -> int:
    """How many rows usually share a time."""
    starts = np.flatnonzero(np.diff(times, prepend=np.nan) != 0)
    return int(np.median(np.diff(np.append(starts, len(times))))) if len(starts) > 1 else 1


def _spread_repeats(times: Array) -> Array:
    """Times where each one is usually repeated, as by a clock coarser than the rows: spread until the next one."""
    repeats = _repeats(times)
    steps = np.diff(times)
    if repeats < 2 or not (steps > 0).any():
        return times
    starts = np.flatnonzero(np.diff(times, prepend=np.nan) != 0)
    lengths = np.diff(np.append(starts, len(times)))
    position = np.arange(len(times)) - np.repeat(starts, lengths)
    # The first time may have begun before the first row.
    position[: lengths[0]] += max(repeats - int(lengths[0]), 0)
    return times + position * (_typical_step(steps[steps > 0]) / repeats)


def _typical_step(steps: Array) -> float:
    """The step between rows of which none is missing between them; 0 without steps.

    Steps are uneven where the rows' rate does not divide the clock's, and several times as long where rows are missing.
    """
    if len(steps) == 0:
        return 0.0
    short = np.quantile(steps, 0.25, method="lower")
    return float(steps[steps <= 1.75 * short].mean())


def _rate_of_seconds(seconds: Array) -> Fraction:
    """Rows per second; a usual rate where it explains the times."""
    steps = np.diff(seconds)
    step = _typical_step(steps[steps > 0])
    if step == 0.0:
        if (steps < 0).any():
            raise RowTimeError(int(np.argmax(steps < 0)) + 1, "time goes back from row to row; put the rows in order")
        return DEFAULT_FPS
    rows = np.round(np.clip(steps, 0, None) / step)
    step = float(steps[rows > 0].sum() / rows.sum())
    if not np.isfinite(step) or not MIN_FPS <= 1.0 / step <= MAX_FPS:
        raise _no_rate(step)
    rate = 1.0 / step
    # Times are rounded, often to milliseconds: a short take cannot tell 29.97 from 30.
    rounding = float(np.abs(seconds - seconds[0] - np.append(0.0, np.cumsum(rows)) * step).max()) + 5e-4
    tolerance = min(2e-4 + 2 * rounding / max(float(seconds[-1] - seconds[0]), step), 0.02)
    for rates, error in ((_NTSC_RATES, 1e-5), (_WHOLE_RATES, tolerance), (_NTSC_RATES, tolerance)):
        nearest = min(rates, key=lambda usual: abs(rate / float(usual) - 1))
        if abs(rate / float(nearest) - 1) <= error:
            return nearest
    return Fraction(rate).limit_denominator(1000)


def _no_rate(step: float) -> RowTimeError:
    return RowTimeError(
        0, f"rows are {step:g} s apart, which is no frame rate from {MIN_FPS} to {MAX_FPS}; give times in seconds"
    )


def _on_frames(position: Array, fps: Fraction) -> RowFrames:
    """Rows at positions (frames, ascending but for jitter) on whole frames from 0."""
    if not MIN_FPS <= fps <= MAX_FPS:
        raise _no_rate(float(1 / fps))
    position = position - position[0]
    if not position.any():  # a clock that stands
        return rows_without_times(len(position))
    seconds = position / float(fps)
    steps = seconds[1:] - np.maximum.accumulate(seconds)[:-1]
    for wrong, what in ((steps < -MAX_STEP_BACK_SECONDS, "goes back by"), (steps > MAX_GAP_SECONDS, "leaps by")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise RowTimeError(
                row + 1,
                f"time {what} {abs(steps[row]):.6g} s from the rows before; the file may hold several takes: divide it",
            )
    frame, last = np.zeros(len(position), np.int64), 0
    for row in range(1, len(position)):
        # A row that jitter puts on the frame before it takes the next one; rows that go on being early do not.
        early = last + 1 - position[row]
        if position[row] != position[row - 1] and early <= 1.5:
            last = max(round(position[row]), last + 1)
        frame[row] = last
    if last >= MAX_FRAMES:
        raise RowTimeError(len(frame) - 1, f"the take has {last + 1} frames, more than {MAX_FRAMES}; divide it")
    return RowFrames(fps, frame)


def timecode_rate(timecodes: Sequence[Timecode]) -> tuple[int, Fraction]:
    """The timecode's count of frames per second, and the rows per second: the count over the rows' step.

    The count shows where a second ends. A take within one second is assumed to count to 60, as the app does. One row
    has no rate and gets `DEFAULT_FPS`.
    """
    pairs = list(itertools.pairwise(timecodes))
    steps = [after[1] - before[1] for before, after in pairs if after[0] == before[0] and after[1] > before[1]]
    largest = max(frame for _, frame, _ in timecodes)
    possible = [count for count in _TIMECODE_COUNTS if count > largest] or [round(largest) + 1]
    step = _typical_step(np.array(steps))
    counts = [before[1] + step - after[1] for before, after in pairs if after[0] - before[0] in (1, 1 - _DAY_SECONDS)]
    count = min(possible, key=lambda c: abs(c - (float(np.median(counts)) if counts else _USUAL_COUNT)))
    repeats = _repeats(np.array([second * count + frame for second, frame, _ in timecodes]))
    if step == 0.0:
        fps = Fraction(count if counts else DEFAULT_FPS)
    else:
        nearest = min(_WHOLE_RATES, key=lambda usual: abs(count / step / float(usual) - 1))
        exact = Fraction(count) / max(Fraction(step).limit_denominator(4), Fraction(1, 4))
        fps = nearest if abs(count / step / float(nearest) - 1) <= 0.01 else exact
    fps *= repeats
    return count, fps * Fraction(1000, 1001) if timecodes[0][2] else fps
