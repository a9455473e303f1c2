"""Evaluation of a checkpoint on synthetic people that are not in training, with trivial baselines.

All truths are rendered, for other people's motions and for other views too.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.hidenerf import Output
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.people import Pair
from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.expression_response import EXPRESSIONS, Response, expression_responses
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.pose_error import pose_errors
from hidenerf.training.evaluation.scores import BatchScorer, Metrics, Scores, source_subject, summary, target_subject
from hidenerf.training.evaluation.tables import (
    ALL_VIEWS,
    DRIVER,
    FLAT,
    FLAT_EVERYWHERE,
    REFINED,
    RENDERED,
    SOURCE,
    TRUTH,
    EvaluationTables,
    Scope,
    Table,
    view_name,
)

FREE_VIEW_YAWS = (-45, -30, -15, 0, 15, 30, 45)
# In the order of `pose_error.POSE_AXES`.
AXIS_COLUMNS = (columns.YAW_ERROR, columns.PITCH_ERROR, columns.ROLL_ERROR)

ScoresByName = dict[str, list[Scores]]


class Evaluation:
    """Computes a model's scores on held-out people, one table a method.

    held_out: the model and the people.
    metrics: the optional ones that are available.
    """

    def __init__(self, held_out: HeldOutEvaluation, metrics: Metrics) -> None:
        self._held_out = held_out
        self._metrics = metrics

    def all(self, scope: Scope, left_out: Sequence[str] = ()) -> EvaluationTables:
        """All tables of the parts in a scope. left_out: a sentence for each metric that is not available."""
        expressions = actions = None
        if scope.expressions:
            action_names = self._held_out.face_model.expression_names
            responses = self.expressions({**EXPRESSIONS, **{name: (name,) for name in action_names}}, scope.expressions)
            expressions = {name: responses[name] for name in EXPRESSIONS if name in responses}
            actions = {name: responses[name] for name in action_names if name in responses}
        return EvaluationTables(
            scope=scope,
            left_out=left_out,
            inception_dimensions=None if self._metrics.inception is None else self._metrics.inception.dimensions,
            reconstruction=self.reconstruction(scope.pairs) if scope.pairs else None,
            cross=self.cross(scope.cross) if scope.cross else None,
            free_view=self.free_view(scope.views) if scope.views else None,
            expressions=expressions,
            actions=actions,
        )

    def reconstruction(self, count: int) -> Table:
        """Self-reenactment: mean scores of the model's two images and of the baselines. count: of people."""
        pairs = [self._held_out.person(index) for index in range(count)]
        return _summaries(self._scores(pairs, "reconstruction"))

    def cross(self, count: int) -> Table:
        """Cross-identity reenactment: each person with the next one's expression and camera, compared with the truth.

        The row DRIVER has the scores of the driving image, of another person. Pose errors are in degrees, see
        `pose_errors`.
        count: of people.
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
        for column, error in zip(AXIS_COLUMNS, np.abs(errors).mean(1), strict=True):
            figures[REFINED][column] = float(error)
        figures[REFINED][columns.POSE_ERROR] = float(np.linalg.norm(errors, axis=0).mean())
        return figures

    def free_view(self, count: int) -> dict[str, Table]:
        """Free view: tables of the target expression seen at FREE_VIEW_YAWS, and over all yaws. count: of people."""
        figures: dict[str, Table] = {}
        together: ScoresByName = {}
        people = [self._held_out.person(index) for index in range(count)]
        for yaw in FREE_VIEW_YAWS:
            pairs = [dataclasses.replace(person, camera=canonical_camera(yaw=yaw)) for person in people]
            scores = self._scores(pairs, f"free view {yaw:+d}°")
            figures[view_name(yaw)] = _summaries(scores)
            for name, found in scores.items():
                together.setdefault(name, []).extend(found)
        return {**figures, ALL_VIEWS: _summaries(together)}

    def expressions(self, expressions: Mapping[str, Sequence[str]], count: int) -> dict[str, Response]:
        """Mean responses, by expression, when the expression's actions alone go from 0 to 1.

        Expressions that are visible on nobody are left out.
        expressions: names of the actions by expression.
        count: of people.
        """
        people = expression_responses(self._held_out, expressions, count)
        found = {name: [responses[name] for responses in people if name in responses] for name in expressions}
        return {name: Response(*np.mean(responses, axis=0).tolist()) for name, responses in found.items() if responses}

    def _scores(self, pairs: Sequence[Pair], what: str) -> ScoresByName:
        """Scores of all images of pairs, by row name. what: name of the part in the log."""
        scores: ScoresByName = {}
        for some, batch in self._held_out.batches(pairs, what):
            self._score(some, batch, self._held_out.output(batch), scores)
        return scores

    def _score(self, pairs: Sequence[Pair], batch: Batch, output: Output, scores: ScoresByName) -> BatchScorer:
        """Add the scores of a batch, of the model's images and of the baselines, to `scores`."""
        targets, sources = [target_subject(pair) for pair in pairs], [source_subject(pair) for pair in pairs]
        scorer = BatchScorer(self._metrics, self._held_out.face_model, batch, sources, targets)
        subjects = {REFINED: targets, SOURCE: sources}
        for name, (images, alpha) in candidates(batch, output).items():
            scores.setdefault(name, []).extend(scorer.scores(images, alpha, subjects.get(name)))
        scores.setdefault(TRUTH, []).extend(scorer.truth_scores())
        return scorer


def _summaries(scores: ScoresByName) -> Table:
    return {name: summary(found) for name, found in scores.items()}


def candidates(batch: Batch, output: Output) -> dict[str, tuple[Tensor, Tensor]]:
    """Images [B, 3, S, S] to compare with the target, and their alpha [B, 1, S, S], by row name.

    They are the model's two images and three baselines: the source, and two flat colours.
    """
    source, covered = batch.source_image, batch.source_mask
    colour = (source * covered).sum((2, 3), keepdim=True) / covered.sum((2, 3), keepdim=True).clamp_min(1.0)
    flat = source.mean((2, 3), keepdim=True).expand_as(source)
    return {
        REFINED: (output.frame.clamp(0, 1), output.alpha),
        RENDERED: (
            enlarged(output.rendered[:, :3], batch).clamp(0, 1),
            enlarged(output.rendered_alpha, batch),
        ),
        SOURCE: (source, covered),
        FLAT: (colour * batch.mask, batch.mask),
        FLAT_EVERYWHERE: (flat, torch.ones_like(batch.mask)),
    }


def enlarged(image: Tensor, batch: Batch) -> Tensor:
    """A rendered image [B, C, R, R] at the target's size, bilinear."""
    return F.interpolate(image, size=batch.target.shape[-2:], mode="bilinear", align_corners=False)
