"""The background behind a person."""

import cv2
import numpy as np

from hidenerf.runtime.sources.background import paint_background


def test_a_plain_background_stays_plain() -> None:
    crop = np.full((96, 96, 3), (200, 120, 40), np.uint8)
    mask = np.zeros((96, 96), np.uint8)
    cv2.circle(mask, (48, 48), 30, 255, -1)
    crop[mask > 0] = (0, 0, 255)
    painted = paint_background(crop, mask)
    np.testing.assert_allclose(painted.reshape(-1, 3), np.tile([200, 120, 40], (96 * 96, 1)), atol=2)
