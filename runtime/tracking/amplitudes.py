"""Amplitudes: how much further a face moves in some actions than MediaPipe's scores say."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# On four clips the face mesh with the scores closes lids by 0.75 of what the landmarks show. With these two factors a
# tracker finds a driver's blinks and puckers in the frames with correlations of 0.85 and 0.86, where it finds them with
# 0.82 and 0.59 without (docs/training.md). Other actions have no factor that fits several people.
AMPLITUDES = {"eyeBlink": 1.33, "mouthPucker": 1.5}


def amplified(scores: NDArray[np.floating], expression_names: tuple[str, ...]) -> NDArray[np.float32]:
    """Scores [E] times their amplitudes, at most 1: coefficients of the face model, float32.

    expression_names: of the scores; an action with two sides has one amplitude.
    """
    return np.minimum(scores * _factors(expression_names), 1.0).astype(np.float32)


@lru_cache(maxsize=4)
def _factors(expression_names: tuple[str, ...]) -> NDArray[np.float32]:
    actions = (name.removesuffix("Left").removesuffix("Right") for name in expression_names)
    return np.array([AMPLITUDES.get(action, 1.0) for action in actions], np.float32)
