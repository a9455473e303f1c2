"""Photo settings: random settings of the synthetic camera for a pair. Nothing here imports torch."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

# Settings of `photography.Camera` for a pair, with the number of values of each. gamma, gain, gain_of_colour,
# saturation: grade both pictures alike. background: colour behind the person. blur: standard deviation, pixels. noise:
# standard deviation at middle grey. noise_place: position of each picture's noise in the tile, in [0, 1). quality: of
# the JPEGs, 0 for none.
PHOTO_SIZES = {
    "gamma": 1,
    "gain": 1,
    "gain_of_colour": 3,
    "saturation": 1,
    "background": 3,
    "blur": 1,
    "noise": 1,
    "noise_place": 4,
    "quality": 1,
}
Photo = dict[str, NDArray[np.float32]]


def untouched() -> Photo:
    """Settings of a camera that changes nothing."""
    ones = ("gamma", "gain", "gain_of_colour", "saturation")
    return {name: np.full(size, float(name in ones), np.float32) for name, size in PHOTO_SIZES.items()}


def random_photo(random: Generator) -> Photo:
    """Random settings: half of the pictures get grading and little noise, the others blur and JPEG as well."""
    good = random.random() < 0.5
    warmth = random.normal(0, 0.03)
    values = {
        "gamma": np.exp(random.normal(0, 0.08)),
        "gain": np.exp(random.normal(0, 0.06)),
        "gain_of_colour": [1 + warmth, 1.0, 1 - warmth],
        "saturation": np.clip(random.normal(1, 0.1), 0.6, 1.3),
        "background": random.random(3),
        "blur": 0.0 if good else random.uniform(0, 0.7),
        "noise": random.uniform(0, 0.004 if good else 0.02),
        "noise_place": random.random(4),
        "quality": 0.0 if good else random.uniform(60, 96),
    }
    return {name: np.asarray(values[name], np.float32).reshape(-1) for name in PHOTO_SIZES}


def pack_photo(photo: Photo) -> NDArray[np.float32]:
    """Settings as one array [P] float32, in the order of PHOTO_SIZES."""
    return np.concatenate([photo[name] for name in PHOTO_SIZES])
