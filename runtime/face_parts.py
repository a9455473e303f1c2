"""What the vertices of a face model belong to: skin, eyes, tongue, lips, the inside of the mouth."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel, Floats, Integers
from hidenerf.runtime.secc import secc

Array = NDArray[np.float64]

SKIN, EYE, TONGUE = range(3)

OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

# `mouth_inside` of what a mouth has inside: in the order of how bright it is.
TOOTH, INNER_TONGUE, GUM, CAVITY = 1.0, 0.6, 0.4, 0.2
# Heights y on the mean shape at which the upper gums begin and the lower ones end.
UPPER_GUMS, LOWER_GUMS = -0.29, -0.40


@lru_cache(maxsize=4)
def mouth_inside(face_model: FaceModel) -> Floats:
    """What each vertex of face and teeth is inside a mouth: [V + T] float32, TOOTH to CAVITY; 0 elsewhere."""
    part = parts_of(face_model.mean, face_model.triangles)
    known = [number in face_model.landmark_index for number in OUTER_LIPS]
    bag = mouth_weights(face_model, part)[1] if all(known) else np.zeros(len(part))
    face = np.where(part == TONGUE, INNER_TONGUE, CAVITY * bag)
    if face_model.teeth is None:
        return face.astype(np.float32)
    height = face_model.teeth.mean[:, 1]
    teeth = np.where((height > UPPER_GUMS) | (height < LOWER_GUMS), GUM, TOOTH)
    return np.concatenate([face, teeth]).astype(np.float32)


def parts_of(mean: NDArray[np.floating], triangles: Integers) -> NDArray[np.int8]:
    """Part of each vertex of a face model, [V] int8: SKIN, EYE or TONGUE.

    mean: [V, 3]. triangles: [F, 3].
    """
    piece = connected_pieces(triangles, len(mean))
    size = np.bincount(piece)
    # The skin is the largest piece. The tongue is centred at x = 0, the eyes are not.
    aside = np.abs(np.bincount(piece, mean[:, 0]) / np.maximum(size, 1)) > 0.1
    return np.where(piece == size.argmax(), SKIN, np.where(aside[piece], EYE, TONGUE)).astype(np.int8)


def connected_pieces(triangles: Integers, vertices: int) -> NDArray[np.intp]:
    """Connected piece of each vertex, [V]: the lowest vertex number in the piece.

    triangles: [F, 3]. vertices: V.
    """
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    label = np.arange(vertices)
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(lowest, edges[:, 1], label[edges[:, 0]])
        # A label is a vertex of the same piece, so taking that vertex's label doubles the reach of a round.
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            return label
        label = lowest


def _outlined_lips(model: FaceModel) -> Array:
    """Lip weight of each vertex, [V] in [0, 1]: 1 inside the outline of the outer lips, seen from in front."""
    order = {number: place for place, number in enumerate(model.landmark_index.tolist())}
    outline = model.landmark_mean[[order[number] for number in OUTER_LIPS]]
    contour = np.ascontiguousarray(outline[:, None, :2], np.float32)
    inside = np.array([cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x, y, _ in model.mean])
    in_front = model.mean[:, 2] > outline[:, 2].min() - 0.12
    return np.clip(0.5 + inside / 0.02, 0, 1) * in_front


def mouth_weights(
    model: FaceModel, part: NDArray[np.int8], lips: NDArray[np.floating] | None = None
) -> tuple[Array, Array]:
    """How far each vertex is lip and how far it is mouth bag, the inside of the mouth: [V] each, in [0, 1].

    part: [V], of `parts_of`.
    lips: [V], of the visible lips; None computes it from the model's landmarks. What the closed mouth hides is added:
        first as lip, further inside as mouth bag.
    """
    if lips is None:
        lips = _outlined_lips(model)
    # The z channel of the SECC is the depth of what the front sees.
    size = 512
    low, high = model.mean[:, 2].min(), model.mean[:, 2].max()
    frontal = secc(model.mean, model, size)[2] * (high - low) + low
    x, y, z = model.mean.T.astype(np.float64)
    column, row = np.clip(((np.stack([x, -y]) + 1) * size / 2).astype(int), 0, size - 1)
    hidden_by = frontal[row, column] - z
    near = (np.abs(x) < 0.25) & (y < -0.2) & (y > -0.55) & (z > -0.2) & (part == SKIN)
    lips = np.maximum(lips, smooth_step(hidden_by, 0.005, 0.03) * (near & (y > -0.45)))
    return lips * (part == SKIN), smooth_step(hidden_by, 0.03, 0.07) * near


def smooth_step(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """0 up to low, 1 from high on, 3t² - 2t³ between them; high may be the smaller one."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
