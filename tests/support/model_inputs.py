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


def motion(bundle: Bundle, seed: int = 0, yaw: float = 10.0) -> tuple[Float, ...]:
    """Driving SECC, camera and, if the bundle takes it, face sight: the arguments of `Backend.render_secc`."""
    rng = np.random.default_rng(100 + seed)
    secc = rng.random((1, 3, bundle.secc_size, bundle.secc_size), np.float32)
    camera = canonical_camera(yaw, 2, 0)[None]
    if not bundle.takes_face_sight:
        return secc, camera
    place, weight, shown = (rng.random((1, n, bundle.image_size, bundle.image_size), np.float32) for n in (2, 1, 1))
    return secc, camera, np.concatenate([place * weight, weight, shown * weight], 1)
