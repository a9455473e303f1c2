import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.motion import Motion, load_motion, save_motion, ticks_of

NTSC = Fraction(30000, 1001)


def motion(frames: int = 3, names: tuple[str, ...] = ("jawOpen", "eyeBlinkLeft"), fps: Fraction = NTSC) -> Motion:
    rng = np.random.default_rng(0)
    return Motion(
        face_model="anny",
        expression_names=names,
        expression=rng.random((frames, len(names))).astype(np.float32),
        camera=np.stack([canonical_camera(yaw=10 * index) for index in range(frames)]),
        tracked=np.arange(frames) % 2 == 0,
        fps=fps,
    )


def rewritten(source: Path, target: Path, **changes: object) -> Path:
    """The archive with some keys replaced, or left out where the new value is None."""
    with np.load(source) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays.update(changes)
    with target.open("wb") as stream:
        np.savez(stream, **{key: value for key, value in arrays.items() if value is not None})
    return target


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_motion(motion(), tmp_path / "motion.npz")
    return tmp_path / "motion.npz"


def test_frames_and_their_exact_times() -> None:
    whole = motion()
    frames = list(whole)
    assert len(whole) == len(frames) == 3
    assert [frame.time for frame in frames] == [0, Fraction(1001, 30000), Fraction(1001, 15000)]
    assert [frame.tracked for frame in frames] == [True, False, True]
    assert all(type(frame.tracked) is bool and frame.picture is None for frame in frames)
    np.testing.assert_array_equal(np.stack([frame.expression for frame in frames]), whole.expression)
    np.testing.assert_array_equal(np.stack([frame.camera for frame in frames]), whole.camera)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    frames=st.integers(1, 5),
    names=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=4),
    numerator=st.integers(1, 10**9),
    denominator=st.integers(1, 10**6),
)
def test_file_comes_back_as_it_was(
    tmp_path: Path, frames: int, names: list[str], numerator: int, denominator: int
) -> None:
    before = motion(frames, tuple(names), Fraction(numerator, denominator))
    save_motion(before, tmp_path / "motion.npz")
    after = load_motion(tmp_path / "motion.npz")
    assert (after.face_model, after.expression_names, after.fps) == ("anny", tuple(names), before.fps)
    assert (after.ticks, after.time_base) == (None, None)
    for key in ("expression", "camera", "tracked"):
        found, expected = getattr(after, key), getattr(before, key)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_file_is_as_documented(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as archive:
        kinds = {key: (archive[key].dtype.kind, archive[key].shape) for key in archive.files}
        assert str(archive["format"]) == "hidenerf-motion"
        assert int(archive["version"]) == 2
        assert archive["fps"].tolist() == [30000, 1001]
        assert (archive["time"].tolist(), archive["time_base"].tolist()) == ([0, 1, 2], [1001, 30000])
    assert kinds == {
        "format": ("U", ()),
        "version": ("i", ()),
        "face_model": ("U", ()),
        "expression": ("f", (3, 2)),
        "expression_names": ("U", (2,)),
        "camera": ("f", (3, 25)),
        "tracked": ("b", (3,)),
        "fps": ("i", (2,)),
        "time": ("i", (3,)),
        "time_base": ("i", (2,)),
    }


UNEVEN = [Fraction(0), Fraction(33, 1000), Fraction(3, 40), Fraction(1, 1)]


def uneven() -> Motion:
    ticks, time_base = ticks_of(UNEVEN, Fraction(10))
    return replace(motion(4, fps=Fraction(10)), ticks=ticks, time_base=time_base)


def test_uneven_times_are_kept_exactly(tmp_path: Path) -> None:
    save_motion(uneven(), tmp_path / "motion.npz")
    with np.load(tmp_path / "motion.npz") as archive:
        assert (archive["time"].tolist(), archive["time_base"].tolist()) == ([0, 33, 75, 1000], [1, 1000])
    loaded = load_motion(tmp_path / "motion.npz")
    assert [frame.time for frame in loaded] == UNEVEN
    assert loaded.fps == 10


@given(st.lists(st.fractions(0, 10**4, max_denominator=10**5), min_size=1, max_size=20, unique=True))
def test_ticks_are_the_times_since_the_first(times: list[Fraction]) -> None:
    times.sort()
    ticks, time_base = ticks_of(times, Fraction(25))
    if ticks is None or time_base is None:
        assert [time - times[0] for time in times] == [Fraction(index, 25) for index in range(len(times))]
        return
    error = max(abs(int(tick) * time_base - time + times[0]) for tick, time in zip(ticks, times, strict=True))
    assert error <= Fraction(1, 2 * 10**9)
    if time_base > Fraction(1, 10**9):
        assert error == 0


def test_even_times_need_no_ticks() -> None:
    assert ticks_of([7 + index / NTSC for index in range(9)], NTSC) == (None, None)
    assert ticks_of([Fraction(5)], NTSC) == (None, None)
    ticks, time_base = ticks_of([index / NTSC for index in range(9)], Fraction(30))
    assert ticks is not None
    assert (ticks.tolist(), time_base) == ([1001 * index for index in range(9)], Fraction(1, 30000))


def test_version_1_is_evenly_spaced(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "old.npz", version=1, time=None, time_base=None)
    assert [frame.time for frame in load_motion(path)] == [0, 1 / NTSC, 2 / NTSC]


def test_file_made_by_other_means(tmp_path: Path) -> None:
    """What the documentation promises to someone who writes the file with NumPy alone, in double precision."""
    np.savez(
        tmp_path / "motion.npz",
        format="hidenerf-motion",
        version=1,
        face_model="anny",
        expression=np.zeros((2, 1)),
        expression_names=["jawOpen"],
        camera=np.stack([canonical_camera()] * 2).astype(np.float64),
        tracked=np.ones(2, bool),
        fps=[25, 1],
    )
    loaded = load_motion(tmp_path / "motion.npz")
    assert (loaded.expression.dtype, loaded.camera.dtype, loaded.fps) == (np.float32, np.float32, 25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expression": np.zeros((3, 5), np.float32)}, r"expression has shape \[3, 5\] where \[3, 2\] is needed"),
        ({"camera": np.zeros((3, 24), np.float32)}, r"camera has shape \[3, 24\] where \[3, 25\]"),
        ({"camera": np.zeros((2, 25), np.float32)}, r"camera has shape \[2, 25\] where \[3, 25\]"),
        ({"tracked": np.zeros(4, bool)}, r"tracked has shape \[4\] where \[3\]"),
        ({"fps": Fraction(0)}, "frame rate is 0"),
        ({"fps": Fraction(-25)}, "frame rate is -25"),
        ({"expression": np.full((3, 2), np.nan, np.float32)}, "expression has values that are not finite"),
        ({"camera": np.full((3, 25), np.inf, np.float32)}, "camera has values that are not finite"),
        ({"ticks": np.arange(3)}, "ticks without a time base"),
        ({"ticks": np.arange(4), "time_base": Fraction(1, 25)}, r"ticks has shape \[4\] where \[3\]"),
    ],
)
def test_what_does_not_agree_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(HideNerfError, match=words):
        replace(motion(), **changes)


