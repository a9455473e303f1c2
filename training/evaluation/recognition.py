"""Similarity of the persons in two pictures, by a face-recognition network: CSIM and ID distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


@dataclass(frozen=True, eq=False)
class FaceConvention:
    """How a recognition network wants its faces.

    size: side of the picture.
    template: [5, 2], where five points of the face fall in it, pixels; pixel centres are at i.
    landmarks: MediaPipe's numbers of the landmarks whose means those points are.
    mean, divisor: subtracted from red, green and blue in [0, 255]; then divided by.
    distances: whether Euclidean distances of the embeddings, as they are, tell people apart.
    """

    size: int
    template: Array
    landmarks: tuple[tuple[int, ...], ...]
    mean: tuple[float, float, float]
    divisor: float
    distances: bool


# Where ArcFace's training pictures have the subject's right eye and left eye, the nose's tip and the right and left
# corner of the mouth: InsightFace's template.
ARCFACE = FaceConvention(
    size=112,
    template=np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    ),
    landmarks=((33, 133), (362, 263), (1,), (61,), (291,)),
    mean=(127.5, 127.5, 127.5),
    divisor=127.5,
    distances=False,
)
# dlib's face chips with a margin of a quarter on each side: the corners of the subject's left and right eye, the outer
# one first, and below the nose. Two faces with a distance below 0.6 are taken for one person.
DLIB = FaceConvention(
    size=150,
    template=150
    * (np.array([[0.8596, 0.2135], [0.6461, 0.2290], [0.1206, 0.2137], [0.3341, 0.2291], [0.4901, 0.6278]]) + 0.25)
    / 1.5,
    landmarks=((263,), (362,), (33,), (133,), (2,)),
    mean=(122.782, 117.001, 104.298),
    divisor=256.0,
    distances=True,
)
CONVENTIONS = {convention.size: convention for convention in (ARCFACE, DLIB)}


class FaceRecogniser(NamedTuple):
    """A recognition network, and how it wants its faces."""

    network: FeatureNetwork
    convention: FaceConvention

    @property
    def distances(self) -> bool:
        """Whether distances of its embeddings tell people apart."""
        return self.convention.distances


def face_recogniser(path: Path) -> FaceRecogniser:
    """Load a face-recognition network; the side of its input tells the convention: 112 ArcFace's, 150 dlib's."""
    network = FeatureNetwork(path, list(CONVENTIONS), "--recognition", "a face-recognition network")
    return FaceRecogniser(network, CONVENTIONS[network.side])


def face_points(
    convention: FaceConvention,
    model: FaceModel,
    identity: NDArray[np.floating],
    expression: NDArray[np.floating],
    camera: NDArray[np.floating],
) -> Array:
    """The five points [5, 2] of a face that a convention names, in [0, 1]² of its picture.

    identity: [K]. expression: [E]. camera: [25].
    Errors: the face model lacks a landmark.
    """
    number = {int(index): place for place, index in enumerate(model.landmark_index)}
    missing = [index for group in convention.landmarks for index in group if index not in number]
    if missing:
        raise HideNerfError(
            f"The face model {model.name} lacks the landmarks {missing}, by which faces are aligned for --recognition; "
            "leave the option out."
        )
    seen = project(model.landmarks(identity, expression).astype(np.float64), camera)
    return np.stack([seen[[number[index] for index in group]].mean(axis=0) for group in convention.landmarks])


def similarity(points: Array, onto: Array) -> Array:
    """Least-squares similarity transform [2, 3] from points [P, 2] to `onto` [P, 2]: rotation, scale, translation."""
    start, end = points.mean(axis=0), onto.mean(axis=0)
    # In the plane a turn with a scale is a complex factor.
    x, y = ((p - middle) @ np.array([1, 1j]) for p, middle in ((points, start), (onto, end)))
    factor = np.vdot(x, y) / np.vdot(x, x).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, end - turn @ start])


def aligned_face(convention: FaceConvention, picture: Picture, points: Array) -> Picture:
    """Face [size, size, 3] aligned to a convention's template. picture: [H, W, 3]. points: [5, 2], pixels."""
    # Here pixel centres are at i + 0.5.
    return warp(picture, similarity(points, convention.template + 0.5), convention.size, cv2.BORDER_CONSTANT)


def embeddings(recogniser: FaceRecogniser, pictures: Picture, points: Sequence[Array]) -> Array:
    """Embeddings [B, D] of faces, as the network gives them.

    pictures: [B, H, W, 3] uint8 RGB.
    points: of each, [5, 2] in [0, 1]², see `face_points`.
    """
    size = np.array(pictures.shape[2:0:-1])
    convention = recogniser.convention
    faces = np.stack(
        [aligned_face(convention, picture, at * size) for picture, at in zip(pictures, points, strict=True)]
    )
    values = (faces - np.array(convention.mean)) / convention.divisor
    return recogniser.network(values.transpose(0, 3, 1, 2).astype(np.float32))


def cosine(one: Array, other: Array) -> float:
    """Cosine of the angle between embeddings [D]."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / max(lengths, 1e-12)
