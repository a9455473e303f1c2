import csv
import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera, euler_from_rotation, head_pose_from_camera
from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS

Row = dict[str, float | str]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_csv(*rows: Row, columns: tuple[str, ...] = ARKIT_EXPRESSIONS) -> Path:
        """A take with these columns and those the rows have besides; what a row lacks is 0."""
        extra = [name for row in rows for name in row if name not in columns]
        path = tmp_path / "take.csv"
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, [*dict.fromkeys(extra), *columns], restval=0)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write_csv


def test_a_real_take(face_model: FaceModel, shared_data: Path) -> None:
    path = shared_data / "drv_livelinkface.csv"
    motion = load_arkit_csv(path, face_model)
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    # Between rows 49 and 50 the app dropped a frame: FF steps by 4 there.
    assert (len(rows), len(motion)) == (150, 151)
    frames = [index for index in range(151) if index != 49]
    np.testing.assert_array_equal(motion.tracked, np.arange(151) != 49)
    assert motion.fps == Fraction(30)
    assert motion.face_model == face_model.name
    for name in ("jawOpen", "eyeLookDownLeft", "tongueOut", "browInnerUp"):
        column = motion.expression[:, motion.expression_names.index(name)]
        written = [float(row[name[0].upper() + name[1:]]) for row in rows]
        np.testing.assert_allclose(column[frames], np.clip(written, 0, 1), rtol=1e-6)
    # Its head angles were recorded as 0.
    np.testing.assert_allclose(motion.camera, np.tile(canonical_camera(), (151, 1)))


def test_columns_in_any_order_and_case_and_values_are_clipped(face_model: FaceModel, write: Write) -> None:
    columns = tuple(name.upper() for name in reversed(ARKIT_EXPRESSIONS))
    motion = load_arkit_csv(write({"JAWOPEN": 1.05, "CHEEKPUFF": -0.1, "TONGUEOUT": 0.25}, columns=columns), face_model)
    values = dict(zip(motion.expression_names, motion.expression[0], strict=True))
    assert (values["jawOpen"], values["cheekPuff"], values["tongueOut"]) == (1.0, 0.0, 0.25)
    assert motion.fps == 30


def test_mouth_close_is_no_larger_than_jaw_open(face_model: FaceModel, write: Write) -> None:
    motion = load_arkit_csv(write({"mouthClose": 0.5, "jawOpen": 0.3}), face_model)
    assert motion.expression[0, motion.expression_names.index("mouthClose")] == np.float32(0.3)


def test_head_angles_are_radians_of_an_unreal_rotator(face_model: FaceModel, write: Write) -> None:
    motion = load_arkit_csv(write({"HeadYaw": 0.3, "HeadPitch": 0.2, "HeadRoll": 0.1}), face_model)
    rotation, _, _ = head_pose_from_camera(motion.camera[0])
    # To the subject's right, down, and towards the left shoulder.
    np.testing.assert_allclose(euler_from_rotation(rotation), np.degrees([-0.3, 0.2, -0.1]), atol=1e-4)


def test_eye_angles_are_used_only_where_the_gaze_is_not_in_the_actions(face_model: FaceModel, write: Write) -> None:
    angle = np.radians(17.5)
    eyes: Row = {"LeftEyePitch": angle, "LeftEyeYaw": angle, "RightEyePitch": -angle, "RightEyeYaw": angle}
    motion = load_arkit_csv(write(eyes), face_model)
    values = dict(zip(motion.expression_names, motion.expression[0], strict=True))
    looking = {name: round(float(value), 4) for name, value in values.items() if value}
    # Both eyes turn to the subject's right: inwards for the left one, outwards for the right one.
    assert looking == {"eyeLookDownLeft": 0.5, "eyeLookUpRight": 0.5, "eyeLookInLeft": 0.5, "eyeLookOutRight": 0.5}
    motion = load_arkit_csv(write(eyes | {"eyeLookUpLeft": 0.4}), face_model)
    values = dict(zip(motion.expression_names, motion.expression[0], strict=True))
    assert {name for name, value in values.items() if value} == {"eyeLookUpLeft"}