def test_no_frames() -> None:
    with pytest.raises(HideNerfError, match="no frames"):
        Motion("anny", (), np.zeros((0, 0), np.float32), np.zeros((0, 25), np.float32), np.zeros(0, bool), NTSC)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *[({key: None}, f"lacks '{key}'") for key in ("face_model", "expression", "camera", "tracked", "fps")],
        *[({key: None}, f"lacks '{key}'") for key in ("time", "time_base")],
        ({"expression_names": None}, "lacks 'expression_names'"),
        ({"format": None}, "not a motion file"),
        ({"format": "hidenerf-source"}, "its format is hidenerf-source, not hidenerf-motion"),
        ({"version": 3}, "version 3, but this hidenerf reads versions 1 to 2"),
        ({"version": 0}, "version 0, but"),
        ({"version": None}, "version 0, but"),
        ({"fps": np.array([25])}, "damaged"),
        ({"fps": np.array([25, 0])}, "damaged"),
        ({"fps": np.array([25, 1], np.complex64)}, "fps is complex64"),
        ({"version": np.array(2, np.complex64)}, "its version is complex64"),
        ({"expression": np.array([["a", "b"]] * 3)}, "damaged"),
        ({"camera": np.zeros((3, 26))}, "camera has shape"),
        ({"time": np.array([1, 2, 3])}, "first time is 1, not 0"),
        ({"time": np.array([0, 2, 2])}, r"does not rise from frame 1 \(2\) to the next \(2\)"),
        ({"time": np.array([0, -(2**63), 2**63 - 1])}, "does not rise from frame 0"),
        ({"time": np.array([0, 1, 2**64 - 1], np.uint64)}, "does not rise from frame 1"),
        ({"time": np.array([0, 1, 2**63 - 1])}, "leaps by"),
        ({"time": np.arange(4)}, r"ticks has shape \[4\] where \[3\]"),
        ({"time": np.array(0)}, r"ticks has shape \[\] where \[3\]"),
        ({"time": np.array([0.0, 0.1, np.nan])}, "time is float64"),
        ({"time_base": np.array([1, 0])}, "damaged"),
        ({"time_base": np.array([np.inf, 1.0])}, "damaged"),
        ({"time_base": np.array([0, 1])}, "time base is 0.0 s"),
        ({"time_base": np.array([-1, 25])}, "time base is -0.04 s"),
        ({"time_base": np.array([1e300, 1.0])}, r"time base is 1e\+300 s"),
    ],
)
def test_bad_files_are_one_sentence(saved: Path, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(HideNerfError, match=words) as caught:
        load_motion(rewritten(saved, tmp_path / "bad.npz", **changes))
    assert "\n" not in str(caught.value)


def test_other_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"expression": [1, 2]}))
    for path, words in [
        (tmp_path / "absent.npz", "no such file"),
        (tmp_path, "no such file"),
        (tmp_path / "text.npz", "not a readable motion file"),
        (tmp_path / "empty.npz", "not a readable motion file"),
        (tmp_path / "pickle.npz", "not a readable motion file"),
    ]:
        with pytest.raises(HideNerfError, match=words) as caught:
            load_motion(path)
        assert str(path) in str(caught.value)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a motion file was unpickled",))


