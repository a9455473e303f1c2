"""Evaluation tables: their scope, and what they are as JSON values."""

import pytest

from hidenerf.training.evaluation.columns import PICTURE_COLUMNS
from hidenerf.training.evaluation.evaluate import FREE_VIEW_YAWS
from hidenerf.training.evaluation.tables import EvaluationTables, Scope, scope_of, view_name
from tests.support.evaluation import PIXELS, tables_with


def test_the_scope_is_of_the_parts_asked_for() -> None:
    assert scope_of(64, ["reconstruction", "cross", "free-view", "expressions"]) == Scope(64, 16, 16, 8)
    assert scope_of(3, ["cross", "expressions"]) == Scope(0, 1, 0, 1)


def test_views_are_named_by_their_signed_angle() -> None:
    assert [view_name(yaw) for yaw in FREE_VIEW_YAWS] == ["-45", "-30", "-15", "+0", "+15", "+30", "+45"]


def test_parts_that_were_not_evaluated_have_no_entry() -> None:
    assert EvaluationTables(Scope(0, 0, 0, 0), ["no FID"]).to_dict() == {
        "left_out": ["no FID"],
        "people": {"pairs": 0, "cross": 0, "views": 0, "expressions": 0},
    }
    values = tables_with().to_dict()
    assert list(values) == ["left_out", "people", "reconstruction", "cross", "free_view", "expressions", "actions"]
    assert values["expressions"]["smile"]["gain of the truth, coarse"] == 0.5


def test_rows_of_pictures_are_those_of_all_but_the_responses() -> None:
    assert len(tables_with().row_tables()) == 10
    assert PIXELS.keys() < set(PICTURE_COLUMNS)
    with pytest.raises(AttributeError):
        tables_with().scope = Scope(0, 0, 0, 0)  # type: ignore[misc]
