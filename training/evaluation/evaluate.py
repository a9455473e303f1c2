"""What a checkpoint is worth on synthetic people it has never seen, each figure beside those of trivial answers.

Every truth is rendered, also for other people's motions and for other views.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.hidenerf import Output
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.people import Pair
from hidenerf.training.evaluation.expression_response import EXPRESSIONS, expression_responses
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.pose_error import POSE_AXES, pose_errors
from hidenerf.training.evaluation.scores import (
    BatchScorer,
    Figures,
    Metrics,
    Scores,
    source_subject,
    summary,
    target_subject,
)

PARTS = ("reconstruction", "cross", "free-view", "expressions")
FREE_VIEW_YAWS = (-45, -30, -15, 0, 15, 30, 45)
ALL_VIEWS = "all"
REFINED = "refined"
SOURCE = "the source itself"
FLAT = "mean colour in the true mask"
TRUTH = "the truth itself"
DRIVER = "the driver's own picture"

# The fields of `Response`.
RESPONSE_COLUMNS = ("correlation", "gain", "correlation, coarse", "gain, coarse", "gain of the truth, coarse")

Rows = dict[str, Figures]
ScoresByName = dict[str, list[Scores]]


class Scope(NamedTuple):
    """How many people each part of the evaluation takes; none leaves a part out."""

    pairs: int
    cross: int
    views: int
    expressions: int


def scope_of(people: int, parts: Sequence[str]) -> Scope:
    """The scope of some of the PARTS: self-reenactment takes everybody, the others a quarter or an eighth."""
    shares = dict(zip(PARTS, (1, 4, 4, 8), strict=True))
    return Scope(*(max(1, people // share) if part in parts else 0 for part, share in shares.items()))


class Evaluation:
    """A model's scores on held-out people; each method gives one table of figures."""

    def __init__(self, held_out: HeldOutEvaluation, metrics: Metrics) -> None:
        self._held_out = held_out
        self._metrics = metrics

    def all(self, scope: Scope) -> dict[str, Any]:
        """Every table, by name."""
        tables: dict[str, Any] = {"people": scope._asdict()}
        if self._metrics.inception is not None:
            tables["inception_dimensions"] = self._metrics.inception.dimensions
        if scope.pairs:
            tables["reconstruction"] = self.reconstruction(scope.pairs)
        if scope.cross:
            tables["cross"] = self.cross(scope.cross)
        if scope.views:
            tables["free_view"] = self.free_view(scope.views)
        if scope.expressions:
            actions = {name: (name,) for name in self._held_out.face_model.expression_names}
            responses = self.expressions({**EXPRESSIONS, **actions}, scope.expressions)
            tables["expressions"] = {name: responses[name] for name in EXPRESSIONS if name in responses}
            tables["actions"] = {name: responses[name] for name in actions if name in responses}
        return tables

    def reconstruction(self, count: int) -> Rows:
        """Self-reenactment: figures of the model's two images and of the trivial ones, by name."""
        pairs = [self._held_out.person(index) for index in range(count)]
        return _summaries(self._scores(pairs, "reconstruction"))

    def cross(self, count: int) -> Rows:
        """Cross-identity reenactment: each person with the next one's expression and camera, against the truth.

        The driver's own image, of another person, stands beside. Pose errors are degrees: by how far the true head
        has to be turned to fit the output best.
        """
        people = [self._held_out.person(index) for index in range(count + 1)]
        pairs = [
            dataclasses.replace(own, expression=other.expression, camera=other.camera)
            for own, other in itertools.pairwise(people)
        ]
        drivers = self._held_out.batches(people[1:], "cross-identity, drivers")
        scores: ScoresByName = {}
        frames = []
        for (some, batch), (others, driver) in zip(
            self._held_out.batches(pairs, "cross-identity"), drivers, strict=True
        ):
            output = self._held_out.output(batch)
            frames.append(output.frame.clamp(0, 1))
            scorer = self._score(some, batch, output, scores)
            subjects = [target_subject(other) for other in others]
            scores.setdefault(DRIVER, []).extend(scorer.scores(driver.target, driver.mask, subjects))
        figures = _summaries(scores)
        errors = pose_errors(self._held_out, pairs, torch.cat(frames))
        for axis, error in zip(POSE_AXES, np.abs(errors).mean(1), strict=True):
            figures[REFINED][f"{axis} error"] = float(error)
        figures[REFINED]["pose error"] = float(np.linalg.norm(errors, axis=0).mean())
        return figures

    def free_view(self, count: int) -> dict[str, Rows]:
        """Each person's target expression from in front and from the sides, by yaw in degrees, and all together."""
        figures: dict[str, Rows] = {}
        together: ScoresByName = {}
        people = [self._held_out.person(index) for index in range(count)]
        for yaw in FREE_VIEW_YAWS:
            pairs = [dataclasses.replace(person, camera=canonical_camera(yaw=yaw)) for person in people]
            scores = self._scores(pairs, f"free view {yaw:+d}°")
            figures[f"{yaw:+d}"] = _summaries(scores)
            for name, found in scores.items():
                together.setdefault(name, []).extend(found)
        return {**figures, ALL_VIEWS: _summaries(together)}

    def expressions(self, expressions: dict[str, Sequence[str]], count: int) -> Rows:
        """How a frontal image follows when actions alone go from 0 to 1, by expression: see `Response`.

        An expression that does not show on anybody is left out.
        """
        people = expression_responses(self._held_out, expressions, count)
        found = {name: [responses[name] for responses in people if name in responses] for name in expressions}
        return {
            name: dict(zip(RESPONSE_COLUMNS, np.mean(responses, axis=0).tolist(), strict=True))
            for name, responses in found.items()
            if responses
        }

    def _scores(self, pairs: Sequence[Pair], what: str) -> ScoresByName:
        """Scores of the images of pairs, by name."""
        scores: ScoresByName = {}
        for some, batch in self._held_out.batches(pairs, what):
            self._score(some, batch, self._held_out.output(batch), scores)
        return scores

    def _score(self, pairs: Sequence[Pair], batch: Batch, output: Output, scores: ScoresByName) -> BatchScorer:
        """Add scores of the images of a batch, those of the model and the trivial ones, by name."""
        scorer = BatchScorer(self._metrics, self._held_out.face_model, batch, pairs)
        subjects = {
            REFINED: [target_subject(pair) for pair in pairs],
            SOURCE: [source_subject(pair) for pair in pairs],
        }
        for name, (images, alpha) in candidates(batch, output).items():
            scores.setdefault(name, []).extend(scorer.scores(images, alpha, subjects.get(name)))
        scores.setdefault(TRUTH, []).extend(scorer.truth_scores())
        return scorer


def _summaries(scores: ScoresByName) -> Rows:
    return {name: summary(found) for name, found in scores.items()}


def candidates(batch: Batch, output: Output) -> dict[str, tuple[Tensor, Tensor]]:
    """Images of the target [B, 3, S, S] with their alpha [B, 1, S, S], by name: the model's and three that need
    no model."""
    source, covered = batch.source_image, batch.source_mask
    colour = (source * covered).sum((2, 3), keepdim=True) / covered.sum((2, 3), keepdim=True).clamp_min(1.0)
    flat = source.mean((2, 3), keepdim=True).expand_as(source)
    return {
        REFINED: (output.frame.clamp(0, 1), output.alpha),
        "rendered, enlarged": (
            enlarged(output.rendered[:, :3], batch).clamp(0, 1),
            enlarged(output.rendered_alpha, batch),
        ),
        SOURCE: (source, covered),
        FLAT: (colour * batch.mask, batch.mask),
        "mean colour everywhere": (flat, torch.ones_like(batch.mask)),
    }


def enlarged(image: Tensor, batch: Batch) -> Tensor:
    """A rendered image at the target's size."""
    return F.interpolate(image, size=batch.target.shape[-2:], mode="bilinear", align_corners=False)