def test_pickled_objects_inside_are_never_loaded(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "bomb.npz", face_model=np.array(Bomb(), dtype=object))
    with pytest.raises(HideNerfError, match="not a readable motion file"):
        load_motion(path)


def harmless(path: Path) -> bool:
    """Whether a damaged file is refused in one sentence, or else read as it was."""
    try:
        loaded = load_motion(path)
    except HideNerfError:
        return True
    whole = motion()
    return np.array_equal(loaded.expression, whole.expression) and np.array_equal(loaded.camera, whole.camera)


def test_file_cut_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    cut = saved.with_name("cut.npz")
    for length in range(0, len(content), 11):
        cut.write_bytes(content[:length])
        with pytest.raises(HideNerfError):
            load_motion(cut)


def test_file_with_any_byte_changed(saved: Path) -> None:
    content = saved.read_bytes()
    damaged = saved.with_name("damaged.npz")
    for position in range(0, len(content), 5):
        changed = bytearray(content)
        changed[position] ^= 0x11
        damaged.write_bytes(changed)
        assert harmless(damaged), position


def test_single_array_is_not_a_motion_file(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(HideNerfError, match="not a"):
        load_motion(tmp_path / "array.npy")


def test_save_replaces_whole_files_only(saved: Path) -> None:
    before = saved.read_bytes()
    save_motion(motion(4), saved)
    assert len(load_motion(saved)) == 4
    assert saved.read_bytes() != before
    assert [path.name for path in saved.parent.iterdir()] == ["motion.npz"]
