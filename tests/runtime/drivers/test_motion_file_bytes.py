"""Damaged and odd motion files end in a motion or one sentence; `tests.support.fuzz_motion_files` tries more."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion, load_motion
from tests.support.fuzzing import outcome
from tests.support.motion_file_bytes import a_take, motion_arrays, motion_file_bytes, npy_bytes, packed, take_bytes

few = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def frames(motion: Motion) -> str:
    return f"{len(motion)} frames"


def read_motion(path: Path) -> str:
    return frames(load_motion(path))


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


def test_what_is_damaged_here_was_good(face_model: FaceModel, tmp_path: Path) -> None:
    take, motion = tmp_path / "take.csv", tmp_path / "motion.npz"
    assert outcome(lambda path: frames(load_arkit_csv(path, face_model)), take, a_take().encode()) == "4 frames"
    good = packed({name: npy_bytes(array) for name, array in motion_arrays().items()})
    assert outcome(read_motion, motion, good) == "3 frames"


@few
@given(content=take_bytes())
def test_takes(face_model: FaceModel, tmp_path: Path, content: bytes) -> None:
    outcome(lambda path: frames(load_arkit_csv(path, face_model)), tmp_path / "take.csv", content)


@few
@given(content=motion_file_bytes())
def test_motion_files(tmp_path: Path, content: bytes) -> None:
    outcome(read_motion, tmp_path / "motion.npz", content)


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "motion.npz"
    members = {name: npy_bytes(array) for name, array in motion_arrays().items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
        archive.writestr("more.npy", bytes(1 << 20))
    raw = bytearray(path.read_bytes())
    # The directory says how much a member unpacks to: let it say 2 GiB.
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(HideNerfError, match=r"unpacks to 2147\d+ bytes, more than 1073741824"):
        load_motion(path)


def test_text_with_characters_that_do_not_exist(tmp_path: Path) -> None:
    text = np.frombuffer(np.array([0x110000], np.uint32).tobytes(), "<U1").reshape(())
    arrays = motion_arrays() | {"face_model": text}
    assert "characters that do not exist" in outcome(
        read_motion, tmp_path / "motion.npz", packed({name: npy_bytes(array) for name, array in arrays.items()})
    )


@pytest.mark.parametrize(
    ("key", "array", "problem"),
    [
        ("expression", np.array([["a", "b"]] * 3), r"expression is <U1"),
        ("expression", np.full((3, 2), 1e300), "expression has values that are not finite"),
        ("tracked", np.full(3, 0.5), "tracked is float64"),
        ("expression", np.zeros((0, 2), np.complex64), "expression is complex64"),
        ("fps", np.array([30.0, np.inf]), "damaged"),
        ("fps", np.array([2**62, 1]), "frame rate is 4.61169e"),
        ("fps", np.array([0, 1]), "frame rate is 0"),
        ("camera", np.zeros((3, 24), np.float32), r"camera has shape \[3, 24\] where \[3, 25\] is needed"),
        ("format", np.zeros((2, 2)), r"not a motion file \(its format is \[\[0. 0.\] \[0. 0.\]\]"),
    ],
)
def test_arrays_of_another_kind(tmp_path: Path, key: str, array: np.ndarray, problem: str) -> None:
    np.savez(tmp_path / "motion.npz", **(motion_arrays() | {key: array}))
    with pytest.raises(HideNerfError, match=problem) as raised:
        load_motion(tmp_path / "motion.npz")
    assert str(raised.value).startswith(str(tmp_path))


def test_a_damaged_header_of_an_array(tmp_path: Path) -> None:
    members = {name: npy_bytes(array) for name, array in motion_arrays().items()}
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 25}\n"
    members["camera"] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(300)
    assert "not a readable motion file" in outcome(read_motion, tmp_path / "motion.npz", packed(members))


def test_a_format_that_unpacks_to_megabytes_is_not_unpacked(tmp_path: Path) -> None:
    arrays = motion_arrays() | {"format": np.zeros(1 << 20, np.uint8)}
    content = packed({name: npy_bytes(array) for name, array in arrays.items()})
    assert "its format.npy unpacks to 1048" in outcome(read_motion, tmp_path / "motion.npz", content)
