"""Scores of images compared with truths, by the metrics of pixels and the available optional metrics."""

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
from hidenerf.training.evaluation.recognition import FaceRecogniser, cosine, embeddings, face_points
from hidenerf.training.evaluation.tables import Row
from hidenerf.training.evaluation.tracking import FaceRetracker, TrackedFace, tracked_figures

Features = Sequence[NDArray[np.float64] | None]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Metrics:
    """Optional metrics; those that are None or False are left out.

    flip: whether to compute ꟻLIP.
    recognition: for CSIM, and for the ID distance where distances of its embeddings tell people apart.
    inception: FID's network.
    tracker: for AUCON's counterpart, PRMSE and AVD.
    """

    flip: bool = False
    recognition: FaceRecogniser | None = None
    inception: FeatureNetwork | None = None
    tracker: FaceRetracker | None = None


class Subject(NamedTuple):
    """The person in an image: identity [K], expression [E] and camera [25]."""

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]


def source_subject(pair: Pair) -> Subject:
    """The subject of a pair's source."""
    return Subject(pair.person.identity, pair.source_expression, pair.source_camera)


def target_subject(pair: Pair) -> Subject:
    """The subject of a pair's target."""
    return Subject(pair.person.identity, pair.expression, pair.camera)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one image, and what metrics over several images need.

    figures: scores by column, NaN where one does not exist.
    features, true_features: [D], Inception's features of image and truth; None without that network.
    tracked: whether the tracker was run on the image.
    face, true_face, source_face: tracked in image, truth and source; None if none was found.
    camera: [25] of the truth.
    """

    figures: Row
    features: NDArray[np.float64] | None
    true_features: NDArray[np.float64] | None
    tracked: bool
    face: TrackedFace | None
    true_face: TrackedFace | None
    source_face: TrackedFace | None
    camera: NDArray[np.float32]


class BatchScorer:
    """Scores images against the targets of one batch; values of sources and targets are computed once.

    metrics: the optional ones.
    batch: of B pairs.
    sources, targets: B each, who is in the batch's sources and targets.
    """

    def __init__(
        self,
        metrics: Metrics,
        face_model: FaceModel,
        batch: Batch,
        sources: Sequence[Subject],
        targets: Sequence[Subject],
    ) -> None:
        self._metrics = metrics
        self._face_model = face_model
        self._batch = batch
        self._targets = targets
        self._source_embeddings = self._embeddings(batch.source_image, sources)
        self._true_embeddings = self._embeddings(batch.target, targets)
        self._source_faces = self._faces(batch.source_image, sources)
        self._true_faces = self._faces(batch.target, targets)
        self._true_features = self._features(batch.target)

    def scores(self, images: Tensor, alpha: Tensor, subjects: Sequence[Subject] | None) -> list[Scores]:
        """Scores of B images.

        images: [B, 3, S, S] in [0, 1].
        alpha: [B, 1, S, S], of the images.
        subjects: B of them; None if the images show no face.
        """
        rows = image_scores(images, alpha, self._batch)
        if self._metrics.flip:
            for row, value in zip(rows, flip(images, self._batch.target).tolist(), strict=True):
                row[columns.FLIP] = value
        return self._scores(images, subjects, rows, self._features(images))

    def truth_scores(self) -> list[Scores]:
        """Scores of the targets themselves, without the metrics of pixels."""
        nothing = [None] * len(self._targets)
        return self._scores(self._batch.target, self._targets, [{} for _ in self._targets], nothing)

    def _scores(
        self, images: Tensor, subjects: Sequence[Subject] | None, rows: list[Row], features: Features
    ) -> list[Scores]:
        embedded = self._embeddings(images, subjects)
        recogniser, sources, truths = self._metrics.recognition, self._source_embeddings, self._true_embeddings
        if recogniser is not None and embedded is not None and sources is not None and truths is not None:
            for row, own, source, truth in zip(rows, embedded, sources, truths, strict=True):
                row[columns.CSIM] = cosine(own, source)
                if recogniser.distances:
                    row[columns.ID_DISTANCE] = float(np.linalg.norm(own - truth))
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
                camera=target.camera,
            )
            for index, target in enumerate(self._targets)
        ]

    def _embeddings(self, images: Tensor, subjects: Sequence[Subject] | None) -> NDArray[np.float64] | None:
        if self._metrics.recognition is None or subjects is None:
            return None
        convention = self._metrics.recognition.convention
        points = [face_points(convention, self._face_model, *subject) for subject in subjects]
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
    """Scores over several images of one row: means, FID with the number of images, and scores of tracked faces.

    FID needs at least two images. Scores that no image has are left out.
    """
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
    """Means by column over the rows that have it, without NaN; columns that are NaN in all rows are left out."""
    return {name: float(np.mean(values)) for name, values in values_by_column(rows).items()}


def values_by_column(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Values by column of the rows that have it, without NaN; columns that are NaN in all rows are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    known = {name: [row[name] for row in rows if name in row and not math.isnan(row[name])] for name in names}
    return {name: values for name, values in known.items() if values}
