"""What a checkpoint is worth on synthetic people it has never seen, each figure beside those of trivial answers.

Every truth is rendered, also for other people's motions and for other views, so nothing is estimated but the pose.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.hidenerf import HideNerf, Output
from hidenerf.runtime.camera import canonical_camera, turn_head
from hidenerf.training.batch import Batch
from hidenerf.training.heads import load_head_mesh
from hidenerf.training.metrics import change_response, gradient_energy, psnr, silhouette_iou, ssim
from hidenerf.training.people import Pair, make_held_out_pair
from hidenerf.training.replay import render_pairs

# Few, since on a CPU a batch of these fills gigabytes.
BATCH = 4
# Actions that stand for one expression; each of the 52 is also taken alone.
EXPRESSIONS = {
    "jawOpen": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "pucker": ("mouthPucker",),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
FREE_VIEW_YAWS = (-45, -30, -15, 0, 15, 30, 45)
# Turns of the true head, degrees, among which the pose of an output is found.
POSE_TURNS = (-4.0, -2.0, 0.0, 2.0, 4.0)
POSE_AXES = ("yaw", "pitch", "roll")
# An action that changes less than this of a picture (mean square) does not show, and has no response.
VISIBLE_CHANGE = 1e-6

Say = Callable[[str], None]
Figures = dict[str, float]


class Scope(NamedTuple):
    """How many people each part of the evaluation takes."""

    pairs: int
    expressions: int
    views: int
    cross: int


class Evaluation:
    """A model on a device with its pairs; each method gives one table of figures."""

    def __init__(self, model: HideNerf, device: torch.device, say: Say) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.say = say
        self.face_model = load_head_mesh().face_model

    def all(self, scope: Scope) -> dict[str, Any]:
        """Every table, by name."""
        actions = {name: (name,) for name in self.face_model.expression_names}
        responses = self.expressions({**EXPRESSIONS, **actions}, scope.expressions)
        return {
            "people": {**scope._asdict()},
            "reconstruction": self.reconstruction(scope.pairs),
            "cross": self.cross(scope.cross),
            "free_view": self.free_view(scope.views),
            "expressions": {name: responses[name] for name in EXPRESSIONS if name in responses},
            "actions": {name: responses[name] for name in actions if name in responses},
        }

    def reconstruction(self, count: int) -> dict[str, Figures]:
        """Self-reenactment: figures of the model's two pictures and of the trivial ones, by name."""
        pairs = [make_held_out_pair(self.face_model, index) for index in range(count)]
        rows: dict[str, list[Figures]] = {}
        for batch in self._batches(pairs, "reconstruction"):
            output = self._output(batch)
            for name, (picture, coverage) in candidates(batch, output).items():
                rows.setdefault(name, []).extend(picture_figures(picture, coverage, batch))
        return {name: _means(figures) for name, figures in rows.items()}

    def cross(self, count: int) -> Figures:
        """Cross-identity reenactment: each person with the next one's expression and camera, against the truth.

        Pose errors are degrees: by how far the true head has to be turned to fit the output best.
        """
        people = [make_held_out_pair(self.face_model, index) for index in range(count + 1)]
        pairs = [
            dataclasses.replace(own, expression=other.expression, camera=other.camera)
            for own, other in itertools.pairwise(people)
        ]
        rows: list[Figures] = []
        frames = []
        for batch in self._batches(pairs, "cross-identity"):
            output = self._output(batch)
            frames.append(output.frame.clamp(0, 1))
            rows += picture_figures(output.frame.clamp(0, 1), enlarged(output.alpha, batch), batch)
        figures = _means(rows)
        errors = self.poses(pairs, torch.cat(frames))
        for axis, error in zip(POSE_AXES, np.abs(errors).mean(1), strict=True):
            figures[f"{axis} error"] = float(error)
        figures["pose error"] = float(np.linalg.norm(errors, axis=0).mean())
        return figures

    def poses(self, pairs: Sequence[Pair], frames: Tensor) -> NDArray[np.float64]:
        """By how many degrees the heads in frames [B, 3, S, S] are turned from the pairs' targets: [3, B] by axis."""
        turns = []
        for axis in POSE_AXES:
            mismatch = []
            for turn in POSE_TURNS:
                turned = [turned_target(pair, axis, turn) for pair in pairs]
                truth = torch.cat([batch.target for batch in self._batches(turned, f"pose {axis} {turn:+.0f}°")])
                mismatch.append((frames - truth).square().mean((1, 2, 3)))
            turns.append(best_turn(torch.stack(mismatch, 1).cpu().numpy().astype(np.float64)))
        return np.stack(turns)

    def free_view(self, count: int) -> dict[str, Figures]:
        """Each person's target expression from in front and from the sides, by yaw in degrees."""
        figures = {}
        for yaw in FREE_VIEW_YAWS:
            camera = canonical_camera(yaw=yaw)
            pairs = [
                dataclasses.replace(make_held_out_pair(self.face_model, index), camera=camera) for index in range(count)
            ]
            rows: list[Figures] = []
            for batch in self._batches(pairs, f"free view {yaw:+d}°"):
                output = self._output(batch)
                rows += picture_figures(output.frame.clamp(0, 1), enlarged(output.alpha, batch), batch)
            figures[f"{yaw:+d}"] = _means(rows)
        return figures

    def expressions(self, expressions: dict[str, Sequence[str]], count: int) -> dict[str, Figures]:
        """How a frontal picture follows when actions alone go from 0 to 1, by expression: see `change_response`.

        An expression that does not show on anybody is left out.
        """
        names = self.face_model.expression_names
        responses: dict[str, list[tuple[float, float]]] = {}
        for index in range(count):
            person = make_held_out_pair(self.face_model, index)
            rest = dataclasses.replace(person, expression=np.zeros(len(names), np.float32), camera=canonical_camera())
            pairs = [rest]
            for actions in expressions.values():
                expression = np.isin(names, actions).astype(np.float32)
                pairs.append(dataclasses.replace(rest, expression=expression))
            truths, frames = [], []
            for batch in self._batches(pairs, f"expressions of person {index + 1} of {count}"):
                truths.append(batch.target)
                frames.append(self._output(batch).frame.clamp(0, 1))
            truth, frame = torch.cat(truths), torch.cat(frames)
            for place, name in enumerate(expressions, 1):
                true_change = truth[place] - truth[0]
                if true_change.square().mean() >= VISIBLE_CHANGE:
                    responses.setdefault(name, []).append(change_response(frame[place] - frame[0], true_change))
        return {
            name: {
                "correlation": float(np.mean([correlation for correlation, _ in found])),
                "gain": float(np.mean([gain for _, gain in found])),
            }
            for name, found in responses.items()
        }

    def _batches(self, pairs: Sequence[Pair], what: str) -> Iterator[Batch]:
        for start in range(0, len(pairs), BATCH):
            self.say(f"{what}: {start} of {len(pairs)}")
            yield render_pairs(self.model.config, self.device, pairs[start : start + BATCH])

    @torch.no_grad()
    def _output(self, batch: Batch) -> Output:
        output: Output = self.model(
            batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving, batch.camera
        )
        return output


