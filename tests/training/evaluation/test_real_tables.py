"""Tables over real people, by hand."""

import pytest

from hidenerf.training.evaluation.real_tables import over_files, standard_errors
from hidenerf.training.evaluation.scores import means


def test_means_and_standard_errors_by_hand() -> None:
    """1, 3: deviation √2, error 1. A column that one row lacks is of the others."""
    rows = [{"SSIM": 1.0, "CSIM": 0.5}, {"SSIM": 3.0}]
    assert means(rows) == {"SSIM": 2.0, "CSIM": 0.5}
    assert standard_errors(rows) == pytest.approx({"SSIM": 1.0})


def test_files_count_alike_and_rows_without_scores_are_left_out() -> None:
    tables = over_files({"a": {"refined": {"SSIM": 0.5}, "truth": {}}, "b": {"refined": {"SSIM": 1.0}, "truth": {}}})
    assert tables.table == {"refined": {"SSIM": 0.75}}
    assert tables.standard_error["refined"]["SSIM"] == pytest.approx(0.25)
    assert list(tables.by_file) == ["a", "b"]
