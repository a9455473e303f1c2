"""Amplitudes: how much further a face moves in some actions than MediaPipe's scores say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# On four clips the face mesh with the scores closes lids by 0.75 of what the landmarks show. With these two factors a
# tracker finds a driver's blinks and puckers in the frames with correlations of 0.85 and 0.86, where it finds them with
# 0.82 and 0.59 without (docs/training.md). Other actions have no factor that fits several people.
AMPLITUDES = {"eyeBlink": 1.33, "mouthPucker": 1.5}


def amplified(scores: NDArray[np.floating], expression_names: Sequence[str]) -> NDArray[np.float32]:
    """Scores [E] times their amplitudes, at most 1: coefficients of the face model, float32.

    expression_names: of the scores; an action with two sides has one amplitude.
    """
    factors = [AMPLITUDES.get(name.removesuffix("Left").removesuffix("Right"), 1.0) for name in expression_names]
    return np.minimum(scores * np.asarray(factors, np.float32), 1.0).astype(np.float32)
