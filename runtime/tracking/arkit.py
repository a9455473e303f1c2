"""ARKit's 52 facial actions by Apple's names; they are the expressions of the default face model."""

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


def limit_mouth_close(expression: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """expression [..., E] with mouthClose no larger than jawOpen.

    mouthClose closes the lips that jawOpen has parted; a larger value would push the lips through each other.
    """
    expression = expression.copy()
    close, jaw = names.index("mouthClose"), names.index("jawOpen")
    expression[..., close] = np.minimum(expression[..., close], expression[..., jaw])
    return expression
