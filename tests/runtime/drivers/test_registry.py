"""The registry: every kind has a loader, and inputs are recognised by prefix, content and suffix."""

import importlib
from pathlib import Path

import pytest

from hidenerf.runtime.drivers.registry import DRIVER_KINDS, DriverKind, kind_of, kinds_in_words
from hidenerf.runtime.errors import HideNerfError


@pytest.mark.parametrize("kind", DRIVER_KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_a_loader_and_its_words(kind: DriverKind) -> None:
    module, function = kind.loader.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert kind.takes in kinds_in_words()


def test_names_are_unique_and_the_last_kind_takes_any_file() -> None:
    assert len({kind.name for kind in DRIVER_KINDS}) == len(DRIVER_KINDS)
    assert [kind.any_file for kind in DRIVER_KINDS] == [False] * (len(DRIVER_KINDS) - 1) + [True]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("motion.npz", b"anything", "motion"),
        ("motion.dat", b"PK\x03\x04and so on", "motion"),
        ("TAKE.CSV", b"a,b", "arkit-csv"),
        ("take.tsv", b"a\tb", "arkit-csv"),
        ("take.txt", b"Timecode,BlendShapeCount,", "arkit-csv"),
        ("take", "\ufeffTimecode,BlendShapeCount".encode("utf-16-le"), "arkit-csv"),
        ("a.mat", b"", "deep3d-mat"),
        ("a.bin", b"MATLAB 5.0 MAT-file", "deep3d-mat"),
        ("clip.mp4", b"\0\0\0 ftyp", "video"),
        ("picture", b"\x89PNG", "video"),
    ],
)
def test_files_are_recognised_by_content_and_suffix(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(str(tmp_path / name)).name == kind


def test_a_folder_and_a_camera(tmp_path: Path) -> None:
    assert kind_of(str(tmp_path)).name == "video"
    (tmp_path / "1.png").touch()
    assert kind_of(str(tmp_path)).name == "video"
    (tmp_path / "1.MAT").touch()
    assert kind_of(str(tmp_path)).name == "deep3d-mat"
    assert kind_of("camera:0").name == "camera"


def test_an_absent_file_names_every_kind(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError) as caught:
        kind_of(str(tmp_path / "absent"))
    assert all(kind.takes in str(caught.value) for kind in DRIVER_KINDS)


@pytest.mark.parametrize("name", ["a2f.json", "take.BVH", "array.npy"])
def test_motion_of_other_programs_is_not_tried_as_a_clip(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(
        HideNerfError, match=rf"no driving input \({Path(name).suffix} is not read\); give a motion file"
    ):
        kind_of(str(tmp_path / name))