def turned_target(pair: Pair, axis: str, degrees: float) -> Pair:
    """The pair with its target's head turned on the spot by an angle more."""
    angles = {name: degrees if name == axis else 0.0 for name in POSE_AXES}
    return dataclasses.replace(pair, camera=turn_head(pair.camera, **angles))


def candidates(batch: Batch, output: Output) -> dict[str, tuple[Tensor, Tensor]]:
    """Pictures of the target with their coverage, by name: the model's and three that need no model."""
    source, covered = batch.source_image, batch.source_mask
    colour = (source * covered).sum((2, 3), keepdim=True) / covered.sum((2, 3), keepdim=True).clamp_min(1.0)
    alpha = enlarged(output.alpha, batch)
    flat = source.mean((2, 3), keepdim=True).expand_as(source)
    return {
        "refined": (output.frame.clamp(0, 1), alpha),
        "rendered, enlarged": (enlarged(output.rendered, batch).clamp(0, 1), alpha),
        "the source itself": (source, covered),
        "mean colour in the true mask": (colour * batch.mask, batch.mask),
        "mean colour everywhere": (flat, torch.ones_like(batch.mask)),
    }


def enlarged(picture: Tensor, batch: Batch) -> Tensor:
    """A rendered picture at the target's size."""
    return F.interpolate(picture, size=batch.target.shape[-2:], mode="bilinear", align_corners=False)


def picture_figures(picture: Tensor, coverage: Tensor, batch: Batch) -> list[Figures]:
    """The figures of each picture of a batch; NaN for the region of a target that shows none."""
    truth, mask, region = batch.target, (batch.mask > 0.5).float(), (batch.region > 0.5).float()
    true_energy = gradient_energy(truth, mask)
    shown = region.sum((1, 2, 3)) > 0
    columns = {
        "silhouette IoU": silhouette_iou(coverage, mask),
        "SSIM": ssim(picture, truth),
        "SSIM masked": ssim(picture, truth, mask),
        "PSNR": psnr(picture, truth),
        "PSNR masked": psnr(picture, truth, mask),
        "PSNR mouth+eyes": torch.where(shown, psnr(picture, truth, region), math.nan),
        "gradient energy": gradient_energy(picture, mask) / true_energy.clamp_min(1e-6),
    }
    return [{name: float(values[index]) for name, values in columns.items()} for index in range(len(truth))]


def best_turn(mismatch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns [B], in degrees, at which the mismatches [B, turns] at POSE_TURNS (evenly spaced) are least.

    Between the turns by a parabola through the least mismatch and its neighbours, at most one step beyond the ends.
    """
    step = POSE_TURNS[1] - POSE_TURNS[0]
    middle = mismatch.argmin(1).clip(1, len(POSE_TURNS) - 2)
    before, at, after = (mismatch[np.arange(len(mismatch)), middle + offset] for offset in (-1, 0, 1))
    curvature = np.maximum(before - 2 * at + after, 1e-12)
    turn = np.array(POSE_TURNS)[middle] + step * 0.5 * (before - after) / curvature
    return turn.clip(POSE_TURNS[0] - step, POSE_TURNS[-1] + step)


def _means(rows: list[Figures]) -> Figures:
    """Means over the rows that have a figure; a figure that none has is left out."""
    known = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) for name, values in known.items() if values}
