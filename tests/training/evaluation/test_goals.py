"""Goals: met or not, by hand, and an error where a figure that has one is missing."""

import dataclasses

import pytest
import torch

from hidenerf.training.evaluation import goals as goals_module
from hidenerf.training.evaluation.columns import PSNR_REGION
from hidenerf.training.evaluation.goals import RECONSTRUCTION_GOALS, goals
from hidenerf.training.evaluation.metrics import image_scores
from hidenerf.training.evaluation.tables import EvaluationTables, Scope
from tests.support.evaluation import PIXELS, tables_with
from tests.support.tiny_training import tiny_batch


def test_goals_are_met_or_not() -> None:
    found = {goal.figure: goal for goal in goals(tables_with())}
    assert {name: goal.met for name, goal in found.items()} == {
        "silhouette IoU": True,
        "SSIM masked": False,
        "gradient energy, share of the truth's": False,
        "self-reenactment SSIM": True,
        "self-reenactment PSNR, full picture, dB": False,
        "self-reenactment PSNR-M (masked), dB": True,
        "cross-identity pose error, degrees": True,
        "free view -30° to 30°: SSIM lost from frontal": False,
        "jawOpen: correlation of the change": True,
        "jawOpen: gain of the change": False,
        "smile: correlation of the change": False,
        "smile: gain of the change": True,
    }
    assert found["free view -30° to 30°: SSIM lost from frontal"].reached == pytest.approx(0.07)
    assert found["SSIM masked"].flat_colour == 0.72
    assert found["silhouette IoU"].flat_colour is None


def test_parts_that_were_not_evaluated_have_no_goals() -> None:
    assert goals(EvaluationTables(Scope(0, 0, 0, 0))) == []


@pytest.mark.parametrize("column", [column for _, column, _ in RECONSTRUCTION_GOALS if column != PSNR_REGION])
def test_a_renamed_metric_does_not_lose_its_goal_silently(column: str) -> None:
    renamed = {f"{name} (new)" if name == column else name: value for name, value in PIXELS.items()}
    with pytest.raises(LookupError, match=f"a goal for '{column}'"):
        goals(tables_with(renamed))


def test_other_missing_figures_with_goals_are_errors() -> None:
    with pytest.raises(LookupError, match="a goal for 'pose error'"):
        goals(tables_with(pose_error={"turn": 2.9}))
    whole = tables_with()
    assert whole.free_view is not None
    views = {yaw: rows for yaw, rows in whole.free_view.items() if yaw != "+15"}
    with pytest.raises(LookupError, match="free view at 15°"):
        goals(dataclasses.replace(whole, free_view=views))
    assert whole.reconstruction is not None
    rows = {"improved": whole.reconstruction["refined"]}
    with pytest.raises(LookupError, match="the row 'mean colour in the true mask'"):
        goals(dataclasses.replace(whole, reconstruction=rows))


def test_a_renamed_expression_does_not_lose_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(goals_module.LEAST_CORRELATION, "grin", 0.5)
    with pytest.raises(LookupError, match="the expression 'grin'"):
        goals(tables_with())


def test_every_pixel_goal_is_of_a_column_that_the_metrics_make() -> None:
    (row,) = image_scores(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), tiny_batch(1))
    assert {column for _, column, _ in RECONSTRUCTION_GOALS} <= row.keys()
