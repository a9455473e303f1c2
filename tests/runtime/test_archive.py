"""Archives: format and version checks, and one sentence for each kind of damage."""

from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.archive import load_archive, open_archive, save_archive
from hidenerf.runtime.errors import HideNerfError


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_saved_is_loaded(tmp_path: Path, compressed: bool) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_archive(tmp_path / "a.npz", "some-format", 3, {"values": values, "name": "x"}, compressed=compressed)
    loaded = load_archive(tmp_path / "a.npz", "some-format", 3, "thing")
    np.testing.assert_array_equal(loaded["values"], values)
    assert (str(loaded["name"]), str(loaded["format"]), int(loaded["version"])) == ("x", "some-format", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"format": "other", "version": 1}, r"not a thing file \(its format is other, not some-format\)"),
        ({"version": 1}, r"its format is not stated"),
        ({"format": "some-format", "version": 2}, "thing file of version 2, but this hidenerf reads version 1"),
        ({"format": "some-format"}, "thing file of version 0"),
        ({"format": "some-format", "version": "new"}, "not a readable thing file"),
        ({"format": "some-format", "version": [1, 2]}, "not a readable thing file"),
    ],
)
def test_another_format_or_version_is_refused(tmp_path: Path, content: dict[str, object], words: str) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(HideNerfError, match=words):
        load_archive(tmp_path / "a.npz", "some-format", 1, "thing")


def test_older_versions_are_read_where_that_is_said(tmp_path: Path) -> None:
    for version in (1, 2, 3, 4):
        save_archive(tmp_path / f"{version}.npz", "some-format", version, {"value": version})
    for version in (2, 3):
        assert int(load_archive(tmp_path / f"{version}.npz", "some-format", 3, "thing", oldest=2)["value"]) == version
    for version in (1, 4):
        with pytest.raises(HideNerfError, match=f"file of version {version}, but this hidenerf reads versions 2 to 3;"):
            load_archive(tmp_path / f"{version}.npz", "some-format", 3, "thing", oldest=2)


def test_damage_that_the_reader_meets_is_the_same_sentence(tmp_path: Path) -> None:
    save_archive(tmp_path / "a.npz", "some-format", 1, {"values": np.zeros(3)})
    with (
        pytest.raises(HideNerfError, match=r"not a readable thing file .*absent"),
        open_archive(tmp_path / "a.npz", "some-format", 1, "thing") as archive,
    ):
        archive["absent"]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match="no such file; give the path of a thing file"):
        load_archive(tmp_path, "some-format", 1, "thing")
