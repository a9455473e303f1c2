"""Metrics of pictures: the real tracker on a synthetic person, and what a summary makes of scores."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hidenerf.model.config import PRESETS
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_held_out_pair
from hidenerf.training.evaluation.metrics import rounded
from hidenerf.training.evaluation.scores import BatchScorer, Metrics, Scores, source_subject, summary, target_subject
from hidenerf.training.evaluation.tracking import FaceRetracker

CPU = torch.device("cpu")


def test_a_synthetic_person_who_does_not_move_is_tracked_as_the_same(face_landmarker: Path) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed (extra [track])")
    face_model = load_head_mesh().face_model
    pair = make_held_out_pair(face_model, 3)
    pair = dataclasses.replace(pair, expression=pair.source_expression, camera=pair.source_camera)
    batch = render_pairs(PRESETS["demo"], CPU, [pair])
    with FaceRetracker(face_landmarker, face_model) as tracker:
        scorer = BatchScorer(
            Metrics(tracker=tracker), face_model, batch, [source_subject(pair)], [target_subject(pair)]
        )
        source = summary(scorer.scores(batch.source_image, batch.source_mask, [source_subject(pair)]))
        truth = summary(scorer.truth_scores())
        faceless = summary(scorer.scores(torch.zeros_like(batch.target), batch.mask, [source_subject(pair)]))
        untracked = summary(scorer.scores(batch.source_image, batch.source_mask, None))
    same = {"face found": 1, "AUCON": 1, "AUCON shown": 1, "PRMSE": 0, "AVD": 0}
    assert {name: truth[name] for name in same} == {name: source[name] for name in same} == same
    assert source["silhouette IoU"] == 1
    assert "SSIM" not in truth
    assert truth["PRMSE to camera"] < 6
    assert faceless["face found"] == 0
    assert "AUCON" not in faceless
    assert "face found" not in untracked


def score(ssim: float, feature: float, true_feature: float) -> Scores:
    return Scores(
        figures={"SSIM": ssim, "PSNR mouth+eyes": math.nan},
        features=np.array([feature]),
        true_features=np.array([true_feature]),
        tracked=False,
        face=None,
        true_face=None,
        source_face=None,
        camera=canonical_camera(),
    )


def test_a_summary_by_hand() -> None:
    """FID in one dimension: (m₁ - m₂)² + (σ₁ - σ₂)²."""
    figures = summary([score(0.5, 1.0, 0.0), score(0.7, 3.0, 0.0)])
    assert figures == pytest.approx({"SSIM": 0.6, "FID": 4 + 2, "FID pictures": 2})
    assert summary([score(0.5, 1.0, 0.0)]) == {"SSIM": 0.5}


def test_pictures_are_rounded() -> None:
    picture = torch.tensor([0.0, 0.499 / 255, 1.0])[None, :, None, None].expand(1, 3, 2, 4)
    found = rounded(picture)
    assert found.shape == (1, 2, 4, 3)
    assert found.dtype == np.uint8
    assert found[0, 1, 2].tolist() == [0, 0, 255]
