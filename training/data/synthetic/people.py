"""Synthetic people: random identity, hair, look, expressions and cameras of image pairs.

A pair depends on its number and seed alone. Numbers of training and of evaluation give different pairs. The
distributions are our choice, except that of expressions (`_TAKES`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hidenerf.runtime.camera import CANONICAL_FILL, HEAD_RADIUS, camera_from_head_pose, rotation_from_euler
from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.synthetic.heads import Style
from hidenerf.training.data.synthetic.photo_settings import Photo, random_photo, untouched
from hidenerf.training.data.synthetic.portraits import Portrait

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Entries of a look, the painter's parameters of a person, with the number of values of each. Colours are linear RGB,
# lengths world units. portrait: 1 + the number of the portrait whose colours are used, 0 without one.
# own_light_direction, own_ambient: see `Portrait`. relighting: share of the portrait's light that the look's replaces.
LOOK_SIZES = {
    "skin": 3,
    "lip": 3,
    "hair": 3,
    "cap": 3,
    "eye_shadow": 3,
    "brow": 3,
    "iris": 3,
    "teeth": 3,
    "cloth": 3,
    "second_cloth": 3,
    "noise_offset": 3,
    "unevenness": 1,
    "freckles": 1,
    "blush": 1,
    "eye_bags": 1,
    "shine": 1,
    "gloss": 1,
    "beard": 1,
    "moustache": 1,
    "stubble_length": 1,
    "brow_thickness": 1,
    "brow_height": 1,
    "brow_tilt": 1,
    "brow_density": 1,
    "lashes": 1,
    "eye_shadow_strength": 1,
    "iris_radius": 1,
    "pupil_radius": 1,
    "hair_contrast": 1,
    "hair_shine": 1,
    "parting": 1,
    "capped": 1,
    "stripes": 1,
    "stripe_frequency": 1,
    "collar": 1,
    "neckline": 1,
    "fading": 1,
    "key_direction": 3,
    "key": 3,
    "fill_direction": 3,
    "fill": 3,
    "sky": 3,
    "ground": 3,
    "portrait": 1,
    "own_light_direction": 3,
    "own_ambient": 1,
    "relighting": 1,
}
Look = dict[str, Floats]

# Largest angles of heads, degrees.
YAW, PITCH, ROLL = 45.0, 25.0, 20.0
# Full field of view, degrees: smallest, largest of portraits, largest.
FOV = (10.0, 24.0, 40.0)

# Of the pairs of portraits, so many have the photograph itself as their source.
PHOTOGRAPHED = 0.4

# Standard deviation of the identity coefficients added to a portrait's, for a person who has only its skin.
_ALIKE = 0.12

# Keys of independent random streams.
_TRAINING, _HELD_OUT, _PORTRAITS = 1, 2, 3


@dataclass(frozen=True)
class Person:
    """One synthetic person.

    identity: [K] coefficients of the face model.
    style: shape of hair and body.
    look: arrays by the names of LOOK_SIZES.
    """

    identity: Floats
    style: Style
    look: Look


@dataclass(frozen=True)
class Pair:
    """One person in two pictures: the source, and the target, which is the driving frame.

    source_expression, expression: [E] of source and target.
    source_camera, camera: [25] of source and target.
    photo: settings of the camera that took both, see PHOTO_SIZES.
    photograph: 1 + the number of the portrait whose photograph is the source picture; 0 where that is drawn.
    """

    person: Person
    source_expression: Floats
    source_camera: Floats
    expression: Floats
    camera: Floats
    photo: Photo = field(default_factory=untouched)
    photograph: int = 0


def make_pair(model: FaceModel, number: int, seed: int = 0) -> Pair:
    """Training pair `number` of the set with this seed."""
    return _pair(model, _random(_TRAINING, number, seed))


def make_portrait_pair(model: FaceModel, portraits: Sequence[Portrait], share: float, number: int, seed: int) -> Pair:
    """Training pair `number` of the set with this seed; its person may be one of the portraits.

    Some of those have the photograph as their source: what real pictures look like, with drawn targets in other poses
    and expressions, which real pictures lack.
    portraits: real people to choose from; empty gives `make_pair`.
    share: probability of a portrait, in [0, 1].
    """
    pair = make_pair(model, number, seed)
    random = _random(_PORTRAITS, number, seed)
    if not portraits or random.random() >= share:
        return pair
    chosen = int(random.integers(len(portraits)))
    person = portrait_person(portraits[chosen], chosen, pair.person.look, random)
    photo = random_photo(random)
    if random.random() < PHOTOGRAPHED:
        return photographed(pair, person.look, portraits[chosen], chosen)
    return replace(pair, person=person, photo=photo)


def photographed(pair: Pair, look: Look, portrait: Portrait, number: int) -> Pair:
    """A pair whose source is a photograph; the target has its features and light, as no camera has changed them.

    pair: supplies the target's expression and camera; where they are the source's, they are the photograph's.
    look: of the portrait, as `portrait_person` has it.
    number: of the portrait in the painter's textures and photographs.
    """
    look = {**look, "relighting": np.zeros(1, np.float32)}
    same_expression = np.array_equal(pair.expression, pair.source_expression)
    same_camera = np.array_equal(pair.camera, pair.source_camera)
    return Pair(
        person=Person(portrait.identity, portrait.style, look),
        source_expression=portrait.expression,
        source_camera=portrait.camera,
        expression=portrait.expression if same_expression else pair.expression,
        camera=portrait.camera if same_camera else pair.camera,
        photograph=1 + number,
    )


def portrait_person(portrait: Portrait, number: int, look: Look, random: Generator) -> Person:
    """A person with the skin of a portrait: the portrait's own person, or one with other features.

    number: of the portrait in the painter's textures.
    look: supplies what a portrait does not have, such as light and teeth.
    """
    own = {
        "portrait": 1 + number,
        "own_light_direction": portrait.light_direction,
        "own_ambient": portrait.ambient,
        "relighting": 0.0 if random.random() < 0.3 else random.uniform(0.3, 0.9),
        "lashes": random.uniform(0.2, 0.6),
        "hair_contrast": random.uniform(0.15, 0.4),
        "capped": 0.0,
        "fading": 0.0,
    }
    if portrait.iris is not None:
        own["iris"] = portrait.iris
    changed = {name: np.asarray(value, np.float32).reshape(-1) for name, value in own.items()}
    count = len(portrait.identity)
    other = random.normal(0, _ALIKE, count) * (random.random(count) < 0.5) if random.random() < 0.5 else 0.0
    identity = np.clip(portrait.identity + other, -1, 1).astype(np.float32)
    return Person(identity, portrait.style, {**look, **changed})


def make_held_out_pair(model: FaceModel, number: int) -> Pair:
    """Evaluation pair `number`; its person is none of those of `make_pair`."""
    return _pair(model, _random(_HELD_OUT, number, 0))


def _random(purpose: int, number: int, seed: int) -> Generator:
    """Random numbers of pair `number`, independent of other purposes, numbers and seeds."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, number)))


