"""CSIM: similarity of the persons in two pictures, by the user's face-recognition network."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.alignment import warp
from hidenerf.training.evaluation.features import FeatureNetwork

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

FACE_SIZE = 112
# Where ArcFace's training pictures have the subject's right eye and left eye, the nose's tip and the right and left
# corner of the mouth: InsightFace's template, whose pixel centres are at i.
TEMPLATE: Array = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# The landmarks, by MediaPipe's numbers, whose means those points are.
TEMPLATE_LANDMARKS = ((33, 133), (362, 263), (1,), (61,), (291,))


def recognition_network(path: Path) -> FeatureNetwork:
    """Load a face-recognition network [B, 3, 112, 112] → [B, D] with ArcFace's conventions (see `embeddings`)."""
    return FeatureNetwork(path, FACE_SIZE, "--recognition", "a face-recognition network")


def face_points(
    model: FaceModel, identity: NDArray[np.floating], expression: NDArray[np.floating], camera: NDArray[np.floating]
) -> Array:
    """The five points [5, 2] of a face, in [0, 1]² of its picture.

    identity: [K]. expression: [E]. camera: [25].
    Errors: the face model lacks a landmark.
    """
    number = {int(index): place for place, index in enumerate(model.landmark_index)}
    missing = [index for group in TEMPLATE_LANDMARKS for index in group if index not in number]
    if missing:
        raise HideNerfError(
            f"The face model {model.name} lacks the landmarks {missing}, by which faces are aligned for --recognition; "
            "leave the option out."
        )
    seen = project(model.landmarks(identity, expression).astype(np.float64), camera)
    return np.stack([seen[[number[index] for index in group]].mean(axis=0) for group in TEMPLATE_LANDMARKS])


def similarity(points: Array, onto: Array) -> Array:
    """Least-squares similarity transform [2, 3] from points [P, 2] to `onto` [P, 2]: rotation, scale, translation."""
    start, end = points.mean(axis=0), onto.mean(axis=0)
    # In the plane a turn with a scale is a complex factor.
    x, y = ((p - middle) @ np.array([1, 1j]) for p, middle in ((points, start), (onto, end)))
    factor = np.vdot(x, y) / np.vdot(x, x).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, end - turn @ start])


def aligned_face(picture: Picture, points: Array) -> Picture:
    """Face [112, 112, 3] aligned to the template. picture: [H, W, 3]. points: [5, 2], pixels."""
    # Here pixel centres are at i + 0.5.
    return warp(picture, similarity(points, TEMPLATE + 0.5), FACE_SIZE, cv2.BORDER_CONSTANT)


def embeddings(network: FeatureNetwork, pictures: Picture, points: Sequence[Array]) -> Array:
    """Unit embeddings [B, D] of faces.

    network: gets RGB as (x - 127.5) / 127.5, like InsightFace's ArcFace networks.
    pictures: [B, H, W, 3] uint8 RGB.
    points: of each, [5, 2] in [0, 1]².
    """
    size = np.array(pictures.shape[2:0:-1])
    faces = np.stack([aligned_face(picture, at * size) for picture, at in zip(pictures, points, strict=True)])
    features = network((faces.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
