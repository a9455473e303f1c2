"""The page's tables by hand."""

from typing import Any

from hidenerf.training.evaluation.goals import goals
from hidenerf.training.evaluation.report import goal_table, markdown, part_tables, table

NOTHING: dict[str, Any] = {"people": {"pairs": 0, "cross": 0, "views": 0, "expressions": 0}, "left_out": []}


def test_a_table_leaves_a_dash_where_there_is_no_figure_and_counts_are_whole() -> None:
    page = table({"one": {"a": 0.12345, "b": 2}, "other": {"b": 1.0}}, "what")
    assert page.splitlines() == [
        "| what | a | b |",
        "| --- | --- | --- |",
        "| one | 0.123 | 2 |",
        "| other | – | 1.000 |",
    ]
    assert table({"one": {"a": 1}, "other": {"b": 1, "a": 1}}, "what", ["b"]).startswith("| what | b | a |")


def test_what_concerns_faces_stands_in_a_table_of_its_own() -> None:
    rows = {"refined": {"SSIM": 0.5, "AVD": 0.01}, "flat": {"SSIM": 0.4}, "truth": {"AVD": 0.0}}
    assert part_tables(rows, "picture") == [
        table({"refined": {"SSIM": 0.5}, "flat": {"SSIM": 0.4}}, "picture"),
        table({"refined": {"AVD": 0.01}, "truth": {"AVD": 0.0}}, "picture"),
    ]
    assert part_tables({"refined": {"SSIM": 0.5}}, "picture") == [table({"refined": {"SSIM": 0.5}}, "picture")]


def test_goals_are_met_or_not() -> None:
    figures = {
        "silhouette IoU": 0.975,
        "SSIM": 0.88,
        "SSIM masked": 0.8,
        "PSNR": 23.0,
        "PSNR masked": 24.5,
        "gradient energy": 1.2,
    }
    ssims = {"-30": 0.8, "-15": 0.86, "+0": 0.87, "+15": 0.85, "+30": 0.83}
    views = {yaw: {"refined": {"SSIM": value}} for yaw, value in ssims.items()}
    tables = {
        "reconstruction": {"refined": figures, "mean colour in the true mask": {"SSIM masked": 0.72}},
        "cross": {"refined": {"pose error": 2.9}},
        "free_view": views,
        "expressions": {"jawOpen": {"correlation": 0.81, "gain": 1.3}, "smile": {"correlation": 0.59, "gain": 0.5}},
    }
    found = {goal.figure: goal for goal in goals(tables)}
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
    assert abs(found["free view -30° to 30°: SSIM lost from frontal"].reached - 0.07) < 1e-12
    lines = goal_table([found["SSIM masked"], found["smile: gain of the change"]]).splitlines()
    assert lines[2:] == [
        "| SSIM masked | ≥ 0.82 | 0.800 | 0.720 | **no** |",
        "| smile: gain of the change | ≥ 0.5 and ≤ 1.2 | 0.500 |  | yes |",
    ]


def test_parts_that_were_not_evaluated_have_no_goals() -> None:
    assert goals({}) == []
    assert goals({"free_view": {"+0": {"refined": {"SSIM": 1.0}}}}) == []
    assert "Goals" not in markdown(NOTHING, "some.safetensors")


def test_the_page_explains_the_figures_it_has_and_no_others() -> None:
    people = {**NOTHING["people"], "pairs": 2}
    rows = {"refined": {"SSIM": 0.5, "PRMSE": 1.5}, "mean colour in the true mask": {"SSIM": 0.4}}
    page = markdown({**NOTHING, "people": people, "reconstruction": rows, "left_out": ["FID is left out."]}, "x")
    assert "synthetic" in page
    assert "- FID is left out." in page
    assert "PRMSE: root mean square difference" in page
    assert "CSIM" not in page


def test_a_page_with_fid_of_too_few_pictures_warns() -> None:
    rows = {"refined": {"SSIM": 0.5, "FID": 80.0, "FID pictures": 64}, "mean colour in the true mask": {"SSIM": 0.4}}
    tables = {**NOTHING, "reconstruction": rows}
    assert "fewer than the 2048 dimensions" in markdown({**tables, "inception_dimensions": 2048}, "x")
    assert "fewer than" not in markdown({**tables, "inception_dimensions": 64}, "x")
