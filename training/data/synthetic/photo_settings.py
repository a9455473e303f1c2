"""How two pictures of a person were taken, from random numbers; no part of this imports torch."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

# What `photography.Camera` needs to know of a pair of pictures, and how many numbers each takes: a
# power, factors and a share that grade both alike; the colour of what is behind the person; the deviations of blur, in
# pixels, and of noise at middle grey; where the noise of each of the two pictures comes from, in [0, 1); the quality of
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
    """The settings of a camera that shows what there is."""
    ones = ("gamma", "gain", "gain_of_colour", "saturation")
    return {name: np.full(size, float(name in ones), np.float32) for name, size in PHOTO_SIZES.items()}


def random_photo(random: Generator) -> Photo:
    """Half of the pictures are as good as untouched, but for their grading; others are what telephones make of it."""
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
    """All numbers, in the order of PHOTO_SIZES."""
    return np.concatenate([photo[name] for name in PHOTO_SIZES])
