import numpy as np

from hidenerf.training.data.synthetic.sample_sheet import COLUMNS, contact_sheet

CELL = 90


def test_samples_stand_side_by_side_in_rows() -> None:
    shades = np.arange(1, 7, dtype=np.uint8) * 10
    first, second = (np.broadcast_to((shades + offset)[:, None, None, None], (6, 8, 8, 3)) for offset in (0, 100))
    sheet = contact_sheet([first, second], CELL)
    assert sheet.shape == (2 * CELL, 2 * COLUMNS * CELL, 3)
    cells = sheet[CELL // 2 :: CELL, CELL // 2 :: CELL, 0]
    assert cells.tolist() == [[10, 110, 20, 120, 30, 130, 40, 140], [50, 150, 60, 160, 0, 0, 0, 0]]
