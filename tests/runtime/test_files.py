import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import (
    _exchanged,
    atomic_folder,
    atomic_path,
    natural_order,
    output_target,
    read_verified,
    require_writable_parent,
    sha256_of,
    write_verified,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_numbers_in_names_count_as_numbers() -> None:
    ordered = ["1.png", "2.png", "10.jpg", "a.png", "frame1.png", "frame2b.png", "frame10.png"]
    assert [path.name for path in sorted(map(Path, reversed(ordered)), key=natural_order)] == ordered


@given(st.binary(max_size=3000))
def test_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("sha") / "file"
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


def test_sha256_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    (tmp_path / "million").write_bytes(b"a" * 1_000_000)
    # FIPS 180-2, third example.
    expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256_of(tmp_path / "million") == expected


@pytest.mark.parametrize("name", ["out.mp4", "out", ".hidden", "with space.tar.gz"])
def test_atomic_path_makes_the_file_and_its_folders(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / "folders" / name
    with atomic_path(path) as partial:
        assert partial.parent == path.parent
        assert not path.suffix or partial.suffix == path.suffix
        assert partial.name.startswith(".")
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == [name]


def test_atomic_path_replaces_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as partial:
        partial.write_text(f"half {1 // 0}")
    assert path.read_text() == "before"
    with atomic_path(path) as partial:
        partial.write_text("after")
    assert path.read_text() == "after"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_atomic_path_leaves_nothing_on_any_exception(tmp_path: Path, stop: type[BaseException]) -> None:
    def half() -> None:
        with atomic_path(tmp_path / "out.txt") as partial:
            partial.write_text("half")
            raise stop

    with pytest.raises(stop):
        half()
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [28, 122])
def test_full_disk_is_one_sentence(tmp_path: Path, number: int) -> None:
    """28 is ENOSPC, 122 is EDQUOT on Linux."""

    def fill(atomic: object) -> None:
        with atomic(tmp_path / "out"):  # type: ignore[operator]
            raise OSError(number, os.strerror(number))

    for atomic in (atomic_path, atomic_folder):
        with pytest.raises(HideNerfError, match=r"out: the disk is full; free some space"):
            fill(atomic)
    assert names(tmp_path) == []


def test_atomic_folder_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bundle"
    for content in ("first", "second"):
        with atomic_folder(path) as partial:
            (partial / content).write_text(content)
        assert names(path) == [content]
    assert names(path.parent) == ["bundle"]
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_atomic_folder_keeps_the_old_one_on_any_exception(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()

    def half() -> None:
        with atomic_folder(path) as partial:
            (partial / "new").touch()
            raise stop

    with pytest.raises(stop):
        half()
    assert names(tmp_path) == ["bundle"]
    assert names(path) == ["old"]


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_path(Path("out.txt")) as partial:
        partial.write_text("x")
    with atomic_folder(Path("folder")):
        pass
    assert names(tmp_path) == ["folder", "out.txt"]


def test_parent_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out.txt", tmp_path / "file" / "deeper" / "out.txt", Path("/proc/new/out.txt")):
        with pytest.raises(HideNerfError, match="cannot make this folder") as caught:
            require_writable_parent(path)
        assert str(path.parent) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_parent_that_is_not_writable(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(HideNerfError, match="not writable"):
        require_writable_parent(folder / "out.txt")


def test_a_verified_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "code.bin"
    assert read_verified(path) is None
    for content in (b"", b"code", bytes(range(256)) * 100):
        write_verified(path, content)
        assert read_verified(path) == content
        assert path.read_bytes().startswith(content)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda b: b[:-1], lambda b: b[1:], lambda b: b"x" + b[1:]])
def test_a_damaged_verified_file_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "code.bin"
    write_verified(path, b"machine code")
    path.write_bytes(damage(path.read_bytes()))
    assert read_verified(path) is None


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "real.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    for content in ("made", "replaced"):
        with atomic_path(link) as partial:
            # The link may lead to another file system, where a file cannot be moved to.
            assert partial.parent == target.parent
            partial.write_text(content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert names(target.parent) == ["real.txt"]


def test_a_symbolic_link_to_a_folder_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "bundle", tmp_path / "link"
    link.symlink_to("disk/bundle")
    for content in ("made", "replaced"):
        with atomic_folder(link) as partial:
            (partial / "file").write_text(content)
        assert link.is_symlink()
        assert (target / "file").read_text() == content
    assert names(target.parent) == ["bundle"]


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(HideNerfError, match=r"a: this symbolic link leads in a circle; choose another output\."):
        output_target(tmp_path / "a")


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "ä" * 125 + ".txt", "x" * 255, "." + "x" * 254])
def test_a_name_of_the_legal_length_works(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == [name]
    for content in "12":
        with atomic_folder(tmp_path / "f" / name) as folder:
            (folder / content).write_text(content)
    assert names(tmp_path / "f" / name) == ["2"]


def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"cannot be written \(File name too long\); choose another output\."):
        output_target(tmp_path / ("x" * 256))


def test_outputs_at_once_do_not_meet(tmp_path: Path) -> None:
    """Long names that differ at their ends, in one thread."""
    with atomic_path(tmp_path / ("x" * 40 + "1")) as first, atomic_path(tmp_path / ("x" * 40 + "2")) as second:
        assert first != second
        first.touch()
        second.touch()


def test_what_no_file_can_replace_is_refused_with_the_truth(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.mp4", tmp_path / "null.mp4"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    for path, kind in ((pipe, "a pipe"), (link, "a device"), (Path(os.devnull), "a device")):
        with pytest.raises(HideNerfError, match=rf"{path}: this is {kind}, and outputs appear as whole files"):
            output_target(path)
    with pytest.raises(HideNerfError, match=r"-: nothing is written to standard output; name a file\."):
        output_target(Path("-"))
    assert names(tmp_path) == ["null.mp4", "pipe.mp4"]


@pytest.mark.parametrize("system", ["exchanges", "cannot exchange"])
def test_a_folder_is_replaced_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "cannot exchange":
        monkeypatch.setattr("hidenerf.runtime.files._exchanged", lambda *_: False)
    path = tmp_path / "bundle"
    for name in "ab":
        with atomic_folder(path) as partial:
            (partial / name).write_text(name)
    assert names(path) == ["b"]
    assert names(tmp_path) == ["bundle"]


def test_folders_are_exchanged_at_one_moment(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / folder.name).touch()
    if not _exchanged(first, second):
        pytest.skip("this system or its file system exchanges no folders")
    assert (names(first), names(second)) == (["second"], ["first"])
    assert not _exchanged(first, tmp_path / "nowhere")
    assert names(first) == ["second"]
