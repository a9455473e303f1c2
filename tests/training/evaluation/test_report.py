"""The page's tables by hand."""

import dataclasses

from hidenerf.training.evaluation.report import json_values, markdown, part_tables, table
from hidenerf.training.evaluation.tables import EvaluationTables, Row, Scope
from tests.support.evaluation import PIXELS, tables_with

NOTHING = EvaluationTables(Scope(0, 0, 0, 0))


def test_a_table_leaves_a_dash_where_there_is_no_figure_and_counts_are_whole() -> None:
    page = table({"one": {"a": 0.12345, "b": 2}, "other": {"b": 1.0}}, "what")
    assert page.splitlines() == [
        "| what | a | b |",
        "| --- | --- | --- |",
        "| one | 0.123 | 2 |",
        "| other | – | 1.000 |",
    ]


def test_what_concerns_faces_stands_in_a_table_of_its_own() -> None:
    rows = {"refined": {"SSIM": 0.5, "AVD": 0.01}, "flat": {"SSIM": 0.4}, "truth": {"AVD": 0.0}}
    assert part_tables(rows, "picture") == [
        table({"refined": {"SSIM": 0.5}, "flat": {"SSIM": 0.4}}, "picture"),
        table({"refined": {"AVD": 0.01}, "truth": {"AVD": 0.0}}, "picture"),
    ]
    assert part_tables({"refined": {"SSIM": 0.5}}, "picture") == [table({"refined": {"SSIM": 0.5}}, "picture")]


def test_nothing_evaluated_is_a_page_without_goals() -> None:
    assert "## Goals" not in markdown(NOTHING, "some.safetensors")
    assert json_values(NOTHING) == {"left_out": [], "people": dict.fromkeys(Scope._fields, 0), "goals": []}


def test_the_page_and_the_json_hold_the_same_figures() -> None:
    tables = tables_with()
    page, values = markdown(tables, "x"), json_values(tables)
    assert values["reconstruction"]["refined"] == PIXELS
    assert values["expressions"]["jawOpen"]["gain, coarse"] == 0.25
    assert {goal["figure"]: goal["met"] for goal in values["goals"]}["SSIM masked"] is False
    assert "| refined | 0.975 | 0.880 | 0.800 |" in page
    assert "| SSIM masked | ≥ 0.82 | 0.800 | 0.720 | **no** |" in page
    assert "| smile: gain of the change | ≥ 0.5 and ≤ 1.2 | 0.500 |  | yes |" in page
    assert "| jawOpen | 0.810 | 1.300 | 0.500 | 0.250 | 0.125 |" in page


def reconstruction(**more: float) -> dict[str, Row]:
    return {"refined": {**PIXELS, **more}, "mean colour in the true mask": {"SSIM": 0.4}}


def test_the_page_explains_the_figures_it_has_and_no_others() -> None:
    tables = EvaluationTables(Scope(2, 0, 0, 0), ["FID is left out."], reconstruction=reconstruction(PRMSE=1.5))
    page = markdown(tables, "x")
    assert "synthetic" in page
    assert "2 pairs of two pictures of one person" in page
    assert "- FID is left out." in page
    assert "PRMSE: root mean square difference" in page
    assert "CSIM" not in page


def test_a_page_with_fid_of_too_few_pictures_warns() -> None:
    rows = reconstruction(FID=80.0)
    rows["refined"]["FID pictures"] = 64
    tables = dataclasses.replace(NOTHING, reconstruction=rows, inception_dimensions=2048)
    assert "fewer than the 2048 dimensions" in markdown(tables, "x")
    assert "fewer than" not in markdown(dataclasses.replace(tables, inception_dimensions=64), "x")
