"""ARKit takes as CSV, such as the Live Link Face app writes: one row a frame, one column a facial action.

The app's makers do not document the columns. They are read as follows; a note says what was checked on real takes:

- The 52 actions, in any order and case; clipped to [0, 1] (takes reach 1.05).
- `Timecode` HH:MM:SS:FF.sub gives the frame rate: the value at which FF wraps, divided by its step from row to row.
  In a real take FF wraps at 60 in steps of 2: 30 rows a second. Every row is one frame.
- `HeadYaw`, `HeadPitch`, `HeadRoll` and the eyes' angles are radians of an Unreal rotator of ARKit's transforms, whose
  x axis points out of the back of the head and z up: positive yaw turns to the subject's right, positive pitch down,
  positive roll towards the subject's left shoulder. (Checked for the eyes: pitch is 35° times eyeLookDown within
  0.02°, yaw grows with looking to the subject's right. Head angles are 0 where the app did not stream the head.)
- The eyes' angles are already in the eyeLook actions; they are used only where all of those are 0.
"""

import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.drivers.base import MotionDriver
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.motion import Motion
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, limit_mouth_close

DEFAULT_FPS = Fraction(30)

# The eyes' angle at which an eyeLook action is 1.
EYE_RANGE_RADIANS = np.radians(35.0)

_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)([:;])(\d+(?:\.\d+)?)")
# Counts of frames per second that timecodes use.
_TIMECODE_COUNTS = (24, 25, 30, 48, 50, 60, 100, 120)
_USUAL_COUNT = 60

Columns = Mapping[str, NDArray[np.float64]]


def open_arkit_csv(spec: str, options: DriverOptions) -> MotionDriver:
    """The driver of a take. Errors: those of `load_arkit_csv`."""
    return MotionDriver(load_arkit_csv(Path(spec), options.face_model))


