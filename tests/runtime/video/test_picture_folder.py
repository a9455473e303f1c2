import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.picture_folder import FOLDER_FPS, PictureFolderReader, fitted
from hidenerf.runtime.video.pictures import write_picture
from tests.support.media import number_of, numbered_picture


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in (0, 1, 2, 9, 10, 11):
        write_picture(numbered_picture(index), tmp_path / f"frame{index}.{'png' if index % 2 else 'jpg'}")
    (tmp_path / ".hidden").write_text("nothing")
    (tmp_path / "below").mkdir()
    with caplog.at_level(logging.INFO), PictureFolderReader(tmp_path) as reader:
        assert (reader.length, reader.size, reader.fps, reader.has_audio) == (6, (48, 64), FOLDER_FPS, False)
        frames = list(reader)
    assert [number_of(picture) for picture, _ in frames] == [0, 1, 2, 9, 10, 11]
    assert [time for _, time in frames] == [Fraction(index, 25) for index in range(6)]
    assert caplog.messages == []


def test_other_files_and_sizes_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_picture(numbered_picture(1), tmp_path / "1.png")
    for name in ("2.png", "3.png"):
        write_picture(numbered_picture(2, (96, 96)), tmp_path / name)
    (tmp_path / "Thumbs.db").write_bytes(b"nothing")
    with caplog.at_level(logging.INFO), PictureFolderReader(tmp_path) as reader:
        pictures = [picture for picture, _ in reader]
    assert [picture.shape for picture in pictures] == 3 * [(48, 64, 3)]
    assert caplog.messages == [
        f"{tmp_path}: 3 pictures; other files, 1, are passed over, the first is Thumbs.db.",
        f"{tmp_path / '2.png'}: not of the first picture's size; such pictures are scaled to fit into it.",
    ]


def test_a_picture_is_fitted_into_the_middle_of_black() -> None:
    white = np.full((100, 50, 3), 255, np.uint8)
    wide = fitted(white, (40, 60))
    # 40 / 100 of its size: 20 columns, from (60 - 20) / 2 on.
    assert (wide[:, 20:40] == 255).all()
    assert wide.sum() == 3 * 255 * 40 * 20
    tall = fitted(white, (300, 100))
    assert (tall[50:250] == 255).all()
    assert tall.sum() == 3 * 255 * 200 * 100


def test_a_folder_without_pictures_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(HideNerfError, match=r"there are no pictures in this folder; give one with a picture a frame"):
        PictureFolderReader(tmp_path)
    write_picture(numbered_picture(0), tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    with PictureFolderReader(tmp_path) as reader, pytest.raises(HideNerfError, match=r"1\.png: not a readable picture"):
        list(reader)
