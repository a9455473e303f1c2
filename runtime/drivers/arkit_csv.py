"""ARKit takes as CSV, as Live Link Face, Audio2Face and others write them: one row a frame, one column a facial action.

The makers do not document the columns. They are read as follows; a note says what was checked on real takes:

- The 52 actions, in any order and known spelling (`hidenerf.runtime.tracking.arkit`); clipped to [0, 1] (takes reach
  1.05). tongueOut may be missing. Values of which most are above 1.5 are percent.
- A row of a lost face has no values, a `BlendShapeCount` of 0 (so in real takes, which then end the row), or 0 or false
  in a column such as `tracked`. It holds the last motion; the first ones hold the first tracked row's, as for clips.
- `Timecode` HH:MM:SS:FF.sub gives the frame rate: the value at which FF wraps, divided by its step from row to row.
  In a real take FF wraps at 60 in steps of 2: 30 rows a second. Times in seconds are read, too (`row_times`). Frames
  without a row, which real takes have, hold the last motion.
- `HeadYaw`, `HeadPitch`, `HeadRoll` and the eyes' angles are radians of an Unreal rotator of ARKit's transforms, whose
  x axis points out of the back of the head and z up: positive yaw turns to the subject's right, positive pitch down,
  positive roll towards the subject's left shoulder. (Checked for the eyes: pitch is 35° times eyeLookDown within
  0.02°, yaw grows with looking to the subject's right. Head angles are 0 where the app did not stream the head.)
  Angles beyond a full turn are degrees; smaller ones that a face cannot turn could be either and are refused.
- The eyes' angles are already in the eyeLook actions; they are used only where all of those are 0.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.drivers.arkit_rows import EYE_ANGLES, HEAD_ANGLES, TONGUE, Take, read_take
from hidenerf.runtime.drivers.base import MotionDriver
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.drivers.row_times import RowFrames, RowTimeError, row_frames, rows_without_times
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.motion import Motion
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, limit_mouth_close

logger = logging.getLogger(__name__)

# The eyes' angle at which an eyeLook action is 1.
EYE_RANGE_RADIANS = np.radians(35.0)
# A face that turns further from the camera is not tracked; a phone on its side or head rolls by up to a half turn.
MAX_TURN_RADIANS = np.radians(100.0)
MAX_ROLL_RADIANS = 1.01 * np.pi
# Values of actions, of which most of those above 0 are larger, are percent.
PERCENT_FROM = 1.5
MAX_PERCENT = 200.0

Values = NDArray[np.float64]
# [R, C] of R tracked rows by name: C columns of an action, one of an angle.
Columns = Mapping[str, Values]


def open_arkit_csv(spec: str, options: DriverOptions) -> MotionDriver:
    """The driver of a take. Errors: those of `load_arkit_csv`."""
    return MotionDriver(load_arkit_csv(Path(spec), options.face_model))


def load_arkit_csv(path: Path, face_model: FaceModel) -> Motion:
    """Read a take as a motion of a face model that has ARKit's 52 expressions.

    Without a column of times the frame rate is 30. Frames without a row, rows without a face, and units that were found
    are logged.
    Errors: those of `read_take`; times that are none, go back or leap; no row with a face; angles or actions in unknown
    units; a face model with other expressions.
    """
    if set(face_model.expression_names) != set(ARKIT_EXPRESSIONS):
        raise HideNerfError(
            f"{path}: ARKit's facial actions cannot drive the face model {face_model.name}, which has other "
            "expressions; use a bundle with the default face model."
        )
    take = read_take(path)
    has_face = np.array(take.tracked)
    if not has_face.any():
        raise HideNerfError(
            f"{path}: none of the {len(has_face)} rows has a tracked face; export a take that shows one."
        )
    frames = _frames(path, take)
    values = np.frombuffer(take.numbers, np.float64).reshape(len(has_face), -1)[has_face]
    lines = np.array(take.lines)[has_face]
    columns = {name: values[:, [n == name for n in take.names]] for name in dict.fromkeys(take.names)}
    expression = _actions(path, columns, face_model.expression_names, lines)
    expression = _with_gaze(path, expression, face_model.expression_names, columns, lines)
    held, tracked = _held_rows(frames, has_face)
    if frames.missing:
        logger.warning(
            "%s: missing frames: %d of %d, where time goes on without rows; the last motion is held there.",
            path,
            frames.missing,
            len(held),
        )
    if frames.doubled:
        logger.warning("%s: rows that another follows on the same frame: %d; they are left out.", path, frames.doubled)
    if not has_face.all():
        logger.info(
            "%s: rows without a face: %d of %d; the last motion is held there.",
            path,
            np.count_nonzero(~has_face),
            len(has_face),
        )
    return Motion(
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        expression=limit_mouth_close(expression, face_model.expression_names)[held],
        camera=_cameras(path, columns, lines)[held],
        tracked=tracked,
        fps=frames.fps,
    )


def _frames(path: Path, take: Take) -> RowFrames:
    if take.times is None or not any(take.times):
        return rows_without_times(len(take.lines))
    try:
        return row_frames(take.times)
    except RowTimeError as error:
        raise HideNerfError(f"{path}: line {take.lines[error.row]}: {error.problem}.") from None


def _held_rows(frames: RowFrames, has_face: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whose motion each frame [T] has: the index among the rows with a face; and whether it is the frame's own.

    has_face: [N] of each row.
    """
    row_of_frame = np.full(int(frames.frame[-1]) + 1, -1)
    row_of_frame[frames.frame] = np.arange(len(has_face))
    tracked = (row_of_frame >= 0) & has_face[row_of_frame]
    own = np.where(tracked, (np.cumsum(has_face) - 1)[row_of_frame], -1)
    # Before the first face its motion is held backwards.
    return np.maximum(np.maximum.accumulate(own), 0), tracked