def pack_look(look: Look) -> Floats:
    """A look as one array [L] float32, in the order of LOOK_SIZES."""
    return np.concatenate([np.reshape(look[name], size) for name, size in LOOK_SIZES.items()]).astype(np.float32)


def _pair(model: FaceModel, random: Generator) -> Pair:
    """A random person, with random expressions and cameras for source and target."""
    person = random_person(model, random)
    source_pose, pose = random_pose(random), random_pose(random)
    # Prepared sources are upright crops around the head.
    source_pose = Pose(source_pose.yaw, source_pose.pitch, 0.15 * source_pose.roll, source_pose.fov)
    source_expression = random_expression(model, random, source_pose, mild=random.random() < 0.7)
    expression = random_expression(model, random, pose, mild=False)
    source_camera = random_camera(random, source_pose, jitter=0.3)
    camera = random_camera(random, pose, jitter=1.0)
    kind = random.random()
    if kind < 0.15:
        camera = source_camera
    elif kind < 0.30:
        expression = source_expression
    return Pair(person, source_expression, source_camera, expression, camera)


def random_person(model: FaceModel, random: Generator) -> Person:
    """A random person without a portrait."""
    maleness = random.choice([-1.0, 1.0]) * random.uniform(0.1, 0.9)
    age = float(np.clip(random.normal(0.15, 0.3), -0.4, 0.9))
    style, cap = _random_style(random, maleness)
    return Person(
        identity=_random_identity(model, random, maleness, age),
        style=style,
        look=_random_look(random, maleness, age, cap, fading=not style.body and random.random() < 0.5),
    )


