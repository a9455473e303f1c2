"""Random inputs of a bundle's graphs, as a backend takes them."""

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.camera import canonical_camera

Float = NDArray[np.float32]


def source(bundle: Bundle, seed: int = 0) -> tuple[Float, Float, Float]:
    """Image, camera and canonical SECC: the arguments of `Backend.encode_source`."""
    rng = np.random.default_rng(seed)
    picture = rng.random((1, 3, bundle.image_size, bundle.image_size), np.float32)
    secc = rng.random((1, 3, bundle.secc_size, bundle.secc_size), np.float32)
    return picture, canonical_camera(5, -3, 1)[None], secc


def motion(bundle: Bundle, seed: int = 0, yaw: float = 10.0) -> tuple[Float, Float]:
    """Driving SECC and camera: the arguments of `Backend.render`."""
    secc = np.random.default_rng(100 + seed).random((1, 3, bundle.secc_size, bundle.secc_size), np.float32)
    return secc, canonical_camera(yaw, 2, 0)[None]
