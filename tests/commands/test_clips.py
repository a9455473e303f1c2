"""`hidenerf-clips` as its users start it, on real clips."""

import builtins
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hidenerf.training.data.clips.file import encode_frame, open_clip
from hidenerf.training.data.clips.folder import Item, Preparation, items_in, prepare_items
from hidenerf.training.data.clips.preparation import PreparedClip
from tests.support.clips import make_clip
from tests.support.faces import first_frames, write_frames
from tests.support.matting_files import write_red_network
from tests.support.media import joined, read_bgr, with_text, write_clip

CLIPS = [sys.executable, "-m", "hidenerf.commands.clips"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLIPS, *map(str, arguments)], capture_output=True, text=True, timeout=1200, check=False)


def refuse(*arguments: object) -> str:
    """The last line of a command that ends with code 2, after checking that it is a sentence."""
    result = run(*arguments)
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    (error,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    return error


def test_the_threads_of_numpy_are_chosen_before_it_is_imported() -> None:
    script = "import sys; from hidenerf.commands import clips; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


class FailingPreparation(Preparation):
    """Prepares a clip of its own making, but raises what a file's content says."""

    def __init__(self) -> None:
        self.failures = []

    def origin(self, item: Item) -> str:
        return str(item.name)

    def prepare(self, item: Item, frame_done: Callable[[], None]) -> PreparedClip:  # noqa: ARG002
        kind = item.paths[0].read_text()
        if kind:
            raise getattr(builtins, kind)("what nobody\nforesaw")
        clip, frames = make_clip()
        return PreparedClip(clip, [encode_frame(frame) for frame in frames], 0.0)


@pytest.mark.parametrize("kind", ["ValueError", "UnicodeError", "RuntimeError", "MemoryError", "PermissionError"])
def test_no_file_ends_a_batch(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    for name, content in (("a.mp4", ""), ("b.mp4", kind), ("c.mp4", "")):
        (tmp_path / name).write_text(content)
    how = FailingPreparation()
    done = prepare_items(items_in([tmp_path]), tmp_path / "out", how, lambda: contextlib.nullcontext(lambda: None))
    assert (done.prepared, done.failures) == (2, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4.npz", "c.mp4.npz"]
    (error,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert error == (
        f"{tmp_path / 'b.mp4'}: this file could not be prepared ({kind}: what nobody foresaw); leave it out, and "
        "report it with --verbose."
    )


def test_ctrl_c_ends_a_batch(tmp_path: Path) -> None:
    for name, content in (("a.mp4", ""), ("b.mp4", "KeyboardInterrupt"), ("c.mp4", "")):
        (tmp_path / name).write_text(content)
    with pytest.raises(KeyboardInterrupt):
        prepare_items(
            items_in([tmp_path]),
            tmp_path / "out",
            FailingPreparation(),
            lambda: contextlib.nullcontext(lambda: None),
        )


def test_suffixes_of_clips_in_any_case(tmp_path: Path) -> None:
    names = ["a.MTS", "b.m2ts", "c.3gp", "d.M2TS", "e.mts", "f.3GP", "g.Mp4", "h.3g2"]
    for name in [*names, "notes.txt", "i.mt"]:
        (tmp_path / name).touch()
    assert [item.name.name for item in items_in([tmp_path])] == sorted(names)
    for name in names:
        (item,) = items_in([tmp_path / name])
        assert (item.paths, item.stills) == ((tmp_path / name,), False)


@pytest.mark.slow
def test_a_folder_of_clips(shared_data: Path, face_landmarker: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "prepared"
    (folder / "second").mkdir(parents=True)
    shutil.copy(shared_data / "drv_d0.mp4", folder)
    shutil.copy(shared_data / "drv_d10.mp4", folder / "second" / "d10.MP4")
    write_clip(folder / "faceless.mp4", frames=3, size=(240, 320))
    (folder / "broken.mov").write_bytes(b"not a film")
    (folder / "notes.txt").write_text("not a clip")
    options = ("--limit-frames", 3, "--every", 10, "--face-landmarker", face_landmarker)
    result = run(folder, "--output", out, *options)
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert lines.pop() == (
        "Error: 2 files could not be prepared, for the reasons above; mend or remove them and run again."
    )
    assert lines[0] == "broken.mov: not prepared, see below"
    assert lines[1].startswith("drv_d0.mp4: 3 frames, fit error ")
    assert lines[1].endswith(" s")
    assert lines[2] == "faceless.mp4: not prepared, see below"
    assert lines[3].startswith("second/d10.MP4: 3 frames, fit error ")
    (summary,) = result.stdout.splitlines()
    assert summary.startswith(f"{out}: 2 of 4 clips prepared, 0 before; 6 frames in ")
    assert summary.endswith(" frames/s")
    failures = lines[4:]
    assert failures[0].startswith(f"{folder / 'broken.mov'}: ")
    assert failures[1].startswith(f"{folder / 'faceless.mp4'}: a face was found in no frame")
    assert len(failures) == 2
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["drv_d0.mp4.npz", "second/d10.MP4.npz"]
    assert open_clip(out / written[0]).clip.number.tolist() == [0, 10, 20]
    before = [(out / name).read_bytes() for name in written]

    result = run(folder, "--output", out, *options)
    assert result.returncode == 2
    assert "drv_d0.mp4: prepared already\n" in result.stderr
    assert f"{out}: 0 of 4 clips prepared, 2 before; 0 frames" in result.stdout
    assert [(out / name).read_bytes() for name in written] == before

    # Other content under the same name, and a file that is none of ours.
    shutil.copy(shared_data / "drv_d10.mp4", folder / "drv_d0.mp4")
    np.savez(out / written[1], something=np.zeros(3))
    result = run(folder, "--output", out, *options)
    assert "drv_d0.mp4: 3 frames, fit error " in result.stderr
    assert "second/d10.MP4: not prepared, see below" in result.stderr
    assert "d10.MP4.npz: not a prepared clip" in result.stderr
    assert "It is in the way here: move it or choose another --output." in result.stderr


@pytest.mark.slow
def test_a_clip_whose_pictures_change_their_size_and_one_with_odd_text(
    shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "clips", tmp_path / "prepared"
    folder.mkdir()
    pictures = first_frames(shared_data, "drv_d0.mp4", 4)
    smaller = [cv2.resize(picture, (384, 384), interpolation=cv2.INTER_AREA).astype(np.uint8) for picture in pictures]
    parts = [write_frames(tmp_path / f"{i}.webm", part, codec="libvpx") for i, part in enumerate((pictures, smaller))]
    joined(parts[0], parts[1], folder / "a.webm")
    with_text(write_frames(tmp_path / "whole.mp4", pictures), folder / "b.mp4", "片头字幕", "gbk")
    result = run(folder, "--output", out, "--face-landmarker", face_landmarker)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("the pictures' size changes from 512×512 to 384×384") == 1
    assert [len(open_clip(out / name).clip) for name in ("a.webm.npz", "b.mp4.npz")] == [8, 4]


@pytest.mark.slow
def test_nothing_prepared_is_an_error(face_landmarker: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no such file or folder" in refuse(tmp_path / "nowhere", "--output", out)
    assert f"{Path(__file__)}: neither a clip nor a picture by its name (.mp4, " in refuse(__file__, "--output", out)
    assert "no clips in this folder (.mp4, " in refuse(tmp_path, "--output", out)
    assert f"{Path(__file__)}: not a folder; with --person" in refuse(__file__, "--person", "--output", out)
    assert "no such folder (--mattes)" in refuse(tmp_path, "--mattes", tmp_path / "nowhere", "--output", out)
    assert not out.exists()
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    assert "None of the 1 clip could be prepared" in refuse(
        tmp_path, "--output", out, "--face-landmarker", face_landmarker
    )
    assert "--preset huge: no such preset" in refuse(tmp_path, "--output", out, "--preset", "huge")
    assert "no such file (--face-landmarker)" in refuse(tmp_path, "--output", out, "--face-landmarker", "nowhere.task")


@pytest.mark.slow
def test_the_matting_network_is_part_of_what_was_prepared(
    shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    shutil.copy(shared_data / "src_obama.jpg", folder / "a.jpg")
    network = write_red_network(tmp_path / "red.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    options = (folder, "--output", out, "--face-landmarker", face_landmarker)
    assert "bad.onnx: ONNX Runtime does not load it" in refuse(*options, "--matting", tmp_path / "bad.onnx")
    assert "--matting nowhere.onnx: no such file" in refuse(*options, "--matting", "nowhere.onnx")
    assert "0 before; 1 frames in" in run(*options).stdout
    assert "1 before; 0 frames in" in run(*options).stdout
    before = open_clip(out / "a.jpg.npz").frame(0).read().mask
    assert "0 before; 1 frames in" in run(*options, "--matting", network).stdout
    assert (open_clip(out / "a.jpg.npz").frame(0).read().mask != before).any()


@pytest.mark.slow
def test_ctrl_c_leaves_whole_clips_only(shared_data: Path, face_landmarker: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "prepared"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(shared_data / "drv_d0.mp4", folder / name)
    command = [*CLIPS, str(folder), "--output", str(out), "--every", "12", "--face-landmarker", str(face_landmarker)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("a.mp4: 7 frames")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(1200) == 130
        assert process.stderr.read() == "Interrupted.\n"
    assert [path.name for path in out.iterdir()] == ["a.mp4.npz"]
    assert len(open_clip(out / "a.mp4.npz").clip) == 7


@pytest.mark.slow
def test_pictures_and_a_person_with_mattes(face_landmarker: Path, shared_data: Path, tmp_path: Path) -> None:
    folder, mattes, out = tmp_path / "pictures", tmp_path / "mattes", tmp_path / "out"
    for place in (folder, mattes):
        place.mkdir()
    portrait = read_bgr(shared_data / "src_astronaut.png")
    cv2.imwrite(str(folder / "a.jpg"), portrait)
    cv2.imwrite(str(folder / "b.png"), portrait[:, ::-1])
    cv2.imwrite(str(folder / "faceless.jpg"), np.full((200, 200, 3), 128, np.uint8))
    matte = np.zeros(portrait.shape[:2], np.uint8)
    matte[:, 50:450] = 255
    for name in ("a", "b", "faceless"):
        cv2.imwrite(str(mattes / f"{name}.png"), matte if name != "faceless" else matte[:200, :200])
    options = ("--mattes", mattes, "--face-landmarker", face_landmarker)
    result = run(folder, "--output", out, *options)
    assert result.returncode == 2, result.stderr
    assert "Error: 1 file could not be prepared, for the reasons above; mend or remove it" in result.stderr
    assert f"{out}: 2 of 3 clips prepared, 0 before; 2 frames in " in result.stdout
    assert "faceless.jpg: no face was found" in result.stderr
    file = open_clip(out / "a.jpg.npz")
    assert len(file.clip) == 1
    assert (file.frame(0).read().mask == 255).mean() > 0.5
    assert "a.jpg: prepared already\n" in run(folder, "--output", out, *options).stderr

    result = run(folder, "--person", "--output", out, *options)
    assert result.returncode == 2, result.stderr
    assert "pictures: 2 frames, fit error " in result.stderr
    assert "faceless.jpg: no face was found" in result.stderr
    assert len(open_clip(out / "pictures.npz").clip) == 2
    (mattes / "a.png").unlink()
    assert "holds no matte a.png" in run(folder / "a.jpg", folder / "b.png", "--output", out / "2", *options).stderr