def _random_identity(model: FaceModel, random: Generator, maleness: float, age: float) -> Floats:
    """Identity coefficients [K]. maleness: -1 to 1, the coefficient `gender`. age: -1 to 1."""
    names = np.array(model.identity_names)
    spread = np.full(len(names), 0.33)
    spread[np.char.startswith(names, "head-") | np.char.startswith(names, "forehead-")] = 0.18
    # Coefficients that fitting penalises most are small here too.
    spread[model.identity_prior > 1] = 0.05
    identity = random.normal(0, 1, len(names)) * spread * (random.random(len(names)) < 0.65)
    identity[names == "gender"] = maleness
    identity[names == "age"] = age
    identity[names == "weight"] = random.normal(0, 0.35)
    return np.clip(identity, -1, 1).astype(np.float32)


def _random_style(random: Generator, maleness: float) -> tuple[Style, bool]:
    """A style, and whether its hair is a cap. maleness: -1 to 1."""
    kind = random.random()
    cap, bald = kind < 0.08, 0.08 <= kind < 0.08 + (0.10 if maleness > 0 else 0.01)
    long_hair = not bald and random.random() < (0.65 if maleness < 0 else 0.08)
    hairline = np.array([-0.45, -0.30, -0.05, 0.24, 0.46, 0.50]) + random.normal(0, 0.03) + random.normal(0, 0.02, 6)
    if cap:
        hairline = np.array([0.0, 0.05, 0.12, 0.22, 0.30, 0.30]) + random.normal(0, 0.04)
    elif random.random() < 0.2:
        # A fringe.
        hairline[4:] -= random.uniform(0.05, 0.17)
    elif maleness > 0 and random.random() < 0.2:
        # A receding hairline.
        hairline[3:] += np.array([0.15, 0.22, 0.25]) * random.random()
    thickness = float(random.choice([0.015, 0.04, 0.08, 0.12, 0.2], p=[0.15, 0.3, 0.33, 0.17, 0.05]))
    if long_hair:
        thickness = random.uniform(0.06, 0.12)
    style = Style(
        hairline=tuple(hairline.tolist()),
        thickness=0.0 if bald else 0.05 if cap else thickness * random.uniform(0.8, 1.2),
        top=0.0 if cap or random.random() < 0.6 else random.uniform(0, 0.06),
        unevenness=0.05 if cap else random.uniform(0.05, 0.4),
        phase=tuple(random.uniform(0, 2 * np.pi, 3).tolist()),
        curtain_end=random.uniform(-0.95, -0.25) if long_hair else None,
        curtain_opening=np.radians(random.uniform(95, 140)),
        waves=random.choice([0.0, 0.012, 0.03]),
        body=random.random() < 0.7,
    )
    return style, cap


