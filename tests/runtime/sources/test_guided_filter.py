"""The guided filter against its definition, in FP64, window by window."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.sources.guided_filter import guided_filter

Floats = NDArray[np.float64]


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).random(shape, np.float32)


def by_definition(guide: Floats, opacity: Floats, radius: int, smoothness: float) -> Floats:
    """Ridge regression of the opacity on the guide in each window; functions and pixels reflected at the border."""

    def windows(values: Floats) -> Floats:
        rim = [(radius, radius)] * 2 + [(0, 0)] * (values.ndim - 2)
        padded = np.pad(values, rim, "symmetric")
        sides = (2 * radius + 1, 2 * radius + 1)
        found = np.lib.stride_tricks.sliding_window_view(padded, sides, axis=(0, 1))
        return found.reshape(*found.shape[:-2], -1)

    height, width = opacity.shape
    seen, known = windows(guide), windows(opacity)
    functions = np.zeros((height, width, 4))
    for row in range(height):
        for column in range(width):
            colours, values = seen[row, column].T, known[row, column]
            centred = colours - colours.mean(axis=0)
            covariance = centred.T @ centred / len(values) + smoothness * np.eye(3)
            slope = np.linalg.solve(covariance, centred.T @ (values - values.mean()) / len(values))
            functions[row, column] = *slope, values.mean() - slope @ colours.mean(axis=0)
    mean = windows(functions).mean(axis=-1)
    return np.asarray((mean[..., :3] * guide).sum(axis=-1) + mean[..., 3])


@pytest.mark.parametrize("radius", [1, 3])
def test_it_is_the_guided_filter(radius: int) -> None:
    guide, opacity = drawn(12, 10, 3), drawn(12, 10)
    expected = by_definition(guide.astype(np.float64), opacity.astype(np.float64), radius, 1e-2)
    np.testing.assert_allclose(guided_filter(guide, opacity, radius, 1e-2), expected, atol=1e-4)


def test_a_blurred_edge_becomes_the_pictures() -> None:
    guide = np.zeros((32, 32, 3), np.float32)
    guide[:, 16:] = 0.8, 0.5, 0.2
    opacity = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (32, 32)).copy()
    found = guided_filter(guide, opacity, 4, 1e-5)
    steps = np.diff(found[16, 4:-4])
    assert steps.argmax() == 16 - 4 - 1
    # The opacity's own steps are 1/31.
    assert steps.max() > 3 / 31


def test_a_coarser_fit_of_a_smooth_opacity_is_nearly_the_same() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    guide = np.stack(np.meshgrid(ramp, ramp), axis=-1) @ np.array([[0.5, 0.2, 0.1], [0.3, 0.6, 0.2]], np.float32)
    opacity = (0.3 * guide[..., 0] + 0.5 * guide[..., 1]).astype(np.float32)
    # An opacity that is affine in the colours stays what it is.
    np.testing.assert_allclose(guided_filter(guide.astype(np.float32), opacity, 4, 1e-7, 2), opacity, atol=0.02)