def load_arkit_csv(path: Path, face_model: FaceModel) -> Motion:
    """Read a take as a motion of a face model that has ARKit's 52 expressions.

    Without a Timecode column the frame rate is 30.
    Errors: no such file, another kind of CSV, columns missing, a row of another length, a value that is not a number,
    no rows, a face model with other expressions.
    """
    if set(face_model.expression_names) != set(ARKIT_EXPRESSIONS):
        raise HideNerfError(
            f"{path}: ARKit's facial actions cannot drive the face model {face_model.name}, which has other "
            "expressions; use a bundle with the default face model."
        )
    header, rows = _read_rows(path)
    columns = _numbers(path, header, rows)
    actions = np.stack([columns[name.lower()] for name in face_model.expression_names], axis=1)
    expression = np.clip(actions, 0.0, 1.0).astype(np.float32)
    expression = _with_gaze(expression, face_model.expression_names, columns)
    fps = DEFAULT_FPS
    if "timecode" in header:
        fps = timecode_fps([_timecode(path, number, row[header.index("timecode")]) for number, row in rows])
    return Motion(
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        expression=limit_mouth_close(expression, face_model.expression_names),
        camera=_cameras(columns, len(rows)),
        tracked=np.ones(len(rows), np.bool_),
        fps=fps,
    )


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and the rows that are not empty with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(stream), 1)]
    except FileNotFoundError:
        raise HideNerfError(f"{path}: no such file; give the path of a CSV file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HideNerfError(f"{path}: not a CSV file ({error}); export the take anew.") from None
    lines = [(number, row) for number, row in lines if any(row)]
    if not lines:
        raise HideNerfError(f"{path}: the file is empty; export the take anew.")
    header = [name.lower() for name in lines[0][1]]
    missing = [name for name in ARKIT_EXPRESSIONS if name.lower() not in header]
    if missing:
        named = ", ".join(_pascal_case(name) for name in missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise HideNerfError(
            f"{path}: {len(missing)} of ARKit's 52 columns are missing ({named}); the first line must name them all, "
            "as in Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,...,TongueOut of the Live Link Face app."
        )
    if len(lines) == 1:
        raise HideNerfError(f"{path}: there are no rows under the header; export the take anew.")
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise HideNerfError(
                f"{path}: line {number} has {len(row)} values where the header names {len(header)}; "
                "the file may be cut short."
            )
    return header, lines[1:]


def _pascal_case(name: str) -> str:
    return name[0].upper() + name[1:]


def _numbers(path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> Columns:
    read = {name.lower() for name in (*ARKIT_EXPRESSIONS, "HeadYaw", "HeadPitch", "HeadRoll")}
    read |= {f"{side}eye{angle}" for side in ("left", "right") for angle in ("yaw", "pitch")}
    columns = {}
    for index, name in enumerate(header):
        if name in read:
            columns[name] = np.array([_number(path, line, name, row[index]) for line, row in rows])
    return columns


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise HideNerfError(
            f'{path}: line {line}, column {column}: "{cell}" is not a number; correct or export it anew.'
        )
    return value


def _with_gaze(expression: NDArray[np.float32], names: Sequence[str], columns: Columns) -> NDArray[np.float32]:
    """expression [T, E] with eyeLook actions from the eyes' angles, where those actions are all 0."""
    looks = [index for index, name in enumerate(names) if name.startswith("eyeLook")]
    if expression[:, looks].any():
        return expression
    expression = expression.copy()
    still = np.zeros(len(expression))
    for side, inwards in (("Left", 1.0), ("Right", -1.0)):
        down = columns.get(f"{side.lower()}eyepitch", still) / EYE_RANGE_RADIANS
        to_nose = inwards * columns.get(f"{side.lower()}eyeyaw", still) / EYE_RANGE_RADIANS
        for direction, amount in (("Down", down), ("Up", -down), ("In", to_nose), ("Out", -to_nose)):
            expression[:, names.index(f"eyeLook{direction}{side}")] = np.clip(amount, 0.0, 1.0)
    return expression


def _cameras(columns: Columns, rows: int) -> NDArray[np.float32]:
    angles = [np.degrees(columns.get(name, np.zeros(rows))) for name in ("headyaw", "headpitch", "headroll")]
    return np.stack([canonical_camera(-yaw, pitch, -roll) for yaw, pitch, roll in zip(*angles, strict=True)])


def _timecode(path: Path, line: int, cell: str) -> tuple[int, float, bool]:
    """Seconds since midnight, the frame within the second, and whether it is drop-frame timecode."""
    match = _TIMECODE.fullmatch(cell)
    if match is None:
        raise HideNerfError(
            f'{path}: line {line}: "{cell}" is not a timecode HH:MM:SS:FF.sub; correct or export it anew.'
        )
    hours, minutes, seconds, separator, frame = match.groups()
    return (int(hours) * 60 + int(minutes)) * 60 + int(seconds), float(frame), separator == ";"


def timecode_fps(timecodes: Sequence[tuple[int, float, bool]]) -> Fraction:
    """Rows per second from timecodes (second, frame, drop-frame): the count of frames per second over the rows' step.

    The count shows where a second ends. A take within one second is assumed to count to 60, as the app does. One row
    has no rate and gets `DEFAULT_FPS`.
    """
    pairs = list(itertools.pairwise(timecodes))
    steps = [after[1] - before[1] for before, after in pairs if after[0] == before[0] and after[1] > before[1]]
    if not steps:
        return DEFAULT_FPS
    step = max(Fraction(float(np.median(steps))).limit_denominator(4), Fraction(1, 4))
    counts = [before[1] + float(step) - after[1] for before, after in pairs if after[0] - before[0] in (1, -86399)]
    largest = max(frame for _, frame, _ in timecodes)
    possible = [count for count in _TIMECODE_COUNTS if count > largest] or [round(largest) + 1]
    count = min(possible, key=lambda c: abs(c - (float(np.median(counts)) if counts else _USUAL_COUNT)))
    fps = Fraction(count) / step
    return fps * Fraction(1000, 1001) if timecodes[0][2] else fps