def _random_look(random: Generator, maleness: float, age: float, cap: bool, fading: bool) -> Look:
    """A look. maleness: -1 to 1. age: -1 to 1. cap: whether the hair is a cap. fading: whether the neck fades out."""
    tone = random.random() * (len(_SKIN_TONES) - 1)
    lower = int(tone)
    skin = _SKIN_TONES[lower] + (tone - lower) * (
        _SKIN_TONES[min(lower + 1, len(_SKIN_TONES) - 1)] - _SKIN_TONES[lower]
    )
    skin = np.minimum(skin * np.exp(random.normal(0, 0.04, 3)) * np.array([1.03, 0.98, 0.97]), 0.85)
    darkness = tone / (len(_SKIN_TONES) - 1)

    weights = np.array([0.35, 0.25, 0.15, 0.1, 0.07, 0.08])
    if darkness > 0.5:
        weights = np.array([0.75, 0.2, 0.03, 0.0, 0.0, 0.02])
    if age > 0.5:
        weights = weights * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 8.0])
    hair = _HAIR_COLOURS[random.choice(len(_HAIR_COLOURS), p=weights / weights.sum())] * random.uniform(0.7, 1.1)
    brow = np.minimum(hair, 0.35) * random.uniform(0.4, 0.8)
    if random.random() < 0.03:
        hair = random.random(3) * 0.4
    irises = np.array([0.35, 0.25, 0.2, 0.2]) if darkness < 0.5 else np.array([0.03, 0.02, 0.05, 0.9])
    iris = _IRIS_COLOURS[random.choice(len(_IRIS_COLOURS), p=irises)] * random.uniform(0.7, 1.4)
    female = maleness < 0
    painted = female and random.random() < 0.6
    lip = skin * np.array([0.85, 0.55, 0.55]) + (0.1 * darkness + 0.02) * np.array([0.5, 0.1, 0.15])
    if painted:
        strength = random.uniform(0.2, 0.8)
        lip = lip * (1 - strength) + strength * random.uniform(0.3, 1.0) * np.array(
            [0.55, random.uniform(0.03, 0.2), random.uniform(0.05, 0.2)]
        )
    bearded = not female and random.random() < 0.5
    cloth, second_cloth = random.random(3) ** 2 * 0.6 + 0.01, random.random(3) ** 2 * 0.7 + 0.01
    if random.random() < 0.4:
        cloth = np.full(3, cloth.mean())
    warmth = random.normal(0, 0.08)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    side = random.normal(0, 0.7)
    key_direction = np.array([side, random.normal(0.45, 0.4), 1.0])
    fill_direction = np.array([-np.sign(side) * random.uniform(0.5, 1.5), random.normal(0, 0.3), 0.6])
    # Photographs of darker skin are exposed longer, if not fully as much.
    exposure = (0.25 / skin.mean()) ** 0.4
    key = exposure * random.uniform(0.75, 1.35)
    sky = exposure * random.uniform(0.15, 0.45)
    values = {
        "skin": skin,
        "lip": lip,
        "hair": hair,
        "cap": random.random(3) ** 2 * 0.5 + 0.01,
        "eye_shadow": skin * np.array([0.45, 0.4, 0.5]) + 0.1 * random.random(3),
        "brow": brow,
        "iris": iris,
        "teeth": np.array([0.80, 0.75, 0.64]) * random.uniform(0.75, 1.0),
        "cloth": cloth,
        "second_cloth": second_cloth,
        "noise_offset": random.random(3),
        "unevenness": random.uniform(0.3, 1.0) + 0.4 * max(age, 0),
        "freckles": random.uniform(0.2, 0.7) if darkness < 0.4 and random.random() < 0.2 else 0.0,
        "blush": random.uniform(0.1, 0.5),
        "eye_bags": random.uniform(0, 0.5) + 0.3 * max(age, 0),
        "shine": random.uniform(0.3, 1.2),
        "gloss": random.uniform(0.5, 2.0) if painted else random.uniform(0.2, 0.8),
        "beard": random.uniform(0.15, 0.95) if bearded and random.random() < 0.8 else 0.0,
        "moustache": random.uniform(0.2, 0.95) if bearded else 0.0,
        "stubble_length": random.random(),
        "brow_thickness": random.uniform(0.016, 0.030) if female else random.uniform(0.021, 0.036),
        "brow_height": random.normal(0, 0.010),
        "brow_tilt": random.normal(0, 0.03),
        "brow_density": random.uniform(0.45, 0.95),
        "lashes": random.uniform(0.6, 1.0) if female else random.uniform(0.3, 0.7),
        "eye_shadow_strength": random.uniform(0.1, 0.6) if painted else 0.0,
        "iris_radius": random.uniform(0.039, 0.046),
        "pupil_radius": random.uniform(0.014, 0.022),
        "hair_contrast": random.uniform(0.25, 0.7),
        "hair_shine": random.uniform(0.1, 0.8),
        "parting": random.normal(0, 0.15),
        "capped": float(cap),
        "stripes": random.choice([0.0, 0.0, 0.6, 1.0]),
        "stripe_frequency": random.uniform(15, 50),
        "collar": random.uniform(0.18, 0.42),
        "neckline": random.choice([0.0, 0.0, 0.25, 0.5]),
        "fading": float(fading),
        "key_direction": key_direction / np.linalg.norm(key_direction),
        "key": key * tint,
        "fill_direction": fill_direction / np.linalg.norm(fill_direction),
        "fill": random.uniform(0, 0.35) * key * (1 + random.normal(0, 0.08, 3)),
        "sky": sky * (1 + random.normal(0, 0.06, 3)),
        "ground": sky * random.uniform(0.3, 0.8) * (1 + random.normal(0, 0.08, 3)),
        "portrait": 0.0,
        "own_light_direction": [0.0, 0.0, 1.0],
        "own_ambient": 1.0,
        "relighting": 1.0,
    }
    return {name: np.asarray(value, np.float32).reshape(-1) for name, value in values.items()}


@dataclass(frozen=True)
class Pose:
    """Rotation of a head relative to the direction to the viewer, and the camera's full field of view; degrees."""

    yaw: float
    pitch: float
    roll: float
    fov: float


