"""ARKit's 52 facial actions by Apple's names; they are the expressions of the default face model."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BOTH_SIDES = [
    "browDown",
    "browOuterUp",
    "cheekSquint",
    "eyeBlink",
    "eyeLookDown",
    "eyeLookIn",
    "eyeLookOut",
    "eyeLookUp",
    "eyeSquint",
    "eyeWide",
    "mouthDimple",
    "mouthFrown",
    "mouthLowerDown",
    "mouthPress",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
]
_ONCE = [
    "browInnerUp",
    "cheekPuff",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthFunnel",
    "mouthLeft",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "tongueOut",
]

ARKIT_EXPRESSIONS: tuple[str, ...] = tuple(
    sorted([*_ONCE, *(name + side for name in _BOTH_SIDES for side in ("Left", "Right"))])
)

# What programs write before a name: `blendShapes.EyeBlinkLeft` of Audio2Face, `ARKit_eyeBlinkLeft`, `bs_eyeBlink_L`.
_PREFIXES = ("blendshapes", "blendshape", "arkit", "face", "bs")


def plain_spelling(name: str) -> str:
    """A column's name in lower case without what stands before a dot or colon, underscores, hyphens and blanks."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[.:/]", name.strip())[-1].lower())


def _spellings() -> dict[str, str]:
    found = {name.lower(): name for name in ARKIT_EXPRESSIONS}
    for base in (*_BOTH_SIDES, "jaw", "mouth"):
        for side in ("Left", "Right"):
            found[f"{base}{side[0]}".lower()] = base + side
            found[f"{side}{base}".lower()] = base + side
    found["jawfwd"] = "jawForward"
    # Rigs that have these on either side name both.
    for name in ("browInnerUp", "cheekPuff"):
        for side in ("l", "r", "left", "right"):
            found[name.lower() + side] = name
    return found


_SPELLINGS = _spellings()


def action_of_spelling(name: str) -> str | None:
    """Apple's name of the action that a column is named after, None if it is no action.

    Read are any case, underscores, a prefix with a dot, and _L, _R for sides. Sides of browInnerUp and cheekPuff, which
    other rigs divide, are the action itself.
    """
    plain = plain_spelling(name)
    for prefix in ("", *_PREFIXES):
        if plain.startswith(prefix) and plain.removeprefix(prefix) in _SPELLINGS:
            return _SPELLINGS[plain.removeprefix(prefix)]
    return None


def limit_mouth_close(expression: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """expression [..., E] with mouthClose no larger than jawOpen.

    mouthClose closes the lips that jawOpen has parted; a larger value would push the lips through each other.
    """
    expression = expression.copy()
    close, jaw = names.index("mouthClose"), names.index("jawOpen")
    expression[..., close] = np.minimum(expression[..., close], expression[..., jaw])
    return expression
