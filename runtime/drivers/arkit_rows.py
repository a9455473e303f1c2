"""The rows of an ARKit take: which columns a file has, and the numbers, the time and the tracking of each row."""

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hidenerf.runtime.drivers.csv_table import table_rows
from hidenerf.runtime.drivers.row_times import MAX_FRAMES
from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, action_of_spelling, plain_spelling

HEAD_ANGLES = ("headyaw", "headpitch", "headroll")
EYE_ANGLES = ("lefteyeyaw", "lefteyepitch", "righteyeyaw", "righteyepitch")
TONGUE = "tongueOut"

# Columns by their plain spelling, the preferred first.
_TIME_COLUMNS = ("timecode", "timestamp", "time", "seconds", "timesec", "timeseconds", "timems", "timestampms")
_COUNT_COLUMNS = ("blendshapecount",)
_FLAG_COLUMNS = (
    *("tracked", "istracked", "facetracked", "tracking", "istracking", "facefound", "facedetected", "hasface"),
    *("valid", "isvalid", "success"),
)
# Actions that other rigs divide into sides.
_DIVIDED = ("browInnerUp", "cheekPuff")
_NO_VALUE = frozenset(("", "nan", "null", "none", "na", "n/a", "-"))
_FALSE = frozenset(("0", "0.0", "false", "no", "off", "lost"))


@dataclass
class Take:
    """The rows of a file.

    names: [W] of the columns with numbers: Apple's names of actions, plain spellings of angles; an action may have
        several.
    times: [N] cells of the column of times, None without one.
    lines: [N] line numbers from 1.
    tracked: [N] whether the row has a face.
    numbers: N * W values row by row, NaN in rows without a face and in cells of angles and the tongue without a value.
    """

    names: list[str]
    times: list[str] | None
    lines: list[int] = field(default_factory=list)
    tracked: list[bool] = field(default_factory=list)
    numbers: "array.array[float]" = field(default_factory=lambda: array.array("d"))


@dataclass(frozen=True)
class _Columns:
    """Where a row's cells lie.

    header: the columns' names in the file.
    numbers: index and name of each column with numbers; actions first.
    actions: how many of them are actions.
    time, count: indices, None without.
    flags: indices of columns that say whether a face was tracked.
    """

    header: Sequence[str]
    numbers: Sequence[tuple[int, str]]
    actions: int
    time: int | None
    count: int | None
    flags: Sequence[int]

    def has_face(self, cells: Sequence[str]) -> bool:
        """Whether a row has values of a tracked face."""
        flagged = [index for index in (self.count, *self.flags) if index is not None and index < len(cells)]
        if any(cells[index].lower() in _FALSE for index in flagged):
            return False
        return any(index < len(cells) and _has_value(cells[index]) for index, _ in self.numbers[: self.actions])


def read_take(path: Path) -> Take:
    """The rows of a take.

    Errors: those of `table_rows`; an empty file, columns missing or twice, a row of another length (without a tongue
    at its end it is whole), a value that is not a number, no rows, more than `MAX_FRAMES` rows.
    """
    rows = table_rows(path, lambda name: action_of_spelling(name) is not None)
    header = _without_end(next(rows, (0, []))[1])
    if not header:
        raise HideNerfError(f"{path}: the file is empty; export the take anew.")
    columns = _find_columns(path, header)
    take = Take([name for _, name in columns.numbers], None if columns.time is None else [])
    empty: list[int] = []
    for line, row in rows:
        cells = _without_end(row, len(header))
        if not any(cells):
            empty.append(line)
            continue
        # Without times, empty rows between others are frames; those at the end are a spreadsheet's.
        if columns.time is None:
            for lost in empty:
                _add_row(take, columns, lost, None)
        empty.clear()
        if columns.has_face(cells):
            _add_row(take, columns, line, _numbers(path, line, columns, cells), cells)
        elif columns.time is None or _cell(cells, columns.time):
            _add_row(take, columns, line, None, cells)
        if len(take.lines) > MAX_FRAMES:
            raise HideNerfError(f"{path}: the take has more than {MAX_FRAMES} rows; divide it.")
    if not take.lines:
        raise HideNerfError(f"{path}: there are no rows under the header; export the take anew.")
    return take


def _without_end(cells: list[str], length: int = 0) -> list[str]:
    """Cells without the empty ones at the end, of which `length` may stay."""
    end = len(cells)
    while end > length and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _find_columns(path: Path, header: Sequence[str]) -> _Columns:
    actions = [(index, action) for index, name in enumerate(header) if (action := action_of_spelling(name)) is not None]
    found = [action for _, action in actions]
    missing = [name for name in ARKIT_EXPRESSIONS if name not in found]
    if missing and missing != [TONGUE]:
        named = ", ".join(_pascal_case(name) for name in missing[:4]) + (", ..." if len(missing) > 4 else "")
        start = shown(",".join(header), 40)
        raise HideNerfError(
            f"{path}: {len(missing)} of ARKit's 52 columns are missing ({named}); the first line must name them all, "
            "as in Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,...,TongueOut of the Live Link Face app, but "
            f'begins with "{start}".'
        )
    for name in found:
        same = [header[index] for index, action in actions if action == name]
        if len(same) > 1 and name not in _DIVIDED:
            raise HideNerfError(
                f"{path}: the columns {shown(same[0])} and {shown(same[1])} are both {name}; remove one of them."
            )
    plain = [plain_spelling(name) for name in header]
    angles = [(plain.index(name), name) for name in (*HEAD_ANGLES, *EYE_ANGLES) if name in plain]
    return _Columns(
        header=header,
        numbers=[*actions, *angles],
        actions=len(actions),
        time=next((plain.index(name) for name in _TIME_COLUMNS if name in plain), None),
        count=next((plain.index(name) for name in _COUNT_COLUMNS if name in plain), None),
        flags=[index for index, name in enumerate(plain) if name in _FLAG_COLUMNS],
    )


def _pascal_case(name: str) -> str:
    return name[0].upper() + name[1:]


def _add_row(take: Take, columns: _Columns, line: int, numbers: list[float] | None, cells: Sequence[str] = ()) -> None:
    take.lines.append(line)
    take.tracked.append(numbers is not None)
    take.numbers.extend([math.nan] * len(take.names) if numbers is None else numbers)
    if take.times is not None and columns.time is not None:
        take.times.append(_cell(cells, columns.time))


def _cell(cells: Sequence[str], index: int) -> str:
    return cells[index] if index < len(cells) else ""


def _has_value(cell: str) -> bool:
    return cell.lower() not in _NO_VALUE


def _numbers(path: Path, line: int, columns: _Columns, cells: Sequence[str]) -> list[float]:
    absent = columns.header[len(cells) :]
    if len(cells) > len(columns.header) or any(name and action_of_spelling(name) != TONGUE for name in absent):
        raise HideNerfError(
            f"{path}: line {line} has {len(cells)} values where the header names {len(columns.header)}; "
            "the file may be cut short."
        )
    return [_number(path, line, name, _cell(cells, index), columns) for index, name in columns.numbers]


def _number(path: Path, line: int, name: str, cell: str, columns: _Columns) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    if (name == TONGUE and not cell) or (name in (*HEAD_ANGLES, *EYE_ANGLES) and not _has_value(cell)):
        return math.nan
    column = next(columns.header[index] for index, found in columns.numbers if found == name)
    raise HideNerfError(
        f'{path}: line {line}, column {shown(column.lower())}: "{shown(cell)}" is not a number; '
        "correct or export it anew."
    )