def test_eye_angles_of_a_real_take_give_the_gaze_that_it_has(
    face_model: FaceModel, shared_data: Path, write: Write
) -> None:
    with (shared_data / "drv_livelinkface.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    given = load_arkit_csv(shared_data / "drv_livelinkface.csv", face_model)
    derived = load_arkit_csv(
        write(*[{k: float(v) for k, v in row.items() if "EyeY" in k or "EyeP" in k} for row in rows]), face_model
    )
    for name in ("eyeLookDownLeft", "eyeLookDownRight"):
        index = given.expression_names.index(name)
        np.testing.assert_allclose(derived.expression[:, index], given.expression[given.tracked, index], atol=2e-3)
    # The direction in which the app takes the eyes to rest is not known, so sideways only the changes agree.
    inwards, outwards = (given.expression_names.index(f"eyeLook{way}Left") for way in ("In", "Out"))
    sideways = [(take.expression[:, inwards] - take.expression[:, outwards])[take.tracked] for take in (given, derived)]
    assert np.corrcoef(sideways)[0, 1] > 0.99


def test_drop_frame_timecode_is_ntsc(face_model: FaceModel, write: Write) -> None:
    rows: list[Row] = [{"Timecode": f"10:00:{index // 30:02d};{index % 30:02d}"} for index in range(65)]
    assert load_arkit_csv(write(*rows), face_model).fps == Fraction(30000, 1001)


def test_missing_columns_are_named_and_a_proper_header_shown(face_model: FaceModel, write: Write) -> None:
    columns = tuple(name for name in ARKIT_EXPRESSIONS if name not in ("jawOpen", "tongueOut"))
    with pytest.raises(
        HideNerfError, match=r"2 of ARKit's 52 columns are missing \(JawOpen, TongueOut\).*EyeBlinkLeft"
    ):
        load_arkit_csv(write({}, columns=columns), face_model)
    with pytest.raises(HideNerfError, match=r"52 of ARKit's 52 columns .*BrowDownLeft, .*\.\.\.\)"):
        load_arkit_csv(write({}, columns=("a", "b")), face_model)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        (",".join(ARKIT_EXPRESSIONS) + "\n", "no rows under the header"),
        (",".join(ARKIT_EXPRESSIONS) + "\n0,0,0\n", "line 2 has 3 values where the header names 52"),
        (",".join(ARKIT_EXPRESSIONS) + "\n" + "0," * 51 + "x\n", 'line 2, column tongueout: "x" is not a number'),
        (",".join(ARKIT_EXPRESSIONS) + "\n" + "0," * 51 + "nan\n", '"nan" is not a number'),
        ("Timecode," + ",".join(ARKIT_EXPRESSIONS) + "\nnoon" + ",0" * 52 + "\n", '"noon" is not a timecode'),
        ("\0\x01\x02", "columns are missing|not a CSV"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(face_model: FaceModel, tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "take.csv"
    path.write_text(text)
    with pytest.raises(HideNerfError, match=problem) as raised:
        load_arkit_csv(path, face_model)
    assert str(path) in str(raised.value)


def test_binary_data_is_not_a_csv(face_model: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "take.csv"
    path.write_bytes(bytes(range(128, 256)) * 4)
    with pytest.raises(HideNerfError, match="not a CSV file"):
        load_arkit_csv(path, face_model)


HEADER = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT_EXPRESSIONS))


def app_rows(values: Sequence[float | None]) -> list[str]:
    """Rows of the app at 30 a second: all actions have the value; None is a row of a lost face."""
    return [
        f"10:00:{index // 30:02}:{2 * (index % 30):02}.685,"
        + ("0" if value is None else ",".join(["61", *[f"{value}"] * 52]))
        for index, value in enumerate(values)
    ]


def written(tmp_path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path = tmp_path / "take.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def jaw(motion: Motion) -> list[float]:
    return [round(float(x), 4) for x in motion.expression[:, motion.expression_names.index("jawOpen")]]


def test_rows_of_a_lost_face_hold_the_last_motion(face_model: FaceModel, tmp_path: Path) -> None:
    values = [None, None, 0.1, 0.2, None, None, 0.5, None]
    motion = load_arkit_csv(written(tmp_path, [",".join(HEADER), *app_rows(values)]), face_model)
    assert jaw(motion) == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.5, 0.5]
    assert motion.tracked.tolist() == [value is not None for value in values]
    assert motion.fps == 30


@pytest.mark.parametrize(
    ("columns", "lost"),
    [
        ("", "," * 51),  # empty cells
        ("", ",".join(["nan"] * 52)),
        ("BlendShapeCount", "0" + ",0.0" * 52),  # zeros and a count of 0
        ("BlendShapeCount", "0" + "," * 52),
        ("tracked", "False" + ",0.0" * 52),
        ("is_tracked", "0" + ",0.7" * 52),
    ],
)
def test_ways_to_say_that_a_face_was_lost(face_model: FaceModel, tmp_path: Path, columns: str, lost: str) -> None:
    names = ["time", *([columns] if columns else []), *ARKIT_EXPRESSIONS]
    flag = {"": "", "BlendShapeCount": "52,"}.get(columns, "True,")
    rows = [f"{index / 25},{flag}" + ",".join([value] * 52) for index, value in enumerate(("0.1", "0.2", "0.3", "0.4"))]
    rows[2] = f"{2 / 25},{lost}"
    motion = load_arkit_csv(written(tmp_path, [",".join(names), *rows]), face_model)
    assert (jaw(motion), motion.tracked.tolist()) == ([0.1, 0.2, 0.2, 0.4], [True, True, False, True])
    assert motion.fps == 25


def test_zeros_without_a_flag_are_a_neutral_face(face_model: FaceModel, tmp_path: Path) -> None:
    motion = load_arkit_csv(written(tmp_path, [",".join(HEADER), *app_rows([0.5, 0.0, 0.5])]), face_model)
    assert (jaw(motion), motion.tracked.all()) == ([0.5, 0.0, 0.5], True)


def test_a_take_without_any_face_is_refused(face_model: FaceModel, tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match="none of the 3 rows has a tracked face"):
        load_arkit_csv(written(tmp_path, [",".join(HEADER), *app_rows([None] * 3)]), face_model)


def test_empty_rows_are_frames_only_between_others(face_model: FaceModel, tmp_path: Path) -> None:
    rows = [",".join(["0.1"] * 52), "," * 51, ",".join(["0.3"] * 52), "," * 51, "," * 51]
    motion = load_arkit_csv(written(tmp_path, [",".join(ARKIT_EXPRESSIONS), *rows]), face_model)
    assert (jaw(motion), motion.tracked.tolist()) == ([0.1, 0.1, 0.3], [True, False, True])


def test_dropped_frames_are_placed_by_time_and_counted_in_one_line(
    face_model: FaceModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = app_rows([index / 100 for index in range(60)])
    kept = [row for index, row in enumerate(rows) if index not in (5, 6, 40)]
    with caplog.at_level(logging.WARNING):
        motion = load_arkit_csv(written(tmp_path, [",".join(HEADER), *kept]), face_model)
    held = [4 if index in (5, 6) else 39 if index == 40 else index for index in range(60)]
    assert jaw(motion) == [index / 100 for index in held]
    assert np.flatnonzero(~motion.tracked).tolist() == [5, 6, 40]
    assert len(caplog.messages) == 1
    assert "missing frames: 3 of 60" in caplog.messages[0]


def excel(line: str) -> str:
    """A line as a spreadsheet in a country with decimal commas saves it."""
    return line.replace(",", ";").replace(".", ",")


TAKE = [",".join((*HEADER, "HeadYaw")), *[row + ",0.25" for row in app_rows([0.1, 0.2, 0.3])]]


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (TAKE, "utf-8-sig"),
        (TAKE, "utf-16"),
        (TAKE, "utf-16-le"),
        (TAKE, "utf-16-be"),
        (TAKE, "utf-32"),
        ([line.replace(",", ";") for line in TAKE], "utf-8"),
        ([line.replace(",", "\t") for line in TAKE], "utf-16"),
        ([line.replace(",", " , ") for line in TAKE], "utf-8"),
        (["sep=;", *map(excel, TAKE)], "utf-8"),
        ([excel(line).replace(";", "\t") for line in TAKE], "utf-8"),
        ([",".join(f'"{cell}"' for cell in line.split(",")) for line in TAKE], "utf-8"),
        ([",".join(f'"{cell.replace(".", ",")}"' for cell in line.split(",")) for line in TAKE], "utf-8"),
        ([line + "," for line in TAKE], "utf-8"),
        ([TAKE[0], *(line + ",,," for line in TAKE[1:])], "utf-8"),
        ([line + "\r" for line in TAKE], "utf-8"),
        (["# Aufnahme für die Probe", "", *TAKE[:2], "# a pause", "", *TAKE[2:], "// end"], "latin-1"),
        (["Take,7", "Device,phone", *TAKE], "utf-8"),
        (["# " + TAKE[0], *TAKE[1:]], "utf-8"),
        ([f'"{line}"' for line in TAKE], "utf-8"),
        ([("," if row == 0 else f"{row - 1},") + line for row, line in enumerate(TAKE)], "utf-8"),
        ([TAKE[0].replace("Left,", "_L,").replace("Right,", "_R,").swapcase(), *TAKE[1:]], "utf-8"),
        (
            [",".join(name if name in ("Timecode", "HeadYaw") else f"blendShapes.{name}"
                      for name in TAKE[0].split(",")),
             *TAKE[1:]],
            "utf-8",
        ),
    ],
)  # fmt: skip
def test_habits_of_programs_and_spreadsheets(
    face_model: FaceModel, tmp_path: Path, lines: list[str], encoding: str
) -> None:
    motion = load_arkit_csv(written(tmp_path, lines, encoding), face_model)
    assert (jaw(motion), motion.fps, motion.tracked.all()) == ([0.1, 0.2, 0.3], 30, True)
    yaw = euler_from_rotation(head_pose_from_camera(motion.camera[0])[0])[0]
    assert yaw == pytest.approx(-np.degrees(0.25), abs=1e-4)


def test_the_tongue_may_be_missing(face_model: FaceModel, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        motion = load_arkit_csv(write({"jawOpen": 0.5}, columns=ARKIT_EXPRESSIONS[:-1]), face_model)
    assert ARKIT_EXPRESSIONS[-1] == "tongueOut"
    assert motion.expression[0, motion.expression_names.index("tongueOut")] == 0
    assert jaw(motion) == [0.5]
    assert "no column TongueOut" in caplog.text
    assert jaw(load_arkit_csv(write({"jawOpen": 0.5, "tongueOut": ""}), face_model)) == [0.5]
    path = write({"jawOpen": 0.5})
    path.write_text("\n".join([",".join(ARKIT_EXPRESSIONS), ",".join(["0.5"] * 51)]))
    assert jaw(load_arkit_csv(path, face_model)) == [0.5]


def test_sides_of_an_action_that_has_none_are_averaged(face_model: FaceModel, write: Write) -> None:
    columns = tuple(name for name in ARKIT_EXPRESSIONS if name != "browInnerUp")
    row: Row = {"browInnerUp_L": 0.2, "browInnerUp_R": 0.6}
    motion = load_arkit_csv(write(row, columns=columns), face_model)
    assert motion.expression[0, motion.expression_names.index("browInnerUp")] == np.float32(0.4)


def test_an_action_in_two_columns_is_refused(face_model: FaceModel, write: Write) -> None:
    with pytest.raises(HideNerfError, match="columns eyeBlink_L and eyeBlinkLeft are both eyeBlinkLeft"):
        load_arkit_csv(write({"eyeBlink_L": 0.2}), face_model)


def test_percent(face_model: FaceModel, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert jaw(load_arkit_csv(write({"jawOpen": 40, "eyeBlinkLeft": 100, "cheekPuff": 1}), face_model)) == [0.4]
    assert "values up to 100 are read as percent" in caplog.text
    with pytest.raises(HideNerfError, match="column jawopen: 4000 is neither an action from 0 to 1 nor a percentage"):
        load_arkit_csv(write({"jawOpen": 4000}), face_model)


def test_head_angles_beyond_a_full_turn_are_degrees(
    face_model: FaceModel, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[Row] = [{"HeadYaw": 0.0, "HeadPitch": 2.0, "HeadRoll": 1.0}, {"HeadYaw": 20.0, "HeadPitch": 5.0}]
    with caplog.at_level(logging.INFO):
        motion = load_arkit_csv(write(*rows), face_model)
    turns = [euler_from_rotation(head_pose_from_camera(camera)[0]) for camera in motion.camera]
    np.testing.assert_allclose(turns, [[0.0, 2.0, -1.0], [-20.0, 5.0, 0.0]], atol=1e-4)
    assert "the head's angles up to 20 are read as degrees" in caplog.text


@pytest.mark.parametrize(("column", "value"), [("HeadYaw", 3.0), ("HeadPitch", -2.5), ("HeadRoll", 6.0)])
def test_head_angles_of_unknown_unit_are_refused(
    face_model: FaceModel, write: Write, column: str, value: float
) -> None:
    with pytest.raises(
        HideNerfError, match=rf"line 3, column {column.lower()}: {value:g} is more than a face turns in radians"
    ):
        load_arkit_csv(write({}, {column: value}), face_model)


def test_a_phone_on_its_side_rolls_by_a_quarter_turn(face_model: FaceModel, write: Write) -> None:
    motion = load_arkit_csv(write({"HeadRoll": np.pi / 2}), face_model)
    assert euler_from_rotation(head_pose_from_camera(motion.camera[0])[0])[2] == pytest.approx(-90.0, abs=1e-3)


def test_an_angle_without_a_value_is_said_and_an_empty_column_is_none(face_model: FaceModel, write: Write) -> None:
    motion = load_arkit_csv(write({"HeadYaw": ""}, {"HeadYaw": ""}), face_model)
    np.testing.assert_allclose(motion.camera, np.tile(canonical_camera(), (2, 1)))
    with pytest.raises(HideNerfError, match="line 3, column headyaw: there is no value"):
        load_arkit_csv(write({"HeadYaw": 0.1}, {"HeadYaw": ""}), face_model)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"exportFps": 30}', 'the first line must name them all.*begins with "{"exportFps": 30}"'),
        (b"<!DOCTYPE html>", "52 of ARKit's 52 columns are missing"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "binary data"),
        (b"a" * 100_000, "line 1 is longer than 65536 characters"),
        (b"# only a comment\n\n", "the file is empty"),
    ],
)
def test_what_is_no_take_is_said(face_model: FaceModel, tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "take.csv"
    path.write_bytes(content)
    with pytest.raises(HideNerfError, match=problem):
        load_arkit_csv(path, face_model)
