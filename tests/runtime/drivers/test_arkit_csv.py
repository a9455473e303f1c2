import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.camera import canonical_camera, euler_from_rotation, head_pose_from_camera
from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv
from hidenerf.runtime.drivers.row_times import timecode_fps
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
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


@given(
    st.sampled_from([24, 25, 30, 48, 50, 60]),
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]),
    st.integers(0, 23 * 3600),
    st.floats(0, 0.9),
    st.floats(-1e-3, 1e-3),
)
def test_the_frame_rate_is_exact_whatever_the_timecode_counts(
    count: int, step: Fraction, start: int, offset: float, drift: float
) -> None:
    ticks = [start * count + offset + index * (float(step) + drift * float(step)) for index in range(4 * count)]
    timecodes = [(int(tick // count), tick % count, False) for tick in ticks]
    assert timecode_fps(timecodes) == Fraction(count) / step


def test_drop_frame_timecode_is_ntsc(face_model: FaceModel, write: Write) -> None:
    rows: list[Row] = [{"Timecode": f"10:00:{index // 30:02d};{index % 30:02d}"} for index in range(65)]
    assert load_arkit_csv(write(*rows), face_model).fps == Fraction(30000, 1001)


def test_a_lost_row_and_midnight_do_not_change_the_rate() -> None:
    frames = [(86399, float(f)) for f in range(0, 60, 2)] + [(0, float(f)) for f in range(0, 60, 2) if f != 20]
    assert timecode_fps([(second, frame, False) for second, frame in frames]) == 30


def test_a_take_within_one_second_counts_at_sixty() -> None:
    assert timecode_fps([(5, 10.0 + 2 * index, False) for index in range(8)]) == 30
    assert timecode_fps([(5, 10.0, False)]) == 30


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
