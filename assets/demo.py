"""The demonstration's portrait and motion: a made-up person who talks, so that nobody's picture has to be shipped.

The shipped files in `runtime/data` are older than the painter in use: `make_demo_source` makes the same person in the
same pose and expression, painted differently.
"""

import dataclasses
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.assets.portraits import BALD, PortraitPainter, make_look
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.motion import Motion
from hidenerf.runtime.sources.source import Source
from hidenerf.training.data.synthetic.heads import make_head_mesh
from hidenerf.training.data.synthetic.people import Person

Array = NDArray[np.float64]

SIZE = 256
FPS = 25
SECONDS = 5
# The painter's own supersampling comes on top.
_SUPERSAMPLING = 2

_IDENTITY = {
    "gender": -0.35,
    "age": 0.25,
    "weight": -0.3,
    "chin-width-incr": -0.35,
    "chin-prominent-incr": 0.3,
    "cheek-bones-incr.symmetric": 0.4,
    "cheek-volume-incr.symmetric": -0.25,
    "mouth-scale-horiz-incr": 0.25,
    "mouth-lowerlip-volume-incr": 0.35,
    "nose-scale-horiz-incr": -0.3,
    "nose-hump-incr": 0.25,
    "nose-point-up": 0.2,
    "eye-scale-incr.symmetric": 0.25,
    "eye-corner2-up.symmetric": 0.2,
    "eye-trans-up.antisymmetric": 0.05,
    "mouth-trans-out": 0.04,
    "head-scale-horiz-incr": -0.15,
}
_EXPRESSION = {"mouthSmileLeft": 0.18, "mouthSmileRight": 0.15, "browInnerUp": 0.08}
_STYLE = dataclasses.replace(
    BALD,
    hairline=(-0.45, -0.30, -0.02, 0.24, 0.44, 0.48),
    thickness=0.07,
    top=0.05,
    unevenness=0.25,
    phase=(1.0, 2.0, 3.0),
)
_LOOK = make_look(
    skin=(0.56, 0.31, 0.21),
    lip=(0.45, 0.17, 0.14),
    hair=(0.03, 0.014, 0.008),
    brow=(0.02, 0.01, 0.007),
    iris=(0.10, 0.15, 0.10),
    blush=0.35,
    brow_density=0.85,
    lashes=0.8,
    key_direction=(0.45, 0.4, 1.0),
    noise_offset=(0.2, 0.4, 0.6),
)

# What is said between 0.3 s and 3.5 s, a mouth shape every 0.16 s: it means nothing, but it looks like speech. Actions
# without a side are done on both.
_SYLLABLE_SECONDS = 0.16
_SPEECH_START = 0.3
_SPEECH = "MA.EFO.AMUE.IALO.FEMA"
_MOUTH_SHAPES = {
    "A": {"jawOpen": 0.48, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    "E": {"jawOpen": 0.24, "mouthStretch": 0.4, "mouthSmile": 0.15},
    "I": {"jawOpen": 0.12, "mouthSmile": 0.35, "mouthUpperUp": 0.15},
    "O": {"jawOpen": 0.34, "mouthFunnel": 0.65},
    "U": {"jawOpen": 0.14, "mouthPucker": 0.75},
    "L": {"jawOpen": 0.28, "tongueOut": 0.12, "mouthLowerDown": 0.2},
    "M": {"mouthPress": 0.5, "mouthRollLower": 0.2, "mouthRollUpper": 0.2},
    "F": {"jawOpen": 0.08, "mouthRollLower": 0.55, "mouthUpperUp": 0.25},
    ".": {"jawOpen": 0.05},
}
# Other gestures: action, middle and half width in seconds, height.
_GESTURES = (
    ("eyeBlink", 0.92, 0.14, 1.0),
    ("eyeBlink", 2.50, 0.16, 1.0),
    ("eyeBlink", 4.30, 0.15, 1.0),
    ("browInnerUp", 1.50, 0.60, 0.7),
    ("browOuterUp", 1.50, 0.55, 0.45),
    ("browDown", 2.75, 0.45, 0.5),
    ("mouthSmile", 4.00, 0.85, 0.75),
    ("cheekSquint", 4.00, 0.80, 0.5),
    ("eyeSquint", 4.00, 0.80, 0.35),
    ("jawOpen", 4.05, 0.70, 0.12),
)


def make_demo_source(model: FaceModel) -> Source:
    """The demonstration's portrait, 256×256, of a person made up for it. model: the default face model."""
    identity = _coefficients(model.identity_names, _IDENTITY)
    expression = _coefficients(model.expression_names, _EXPRESSION)
    camera = canonical_camera(yaw=-9.0, pitch=2.0, roll=-1.5)
    painter = PortraitPainter(make_head_mesh(model), SIZE * _SUPERSAMPLING)
    portrait = painter.paint(Person(identity, _STYLE, _LOOK), expression, camera)
    mask = _to_8_bits(_shrink(portrait.alpha))
    return Source(
        picture=np.minimum(_to_8_bits(_shrink(portrait.picture)), mask[..., None]),
        mask=mask,
        background=_to_8_bits(_background()),
        camera=camera,
        identity=identity,
        expression=expression,
        face_model=model.name,
    )


def make_demo_motion(model: FaceModel) -> Motion:
    """The demonstration's motion: speech, blinks, brows, a smile and slow turns of the head by ±20°, fit to loop."""
    seconds = np.arange(FPS * SECONDS) / FPS
    gestures = list(_GESTURES)
    for number, sound in enumerate(_SPEECH):
        middle = _SPEECH_START + number * _SYLLABLE_SECONDS
        for action, height in _MOUTH_SHAPES[sound].items():
            gestures.append((action, middle, _SYLLABLE_SECONDS, height))
    expression = np.zeros((len(seconds), len(model.expression_names)))
    for action, middle, half_width, height in gestures:
        sides = [name for name in model.expression_names if name in (action, f"{action}Left", f"{action}Right")]
        for name in sides:
            expression[:, model.expression_names.index(name)] += height * _bell(seconds, middle, half_width)
    turn = 2 * np.pi * seconds / SECONDS
    camera = np.stack(
        [
            canonical_camera(yaw=yaw, pitch=pitch, roll=roll)
            for yaw, pitch, roll in zip(20 * np.sin(turn), 4 * np.sin(2 * turn), 3 * np.sin(turn + 0.8), strict=True)
        ]
    )
    return Motion(
        face_model=model.name,
        expression_names=model.expression_names,
        expression=np.clip(expression, 0, 1).astype(np.float32),
        camera=camera,
        tracked=np.ones(len(seconds), np.bool_),
        fps=Fraction(FPS),
    )


def _bell(seconds: Array, middle: float, half_width: float) -> Array:
    """A raised cosine of height 1; such bells half a width apart add up to 1."""
    phase = np.clip((seconds - middle) / half_width, -1, 1)
    return 0.5 + 0.5 * np.cos(np.pi * phase)


def _coefficients(names: tuple[str, ...], values: dict[str, float]) -> NDArray[np.float32]:
    coefficients = np.zeros(len(names), np.float32)
    for name, value in values.items():
        coefficients[names.index(name)] = value
    return coefficients


def _background() -> Array:
    """A wall lit from the upper left, [SIZE, SIZE, 3] in [0, 1]."""
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    light = np.exp(-((x - 0.3) ** 2 + (y - 0.25) ** 2) / 0.5)[..., None]
    return np.array([0.30, 0.36, 0.42]) + light * np.array([0.34, 0.33, 0.30])


def _shrink(picture: Array) -> Array:
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float64)


def _to_8_bits(picture: Array) -> NDArray[np.uint8]:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