def random_pose(random: Generator) -> Pose:
    """A random pose: angles up to ±YAW, ±PITCH and ±ROLL, mostly small; in 80 % a portrait's field of view."""
    yaw, pitch, roll = (2 * random.beta(2.2, 2.2, 3) - 1) * np.array([YAW, PITCH, ROLL])
    least, usual, most = FOV
    fov = random.uniform(least, usual) if random.random() < 0.8 else random.uniform(usual, most)
    return Pose(float(yaw), float(pitch), float(roll), fov)


def random_camera(random: Generator, pose: Pose, jitter: float) -> Floats:
    """A camera [25] that sees a head in this pose, near the middle and near the size CANONICAL_FILL.

    jitter: factor on the deviations from that position and size. Half of the pictures are crops: their principal point
    is not in the middle.
    """
    focal = 0.5 / np.tan(np.radians(pose.fov) / 2)
    fill = CANONICAL_FILL * np.exp(np.clip(random.normal(0, 0.10), -0.25, 0.22) * jitter)
    centre = 0.5 + np.clip(random.normal(0, 0.04, 2), -0.1, 0.1) * jitter
    aside = np.tan(np.radians(np.clip(random.normal(0, 5, 2), -12, 12))) * (random.random() < 0.5)
    direction = np.append(aside, 1.0)
    depth = HEAD_RADIUS / (fill * np.tan(np.radians(pose.fov) / 2))
    principal = centre - focal * aside
    intrinsics = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    # The pose is relative to the line of sight, as a picture shows it.
    rotation = _facing(direction) @ rotation_from_euler(pose.yaw, pose.pitch, pose.roll)
    return camera_from_head_pose(rotation, depth * direction, intrinsics)


def _facing(direction: Array) -> Array:
    """Rotation [3, 3], in the world's axes, of a head at a direction [3] in camera axes that looks into the camera."""
    yaw, pitch = -np.degrees(np.arctan(direction[0])), -np.degrees(np.arctan(direction[1]))
    return rotation_from_euler(float(yaw), float(pitch), 0.0)


def random_expression(model: FaceModel, random: Generator, pose: Pose, mild: bool) -> Floats:
    """A random expression [E] in [0, 1]: as in takes (45 %), a few actions (27 %), one action (20 %), or none (8 %).

    pose: of the head; half of the gazes go into the camera.
    mild: whether to scale it down to at most half, as on portraits.
    """
    names = model.expression_names
    expression = np.zeros(len(names))
    kind = random.random()
    if kind < 0.45:
        modes = random.normal(0, 1, 4)
        for action, (mean, *components, rest) in _TAKES.items():
            _put(expression, names, action, mean + np.dot(modes, components) + rest * random.normal())
        sided = np.array([name.endswith(("Left", "Right")) for name in names])
        expression *= (1 + 0.12 * random.normal(0, 1, len(names)) * sided) * random.uniform(0.4, 1.3)
    elif kind < 0.72:
        chosen = random.choice(len(names), random.integers(1, 5), replace=False)
        expression[chosen] = random.random(len(chosen))
        for action, share in _FREQUENT.items():
            if random.random() < share:
                _put(expression, names, action, random.random())
    elif kind < 0.92:
        action = names[random.integers(len(names))]
        if random.random() < 0.4:
            action = random.choice(list(_FREQUENT))
        if random.random() < 0.6 and not action.startswith(_NOT_ON_BOTH_SIDES):
            action = action.removesuffix("Left").removesuffix("Right")
        _put(expression, names, action, random.random() ** 0.5)
    if kind < 0.72:
        if random.random() < 0.12:
            _put(expression, names, "eyeBlink", random.random() ** 0.5)
        for action, value in _random_gaze(random, pose).items():
            _put(expression, names, action, value)
        if random.random() < 0.95:
            _put(expression, names, "tongueOut", 0.0)
    if mild:
        expression *= random.uniform(0, 0.5)
    expression = np.clip(expression, 0, 1)
    # Lips that the jaw has not parted cannot be closed further.
    closing = names.index("mouthClose")
    expression[closing] = min(expression[closing], expression[names.index("jawOpen")])
    return expression.astype(np.float32)


def _put(expression: Array, names: tuple[str, ...], action: str, value: float) -> None:
    """Set an action in `expression` [E]: on both sides, if it has two and its name has no side."""
    for place, name in enumerate(names):
        if name in (action, f"{action}Left", f"{action}Right"):
            expression[place] = value


