"""Frame rate of a clip from its pictures' times.

Containers that do not count their frames declare a rate, or FFmpeg guesses one. Both can be far from the truth:
browsers' recorders write WebM without a frame duration, and the guess is then the clock's 1000 ticks a second.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# Times that differ from a constant rate's by no more follow it: Matroska and FLV round them to milliseconds.
ROUNDING = Fraction(1, 1000)
# Seconds from picture to picture; a longer step is a clock that was set, or damage.
LONGEST_STEP = Fraction(600)
# A step back by more is no jitter of a clock.
_LONGEST_STEP_BACK = Fraction(1)
# A rate at which more of its frames than this share are missing is that of a clock, not of a clip.
_LEAST_SHARE = Fraction(3, 5)
_USUAL_RATES = (
    *map(Fraction, ("10", "12", "12.5", "15", "20", "24", "25", "30", "48", "50", "60", "90", "100", "120", "240")),
    *(Fraction(count * 1000, 1001) for count in (24, 30, 60, 120)),
)
_LARGEST_DENOMINATOR = 1001


def rate_of_times(times: Sequence[Fraction], declared: Fraction | None) -> Fraction | None:
    """Frames a second of pictures shown at these times (seconds, in any order); None if there are fewer than two.

    The declared rate if the times follow it, else the nearest usual rate that they follow, else their mean rate.
    """
    times = sorted(set(times))
    steps = [after - before for before, after in itertools.pairwise(times) if after - before <= LONGEST_STEP]
    if not steps:
        return None
    mean = len(steps) / sum(steps, Fraction(0))
    usual = sorted(_USUAL_RATES, key=lambda rate: abs(rate / mean - 1))
    for rate in ([declared] if declared else []) + usual:
        if follows(times, rate):
            return rate
    # Without the limit a mean has numerators that containers cannot hold.
    return mean.limit_denominator(_LARGEST_DENOMINATOR) or mean


def leaps(step: Fraction) -> bool:
    """Whether a step in time (seconds) from one picture or packet to the next is no step but a clock that was set."""
    return not -_LONGEST_STEP_BACK <= step <= LONGEST_STEP


def follows(times: Sequence[Fraction], rate: Fraction) -> bool:
    """Whether ascending times (seconds) are those of a constant rate, of which a few frames may be missing."""
    places = np.array([float((time - times[0]) * rate) for time in times])
    whole = np.round(places)
    # The first time is rounded, too: the grid may lie anywhere within the rounding.
    error = places - whole
    return bool(
        np.ptp(error) <= 2 * ROUNDING * rate
        and (np.diff(whole) > 0).all()
        and len(times) - 1 >= _LEAST_SHARE * Fraction(int(whole[-1]))
    )
