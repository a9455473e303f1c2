"""`hidenerf-sample-sheet`."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hidenerf.commands.sample_sheet import main
from hidenerf.runtime.video.pictures import read_picture


def test_the_sheet_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    monkeypatch.setattr("hidenerf.training.data.synthetic.sample_sheet.sample_sheet", lambda *_: sheet)
    result = CliRunner().invoke(main, ["-o", str(tmp_path / "new" / "sheet.png")])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read_picture(tmp_path / "new" / "sheet.png"), sheet)


def test_another_format_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["-o", str(tmp_path / "sheet.gif")])
    assert result.exit_code == 2
    assert "ends in .png or .jpg" in result.output