def _actions(path: Path, columns: Columns, names: Sequence[str], lines: NDArray[np.int64]) -> NDArray[np.float32]:
    """expression [R, E] of tracked rows, in [0, 1]."""
    still = np.zeros((len(lines), 1))
    if TONGUE not in columns:
        logger.info("%s: there is no column TongueOut; the tongue stays in.", path)
    values = np.stack([np.nan_to_num(columns.get(name, still)).mean(axis=1) for name in names], axis=1)
    row, action = divmod(int(np.argmax(values)), len(names))
    largest = values[row, action]
    if (values > 0).any() and np.median(values[values > 0]) > PERCENT_FROM:
        if largest > MAX_PERCENT:
            raise HideNerfError(
                f"{path}: line {lines[row]}, column {names[action].lower()}: {largest:g} is neither "
                "an action from 0 to 1 nor a percentage; export it anew with values from 0 to 1."
            )
        logger.info("%s: values up to %g are read as percent.", path, largest)
        values = values / 100.0
    return np.clip(values, 0.0, 1.0).astype(np.float32)


def _with_gaze(
    path: Path, expression: NDArray[np.float32], names: Sequence[str], columns: Columns, lines: NDArray[np.int64]
) -> NDArray[np.float32]:
    """expression [R, E] with eyeLook actions from the eyes' angles, where those actions are all 0."""
    looks = [index for index, name in enumerate(names) if name.startswith("eyeLook")]
    if expression[:, looks].any():
        return expression
    expression = expression.copy()
    angles = _radians(path, "the eyes'", columns, EYE_ANGLES, lines)
    for side, inwards in (("Left", 1.0), ("Right", -1.0)):
        down = angles[f"{side.lower()}eyepitch"] / EYE_RANGE_RADIANS
        to_nose = inwards * angles[f"{side.lower()}eyeyaw"] / EYE_RANGE_RADIANS
        for direction, amount in (("Down", down), ("Up", -down), ("In", to_nose), ("Out", -to_nose)):
            expression[:, names.index(f"eyeLook{direction}{side}")] = np.clip(amount, 0.0, 1.0)
    return expression


def _cameras(path: Path, columns: Columns, lines: NDArray[np.int64]) -> NDArray[np.float32]:
    """camera [R, 25] of tracked rows."""
    angles = _radians(path, "the head's", columns, HEAD_ANGLES, lines)
    turns, row = np.unique(
        np.degrees(np.stack([angles[name] for name in HEAD_ANGLES], axis=1)), axis=0, return_inverse=True
    )
    return np.stack([canonical_camera(-yaw, pitch, -roll) for yaw, pitch, roll in turns])[row.reshape(-1)]


def _radians(
    path: Path, whose: str, columns: Columns, names: Sequence[str], lines: NDArray[np.int64]
) -> dict[str, Values]:
    """Angles [R] by name, radians; 0 where there is no such column or it is empty.

    Errors: an angle is missing in some rows, or is larger than a face turns and yet no degrees for certain.
    """
    angles = {name: columns[name][:, 0] if name in columns else np.zeros(len(lines)) for name in names}
    angles = {name: np.zeros(len(lines)) if np.isnan(values).all() else values for name, values in angles.items()}
    for name, values in angles.items():
        if np.isnan(values).any():
            line = lines[np.flatnonzero(np.isnan(values))[0]]
            raise HideNerfError(f"{path}: line {line}, column {name}: there is no value; correct or export it anew.")
    largest = max(float(np.abs(values).max()) for values in angles.values())
    if 2 * np.pi < largest <= 360.0:
        logger.info("%s: %s angles up to %g are read as degrees.", path, whose, largest)
        return {name: np.radians(values) for name, values in angles.items()}
    for name, values in angles.items():
        row = int(np.argmax(np.abs(values)))
        if abs(values[row]) > (MAX_ROLL_RADIANS if name.endswith("roll") else MAX_TURN_RADIANS):
            raise HideNerfError(
                f"{path}: line {lines[row]}, column {name}: {values[row]:g} is more than a face turns in radians, and "
                f"may be degrees; give {whose} angles in radians."
            )
    return angles
