"""The resting face: what a tracker reads of a face at rest, which differs from person to person.

MediaPipe reads heavy brows as a frown and high ones as raised: of 224 portraits `browDown` is 0.42 ± 0.26, and a driver
at rest had `browOuterUp` at 0.98. So it is with lids and with how lips are set. Such readings are anatomy. Given to
another face they make it another person (docs/training.md). So these actions of a driver are told from its own rest,
which is learned while it is tracked, and the source's own rest is added where the motion is retargeted.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Actions that motions tell from a face at rest.
RESTING_ACTIONS = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthFrownLeft", "mouthFrownRight", "noseSneerLeft", "noseSneerRight", "cheekPuff"),
)
# Actions and what their opposite is: a brow below its rest is lowered, a lid above it is wide. Others have none.
_LOWERED = (
    ("browDownLeft", ("browInnerUp", "browOuterUpLeft")),
    ("browDownRight", ("browInnerUp", "browOuterUpRight")),
    ("eyeSquintLeft", ("eyeWideLeft",)),
    ("eyeSquintRight", ("eyeWideRight",)),
)


def _opposites() -> NDArray[np.float64]:
    """How much of what each action loses below 0 others gain: [gaining, losing], in the order of `RESTING_ACTIONS`."""
    place = {name: index for index, name in enumerate(RESTING_ACTIONS)}
    shares = np.zeros((len(place), len(place)))
    for lowered, raised in _LOWERED:
        for name in raised:
            shares[place[lowered], place[name]] = 1 / len(raised)
            # The inner brows have two sides in one action.
            shares[place[name], place[lowered]] = 1 / sum(name in others for _, others in _LOWERED)
    return shares


_OPPOSITES = _opposites()
# Observations after which the mean forgets the oldest: a minute at 30 a second.
MEMORY = 1800


class RestingFace:
    """The resting face of one person, the mean of what was tracked so far: one that is seen longer is known better.

    expression_names: of the expressions. Where the actions are not among them nothing is changed.
    """

    def __init__(self, expression_names: Sequence[str]) -> None:
        self._places = _resting_places(tuple(expression_names))
        self._count = 0
        self._rest = np.zeros(len(self._places))

    def change(self, expression: Floats) -> Floats:
        """The expression [E] with `RESTING_ACTIONS` as their change from the resting face, in [0, 1].

        The resting face has this observation in it.
        """
        if not len(self._places):
            return expression
        observed = expression[self._places].astype(np.float64)
        self._count = min(self._count + 1, MEMORY)
        self._rest += (observed - self._rest) / self._count
        changed = expression.copy()
        changed[self._places] = from_rest(observed - self._rest)
        return changed


def from_rest(change: NDArray[np.floating]) -> NDArray[np.float64]:
    """Signed changes of `RESTING_ACTIONS` as coefficients in [0, 1]: what goes below 0 is of an opposite action."""
    return np.clip(np.maximum(change, 0.0) + _OPPOSITES @ np.maximum(-change, 0.0), 0.0, 1.0)


def with_rest_of(source: Floats, expression: Floats, expression_names: tuple[str, ...]) -> Floats:
    """An expression [E] whose `RESTING_ACTIONS` rest where those of the source do.

    source: [E], the source's own expression, in which these count as its rest.
    expression: [E], with these as their change from rest.
    expression_names: E names; where the actions are not among them the expression stays as it is.
    """
    places = _resting_places(expression_names)
    if not len(places) or source.shape != expression.shape:
        return expression
    result = expression.copy()
    result[places] = np.clip(source[places] + expression[places], 0.0, 1.0)
    return result


@lru_cache(maxsize=4)
def _resting_places(expression_names: tuple[str, ...]) -> NDArray[np.intp]:
    place = {name: index for index, name in enumerate(expression_names)}
    known = set(RESTING_ACTIONS) <= place.keys()
    return np.array([place[name] for name in RESTING_ACTIONS if known], np.intp)
