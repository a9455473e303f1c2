"""Scores of images against given truths: by pixels, and by the optional metrics that are at hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.people import Pair
from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.features import FeatureNetwork
from hidenerf.training.evaluation.frechet import frechet_distance, inception_features
from hidenerf.training.evaluation.metrics import flip, image_scores, rounded
from hidenerf.training.evaluation.recognition import embeddings, face_points
from hidenerf.training.evaluation.tables import Row
from hidenerf.training.evaluation.tracking import FaceRetracker, TrackedFace, tracked_figures

Features = Sequence[NDArray[np.float64] | None]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Metrics:
    """The optional metrics, beside those of pixels; what is None or False is left out.

    flip: ꟻLIP. recognition: CSIM's network. inception: FID's network. tracker: for AUCON's counterpart, PRMSE, AVD.
    """

    flip: bool = False
    recognition: FeatureNetwork | None = None
    inception: FeatureNetwork | None = None
    tracker: FaceRetracker | None = None


class Subject(NamedTuple):
    """Who is in an image: identity [K], expression [E], and the camera [25] it is seen through."""

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]


def source_subject(pair: Pair) -> Subject:
    """Who is in a pair's source image."""
    return Subject(pair.person.identity, pair.source_expression, pair.source_camera)


def target_subject(pair: Pair) -> Subject:
    """Who is in a pair's target."""
    return Subject(pair.person.identity, pair.expression, pair.camera)


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one image: figures, NaN where it has none; Inception's features [D] of it and of the truth; if it was
    tracked, the faces found in it, in the truth and in the source; and the camera [25] the truth is seen through."""

    figures: Row
    features: NDArray[np.float64] | None
    true_features: NDArray[np.float64] | None
    tracked: bool
    face: TrackedFace | None
    true_face: TrackedFace | None
    source_face: TrackedFace | None
    camera: NDArray[np.float32]


class BatchScorer:
    """Scores images against the targets of one batch of pairs; what concerns source and target is worked out once."""

    def __init__(self, metrics: Metrics, face_model: FaceModel, batch: Batch, pairs: Sequence[Pair]) -> None:
        self._metrics = metrics
        self._face_model = face_model
        self._batch = batch
        self._pairs = pairs
        sources, targets = [source_subject(pair) for pair in pairs], [target_subject(pair) for pair in pairs]
        self._source_embeddings = self._embeddings(batch.source_image, sources)
        self._source_faces = self._faces(batch.source_image, sources)
        self._true_faces = self._faces(batch.target, targets)
        self._true_features = self._features(batch.target)

    def scores(self, images: Tensor, alpha: Tensor, subjects: Sequence[Subject] | None) -> list[Scores]:
        """The scores of each of the images [B, 3, S, S] in [0, 1] that cover so much of each pixel [B, 1, S, S].

        subjects [B]: who is in them; None if they show no face.
        """
        rows = image_scores(images, alpha, self._batch)
        if self._metrics.flip:
            for row, value in zip(rows, flip(images, self._batch.target).tolist(), strict=True):
                row[columns.FLIP] = value
        return self._scores(images, subjects, rows, self._features(images))

    def truth_scores(self) -> list[Scores]:
        """ScoresByName on the targets themselves, but for what compares with the targets' own pixels."""
        subjects = [target_subject(pair) for pair in self._pairs]
        nothing = [None] * len(subjects)
        return self._scores(self._batch.target, subjects, [{} for _ in subjects], nothing)

    def _scores(
        self, images: Tensor, subjects: Sequence[Subject] | None, rows: list[Row], features: Features
    ) -> list[Scores]:
        embedded = self._embeddings(images, subjects)
        if embedded is not None and self._source_embeddings is not None:
            for row, own, source in zip(rows, embedded, self._source_embeddings, strict=True):
                row[columns.CSIM] = float(own @ source)
        faces = self._faces(images, subjects)
        return [
            Scores(
                figures=rows[index],
                features=features[index],
                true_features=self._true_features[index],
                tracked=subjects is not None and self._metrics.tracker is not None,
                face=faces[index],
                true_face=self._true_faces[index],
                source_face=self._source_faces[index],
                camera=pair.camera,
            )
            for index, pair in enumerate(self._pairs)
        ]

    def _embeddings(self, images: Tensor, subjects: Sequence[Subject] | None) -> NDArray[np.float64] | None:
        if self._metrics.recognition is None or subjects is None:
            return None
        points = [face_points(self._face_model, *subject) for subject in subjects]
        return embeddings(self._metrics.recognition, rounded(images), points)

    def _features(self, images: Tensor) -> Features:
        if self._metrics.inception is None:
            return [None] * len(images)
        return list(inception_features(self._metrics.inception, images))

    def _faces(self, images: Tensor, subjects: Sequence[Subject] | None) -> Sequence[TrackedFace | None]:
        tracker = self._metrics.tracker
        if tracker is None or subjects is None:
            return [None] * len(images)
        return [
            tracker.track(image, subject.identity, subject.camera)
            for image, subject in zip(rounded(images), subjects, strict=True)
        ]


def summary(scores: Sequence[Scores]) -> Row:
    """The figures of all images of a candidate: means, FID with the number of images (of two or more), and those
    of the tracked faces. A figure that no image has is left out."""
    figures = means([score.figures for score in scores])
    features = [score.features for score in scores if score.features is not None]
    true_features = [score.true_features for score in scores if score.true_features is not None]
    if len(features) > 1:
        figures[columns.FID] = frechet_distance(np.stack(features), np.stack(true_features))
        figures[columns.FID_PICTURES] = len(features)
    if all(score.tracked for score in scores):
        figures.update(
            tracked_figures(
                [score.face for score in scores],
                [score.true_face for score in scores],
                [score.source_face for score in scores],
                [score.camera for score in scores],
            )
        )
    return figures


def means(rows: Sequence[Row]) -> Row:
    """Means over the rows that have a figure; a figure that none has is left out."""
    known = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) for name, values in known.items() if values}