def _random_gaze(random: Generator, pose: Pose) -> dict[str, float]:
    """Values of the actions that turn the eyes, by name; a pair without a side is set on both eyes."""
    sideways, upwards = random.normal(0, 0.25, 2)
    if random.random() < 0.5:
        # Into the camera, nearly.
        sideways, upwards = 0.3 * sideways - pose.yaw / 40, 0.3 * upwards + pose.pitch / 35
    left, right = ("Out", "In") if sideways > 0 else ("In", "Out")
    return {
        f"eyeLook{left}Left": abs(sideways),
        f"eyeLook{right}Right": abs(sideways),
        "eyeLookUp" if upwards > 0 else "eyeLookDown": abs(upwards),
    }


def _linear(colours: list[list[float]] | list[str]) -> Array:
    """sRGB colours, in [0, 1] or hexadecimal, as linear RGB [n, 3]."""
    rows = [list(bytes.fromhex(c)) if isinstance(c, str) else [255 * x for x in c] for c in colours]
    return (np.array(rows) / 255) ** 2.2


# The ten skin tones of the Monk scale, but for the two lightest, which are paler than photographed skin.
_SKIN_TONES = _linear(
    ["f2dcc8", "eecfb4", "e3bd9c", "d2a47e", "b98860", "a07453", "825c43", "604134", "4a342a", "382821"]
)
# Black, dark brown, brown, blond, red, grey.
_HAIR_COLOURS = _linear(["1c1817", "38281f", "5f4330", "b18d5b", "8a4524", "a5a29e"])
# Blue, green, hazel, brown.
_IRIS_COLOURS = _linear(["6d92b8", "6f8a5e", "7d6338", "4a2c17"])

# Probabilities with which common actions are added to a few random ones.
_FREQUENT = {"jawOpen": 0.35, "mouthPucker": 0.2, "mouthSmile": 0.2, "browInnerUp": 0.1, "eyeBlink": 0.1}
_NOT_ON_BOTH_SIDES = ("jaw", "mouthLeft", "mouthRight", "eyeLook")

# Statistics of three takes with strong expressions, one of ARKit and two tracked by MediaPipe, with equal weights, left
# and right averaged: mean, the four largest principal components times their standard deviations, and the standard
# deviation of the rest.
_TAKES = {
    "browDown": (0.08, -0.10, -0.16, -0.04, 0.09, 0.05),
    "browInnerUp": (0.42, 0.32, 0.04, -0.08, 0.08, 0.04),
    "browOuterUp": (0.38, 0.36, 0.02, -0.08, 0.10, 0.03),
    "cheekPuff": (0.02, 0.01, -0.02, 0.02, 0.00, 0.02),
    "cheekSquint": (0.04, -0.05, -0.09, -0.02, 0.07, 0.03),
    "eyeSquint": (0.25, -0.18, 0.00, -0.07, -0.06, 0.10),
    "eyeWide": (0.07, 0.09, -0.03, 0.05, 0.02, 0.15),
    "jawForward": (0.03, 0.00, -0.01, 0.03, 0.02, 0.04),
    "jawOpen": (0.26, 0.11, 0.02, 0.19, 0.02, 0.13),
    "mouthClose": (0.07, 0.05, -0.04, 0.12, -0.02, 0.08),
    "mouthDimple": (0.06, -0.04, -0.09, -0.02, 0.06, 0.03),
    "mouthFrown": (0.06, 0.05, -0.05, 0.11, -0.01, 0.09),
    "mouthFunnel": (0.13, 0.06, -0.04, 0.06, 0.02, 0.07),
    "mouthLowerDown": (0.14, -0.06, 0.07, 0.11, 0.06, 0.06),
    "mouthPress": (0.05, -0.04, -0.06, -0.02, 0.04, 0.02),
    "mouthPucker": (0.15, 0.10, -0.05, 0.03, -0.05, 0.14),
    "mouthRollLower": (0.05, -0.03, -0.08, 0.00, 0.03, 0.02),
    "mouthRollUpper": (0.04, 0.01, -0.02, 0.05, 0.00, 0.04),
    "mouthShrugLower": (0.06, -0.06, -0.14, -0.02, 0.07, 0.04),
    "mouthShrugUpper": (0.09, -0.03, -0.05, 0.04, 0.07, 0.09),
    "mouthSmile": (0.29, -0.18, 0.25, 0.00, 0.14, 0.08),
    "mouthStretch": (0.13, -0.02, -0.02, 0.13, 0.06, 0.06),
    "mouthUpperUp": (0.17, -0.10, 0.08, 0.00, 0.10, 0.06),
    "noseSneer": (0.06, -0.06, -0.11, 0.00, 0.09, 0.04),
}
