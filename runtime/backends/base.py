"""What every backend offers: the three graphs of one bundle, chained, with a source's features kept between frames."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


class Backend(Protocol):
    """Sizes: S image, R render, Q SECC. Nothing is copied between graphs that can stay where it is."""

    name: str

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """Once per source: picture [1, 3, S, S] in [0, 1], camera [1, 25], SECC [1, 3, Q, Q]; features are kept."""
        ...

    def render(self, secc_driving: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """Per frame: SECC [1, 3, Q, Q], camera [1, 25] → frame [S, S, 3] uint8 RGB, alpha [R, R]; the caller's own."""
        ...

    def close(self) -> None:
        """Free sessions and buffers."""
        ...
