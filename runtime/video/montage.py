"""The montage: source, driving picture and result side by side."""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def compare_panel(source: Picture, driving: Picture | None, result: Picture) -> Picture:
    """Source, driving picture and result, all uint8 RGB [H, W, 3], side by side at the result's height.

    Each picture is scaled to fit a tile of the result's size and centred on black; a motion without pictures leaves the
    middle tile black. The panel [H, 3W, 3] has an even width, with a black column added where needed.
    """
    height, width = result.shape[:2]
    panel = np.zeros((height, 3 * width + width % 2, 3), np.uint8)
    for index, picture in enumerate((source, driving, result)):
        if picture is not None:
            panel[:, index * width : (index + 1) * width] = letterbox(picture, height, width)
    return panel


def letterbox(picture: Picture, height: int, width: int) -> Picture:
    """A picture scaled to fit into [height, width], centred on black."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    rows = min(height, max(1, round(picture.shape[0] * scale)))
    columns = min(width, max(1, round(picture.shape[1] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(picture, (columns, rows), interpolation=interpolation)
    boxed = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    boxed[top : top + rows, left : left + columns] = fitted
    return boxed
