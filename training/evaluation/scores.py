"""Figures of pictures that should show given truths: by pixels, and by what else is at hand to judge them."""

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
from hidenerf.training.evaluation.features import FeatureNetwork
from hidenerf.training.evaluation.frechet import frechet_distance, inception_features
from hidenerf.training.evaluation.metrics import flip, picture_figures, rounded
from hidenerf.training.evaluation.recognition import embeddings, face_points
from hidenerf.training.evaluation.tracking import FaceRetracker, TrackedFace, tracked_figures

Figures = dict[str, float]
Features = Sequence[NDArray[np.float64] | None]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Judges:
    """What there is to judge pictures by, beside their pixels; what is None or False is left out.

    flip: ꟻLIP. recognition: CSIM's network. inception: FID's network. tracker: for AUCON's counterpart, PRMSE, AVD.
    """

    flip: bool = False
    recognition: FeatureNetwork | None = None
    inception: FeatureNetwork | None = None
    tracker: FaceRetracker | None = None


class Sitter(NamedTuple):
    """Who is in a picture: identity [K], expression [E], and the camera [25] it is seen through."""

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]


def source_sitter(pair: Pair) -> Sitter:
    """Who is in a pair's source picture."""
    return Sitter(pair.person.identity, pair.source_expression, pair.source_camera)


def target_sitter(pair: Pair) -> Sitter:
    """Who is in a pair's target."""
    return Sitter(pair.person.identity, pair.expression, pair.camera)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of one picture: figures, NaN where it has none; Inception's features [D] of it and of the truth; if it was
    tracked, the faces found in it, in the truth and in the source; and the camera [25] the truth is seen through."""

    figures: Figures
    features: NDArray[np.float64] | None
    true_features: NDArray[np.float64] | None
    tracked: bool
    face: TrackedFace | None
    true_face: TrackedFace | None
    source_face: TrackedFace | None
    camera: NDArray[np.float32]


class Judgement:
    """Judges pictures for the targets of one batch of pairs; what concerns source and target is worked out once."""

    def __init__(self, judges: Judges, face_model: FaceModel, batch: Batch, pairs: Sequence[Pair]) -> None:
        self._judges = judges
        self._face_model = face_model
        self._batch = batch
        self._pairs = pairs
        sources, targets = [source_sitter(pair) for pair in pairs], [target_sitter(pair) for pair in pairs]
        self._source_embeddings = self._embeddings(batch.source_image, sources)
        self._source_faces = self._faces(batch.source_image, sources)
        self._true_faces = self._faces(batch.target, targets)
        self._true_features = self._features(batch.target)

    def verdicts(self, pictures: Tensor, coverage: Tensor, sitters: Sequence[Sitter] | None) -> list[Verdict]:
        """One verdict for each of the pictures [B, 3, S, S] in [0, 1] that cover so much of each pixel [B, 1, S, S].

        sitters [B]: who is in them; None if they show no face.
        """
        rows = picture_figures(pictures, coverage, self._batch)
        if self._judges.flip:
            for row, value in zip(rows, flip(pictures, self._batch.target).tolist(), strict=True):
                row["ꟻLIP"] = value
        return self._verdicts(pictures, sitters, rows, self._features(pictures))

    def truth_verdicts(self) -> list[Verdict]:
        """Verdicts on the targets themselves, but for what compares with the targets' own pixels."""
        sitters = [target_sitter(pair) for pair in self._pairs]
        nothing = [None] * len(sitters)
        return self._verdicts(self._batch.target, sitters, [{} for _ in sitters], nothing)

    def _verdicts(
        self, pictures: Tensor, sitters: Sequence[Sitter] | None, rows: list[Figures], features: Features
    ) -> list[Verdict]:
        embedded = self._embeddings(pictures, sitters)
        if embedded is not None and self._source_embeddings is not None:
            for row, own, source in zip(rows, embedded, self._source_embeddings, strict=True):
                row["CSIM"] = float(own @ source)
        faces = self._faces(pictures, sitters)
        return [
            Verdict(
                figures=rows[index],
                features=features[index],
                true_features=self._true_features[index],
                tracked=sitters is not None and self._judges.tracker is not None,
                face=faces[index],
                true_face=self._true_faces[index],
                source_face=self._source_faces[index],
                camera=pair.camera,
            )
            for index, pair in enumerate(self._pairs)
        ]

    def _embeddings(self, pictures: Tensor, sitters: Sequence[Sitter] | None) -> NDArray[np.float64] | None:
        if self._judges.recognition is None or sitters is None:
            return None
        points = [face_points(self._face_model, *sitter) for sitter in sitters]
        return embeddings(self._judges.recognition, rounded(pictures), points)

    def _features(self, pictures: Tensor) -> Features:
        if self._judges.inception is None:
            return [None] * len(pictures)
        return list(inception_features(self._judges.inception, pictures))

    def _faces(self, pictures: Tensor, sitters: Sequence[Sitter] | None) -> Sequence[TrackedFace | None]:
        tracker = self._judges.tracker
        if tracker is None or sitters is None:
            return [None] * len(pictures)
        return [
            tracker.track(picture, sitter.identity, sitter.camera)
            for picture, sitter in zip(rounded(pictures), sitters, strict=True)
        ]


def summary(verdicts: Sequence[Verdict]) -> Figures:
    """The figures of all pictures of a candidate: means, FID with the number of pictures (of two or more), and those
    of the tracked faces. A figure that no picture has is left out."""
    figures = means([verdict.figures for verdict in verdicts])
    features = [verdict.features for verdict in verdicts if verdict.features is not None]
    true_features = [verdict.true_features for verdict in verdicts if verdict.true_features is not None]
    if len(features) > 1:
        figures["FID"] = frechet_distance(np.stack(features), np.stack(true_features))
        figures["FID pictures"] = len(features)
    if all(verdict.tracked for verdict in verdicts):
        figures.update(
            tracked_figures(
                [verdict.face for verdict in verdicts],
                [verdict.true_face for verdict in verdicts],
                [verdict.source_face for verdict in verdicts],
                [verdict.camera for verdict in verdicts],
            )
        )
    return figures


def means(rows: Sequence[Figures]) -> Figures:
    """Means over the rows that have a figure; a figure that none has is left out."""
    known = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) for name, values in known.items() if values}
