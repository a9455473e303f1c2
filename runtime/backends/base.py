"""What every backend offers: the three graphs of one bundle, chained, with a source's features kept between frames."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel

Float = NDArray[np.float32]


class Backend(Protocol):
    """Sizes: S image, R render, Q SECC. Nothing is copied between graphs that can stay where it is."""

    name: str

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """Once per source: picture [1, 3, S, S] in [0, 1], camera [1, 25], SECC [1, 3, Q, Q]; features are kept."""
        ...

    def render(self, secc_driving: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """Per frame: SECC [1, 3, Q, Q], camera [1, 25] → frame [S, S, 3] uint8 RGB, alpha [S, S]; the caller's own."""
        ...

    def close(self) -> None:
        """Free sessions and buffers."""
        ...


@runtime_checkable
class SeccBackend(Backend, Protocol):
    """A backend that draws the driving SECC itself, where its graphs run."""

    def set_face(self, face_model: FaceModel, neutral: Float) -> None:
        """Once per source, whose shape without expression is `neutral` [V, 3]."""
        ...

    def render_expression(self, expression: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """`render` with the SECC of expression [E] (Eq. 3 as read in DESIGN §8)."""
        ...
