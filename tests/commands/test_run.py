"""`hidenerf-run` as its users start it: by subprocess, on the shipped motion and on real media."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.camera import euler_from_rotation, head_pose_from_camera
from hidenerf.runtime.defaults import demo_motion_path
from hidenerf.runtime.motion import Motion, load_motion, save_motion
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS
from tests.support.faces import portrait, write_frames
from tests.support.media import read_bgr, video_times, write_clip

RUN = [sys.executable, "-m", "hidenerf.commands.run"]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=cwd, check=False)


def succeed(*arguments: object) -> subprocess.CompletedProcess[str]:
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def refuse(*arguments: object, cwd: Path | None = None) -> str:
    """The one sentence of a user's error, after checking that it is nothing else."""
    result = run(*arguments, cwd=cwd)
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def video_frames(path: Path) -> tuple[list[np.ndarray], Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], Fraction(stream.average_rate)


def still_motion(folder: Path, frames: int = 1, face_model: str = "anny") -> Path:
    motion = load_motion(demo_motion_path())
    index = np.arange(frames) % len(motion)
    path = folder / f"motion_{face_model}_{frames}.npz"
    save_motion(
        Motion(
            face_model,
            motion.expression_names,
            motion.expression[index],
            motion.camera[index],
            motion.tracked[index],
            motion.fps,
        ),
        path,
    )
    return path


def test_shipped_source_and_motion_make_a_video(bundle_fp32: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    result = succeed("--bundle", bundle_fp32, "-o", output, "--frames", 7)
    frames, rate = video_frames(output)
    assert len(frames) == 7
    assert rate == load_motion(demo_motion_path()).fps
    size = open_bundle(bundle_fp32).image_size
    assert frames[0].shape == (size, size, 3)
    assert "untrained" in result.stderr


def test_folder_of_pictures_is_the_same_twice(bundle_fp32: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        succeed("--bundle", bundle_fp32, "-o", tmp_path / name, "--frames", 3, "--quiet")
    names = [f"{index:06}.png" for index in range(3)]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_quiet_prints_nothing(bundle_fp32: Path, tmp_path: Path) -> None:
    result = succeed("--bundle", bundle_fp32, "-o", tmp_path / "a", "--frames", 1, "--quiet")
    assert result.stdout == result.stderr == ""


def test_one_frame_makes_a_picture_and_more_do_not(bundle_fp32: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    succeed("--bundle", bundle_fp32, "-d", still_motion(tmp_path), "-o", output)
    size = open_bundle(bundle_fp32).image_size
    assert read_bgr(output).shape == (size, size, 3)
    error = refuse("--bundle", bundle_fp32, "-o", tmp_path / "two.png")
    assert "more than one frame" in error
    assert not (tmp_path / "two.png").exists()


@pytest.mark.slow
def test_a_clip_of_one_picture_makes_a_picture(
    bundle_fp32: Path, tmp_path: Path, shared_data: Path, face_landmarker: Path
) -> None:
    face = portrait(shared_data, "src_astronaut.png")
    one, two = (write_frames(tmp_path / f"{count}.mp4", [face] * count) for count in (1, 2))
    common = ("--bundle", bundle_fp32, "--face-landmarker", face_landmarker)
    succeed(*common, "-d", one, "-o", tmp_path / "one.png")
    size = open_bundle(bundle_fp32).image_size
    assert read_bgr(tmp_path / "one.png").shape == (size, size, 3)
    assert "more than one frame" in refuse(*common, "-d", two, "-o", tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()


def test_motion_alone_and_beside_the_video(bundle_fp32: Path, tmp_path: Path) -> None:
    alone, beside = tmp_path / "alone.npz", tmp_path / "beside.npz"
    succeed("--bundle", bundle_fp32, "-o", alone)
    succeed("--bundle", bundle_fp32, "-o", tmp_path / "f", "--frames", 4, "--save-motion", beside)
    shipped = load_motion(demo_motion_path())
    np.testing.assert_array_equal(load_motion(alone).expression, shipped.expression)
    np.testing.assert_array_equal(load_motion(alone).camera, shipped.camera)
    np.testing.assert_array_equal(load_motion(beside).camera, shipped.camera[:4])
    assert load_motion(alone).fps == shipped.fps


def test_a_motion_with_uneven_times_keeps_them(bundle_fp32: Path, tmp_path: Path) -> None:
    ticks = [0, 33, 75, 128, 140, 400]
    motion = load_motion(still_motion(tmp_path, len(ticks)))
    motion = dataclasses.replace(motion, ticks=np.array(ticks), time_base=Fraction(1, 1000), fps=Fraction(25, 2))
    save_motion(motion, tmp_path / "uneven.npz")
    output, beside = tmp_path / "o.mp4", tmp_path / "beside.npz"
    succeed("--bundle", bundle_fp32, "-d", tmp_path / "uneven.npz", "-o", output, "--save-motion", beside)
    # A time within a millisecond of the nominal rate's is set to that.
    expected = [time / 1000 for time in ticks]
    assert [float(time) for time in video_times(output)] == pytest.approx(expected, abs=1e-3)
    assert [frame.time for frame in load_motion(beside)] == [Fraction(tick, 1000) for tick in ticks]
    succeed("--bundle", bundle_fp32, "-d", beside, "-o", tmp_path / "alone.npz", "--frames", 3)
    assert [frame.time for frame in load_motion(tmp_path / "alone.npz")] == [Fraction(tick, 1000) for tick in ticks[:3]]


def test_compare_is_three_tiles_wide(bundle_fp32: Path, tmp_path: Path) -> None:
    succeed("--bundle", bundle_fp32, "-d", still_motion(tmp_path), "-o", tmp_path / "c.png", "--compare")
    size = open_bundle(bundle_fp32).image_size
    assert read_bgr(tmp_path / "c.png").shape == (size, 3 * size, 3)


@pytest.mark.slow
def test_free_view_and_orbit_change_the_picture(bundle_fp32: Path, tmp_path: Path) -> None:
    motion = still_motion(tmp_path)
    pictures = {}
    for name, options in {"plain": [], "again": [], "yaw": ["--yaw", 25], "roll": ["--roll", 10]}.items():
        succeed("--bundle", bundle_fp32, "-d", motion, "-o", tmp_path / f"{name}.png", *options)
        pictures[name] = read_bgr(tmp_path / f"{name}.png").astype(int)
    assert (pictures["plain"] == pictures["again"]).all()
    for name in ("yaw", "roll"):
        assert np.abs(pictures[name] - pictures["plain"]).max() > 3


def test_profile_names_every_stage(bundle_fp32: Path, tmp_path: Path) -> None:
    result = succeed("--bundle", bundle_fp32, "-o", tmp_path / "p", "--frames", 3, "--profile")
    for stage in ("source_encoder", "secc", "led", "renderer_refiner", "encode", "p50", "p95", "p99"):
        assert stage in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-s", "missing.png"], "missing.png"),
        (["-d", "missing.mp4"], "missing.mp4"),
        (["--matting", "missing.onnx"], "--matting missing.onnx: no such file"),
        (["-d", "camera:front"], "camera"),
        (["--drivng", "x.mp4"], "--drivng"),
        (["--bundle", "missing"], "missing"),
        (["-o", "out.avi"], ".avi"),
        (["-o", "/proc/nowhere/out.mp4"], "/proc/nowhere"),
        (["--save-motion", "motion.pkl"], ".npz"),
        (["--yaw", "left"], "--yaw"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    bundle_fp32: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    chosen = [] if "--bundle" in options else ["--bundle", str(bundle_fp32)]
    assert words in refuse(*chosen, *options, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_motion_of_another_face_model_is_refused(bundle_fp32: Path, tmp_path: Path) -> None:
    motion = still_motion(tmp_path, 2, "bfm2009")
    error = refuse("--bundle", bundle_fp32, "-d", motion, "-o", tmp_path / "o.mp4")
    assert "bfm2009" in error
    assert "anny" in error
    assert not (tmp_path / "o.mp4").exists()


def test_changed_and_older_bundles_are_refused(bundle_fp32: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(bundle_fp32, tmp_path / "changed")
    with (changed / "led.onnx").open("ab") as stream:
        stream.write(b"x")
    assert "led.onnx" in refuse("--bundle", changed, "-o", tmp_path / "o.mp4")
    older = shutil.copytree(bundle_fp32, tmp_path / "older")
    manifest = json.loads((older / "manifest.json").read_text())
    manifest["schema_version"] = 0
    (older / "manifest.json").write_text(json.dumps(manifest))
    assert "schema" in refuse("--bundle", older, "-o", tmp_path / "o.mp4")


def test_live_link_take(bundle_fp32: Path, tmp_path: Path, shared_data: Path) -> None:
    output = tmp_path / "take.npz"
    succeed("--bundle", bundle_fp32, "-d", shared_data / "drv_livelinkface.csv", "-o", output)
    motion = load_motion(output)
    assert len(motion) == 151  # 150 rows, and one that the app dropped
    assert motion.fps == 30
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1


def test_csv_with_missing_columns(bundle_fp32: Path, tmp_path: Path) -> None:
    take = tmp_path / "take.csv"
    take.write_text("Timecode,BlendShapeCount,EyeBlinkLeft\n10:00:00:00.000,1,0.5\n")
    assert "51 of ARKit's 52 columns are missing" in refuse("--bundle", bundle_fp32, "-d", take, "-o", tmp_path / "o")


def test_csv_with_lost_faces_and_dropped_frames(bundle_fp32: Path, tmp_path: Path) -> None:
    take, output = tmp_path / "take.csv", tmp_path / "take.npz"
    header = ",".join(("Timecode", "BlendShapeCount", *ARKIT_EXPRESSIONS))
    rows = [f"10:00:00:{2 * frame:02}.5," + ("0" if frame == 1 else "61" + ",0.5" * 52) for frame in (0, 1, 2, 6)]
    take.write_text("\n".join((header, *rows)))
    result = succeed("--bundle", bundle_fp32, "-d", take, "-o", output)
    lines = [line for line in result.stderr.splitlines() if "missing frames" in line]
    assert [line.removeprefix(f"{take}: ") for line in lines] == [
        "missing frames: 3 of 7, where time goes on without rows; the last motion is held there."
    ]
    assert load_motion(output).tracked.tolist() == [True, False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a2f.json", b'{"exportFps": 30}', ".json is not read"),
        ("page.csv", b"<html>", 'begins with "<html>"'),
        ("clip.csv", bytes(range(256)), "binary data"),
        ("take.npz", b"Timecode,BlendShapeCount", "not a readable motion file"),
    ],
)
def test_what_is_no_motion_is_refused(bundle_fp32: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refuse("--bundle", bundle_fp32, "-d", tmp_path / name, "-o", tmp_path / "o.npz")
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.slow
def test_real_portrait_and_clip(bundle_fp32: Path, tmp_path: Path, shared_data: Path, face_landmarker: Path) -> None:
    output, motion_file, prepared = tmp_path / "o.mp4", tmp_path / "m.npz", tmp_path / "s.npz"
    clip = shared_data / "drv_d10.mp4"
    succeed(
        *("--bundle", bundle_fp32, "-s", shared_data / "src_astronaut.png", "-d", clip, "-o", output, "--compare"),
        *("--face-landmarker", face_landmarker, "--save-motion", motion_file, "--save-source", prepared),
    )
    with av.open(str(clip)) as source, av.open(str(output)) as result:
        assert result.streams.video[0].average_rate == source.streams.video[0].average_rate
        assert sum(1 for _ in result.decode(video=0)) == 150
        expected = [bytes(packet) for packet in source.demux(audio=0)]
    with av.open(str(output)) as result:
        copied = [bytes(packet) for packet in result.demux(audio=0) if packet.size]
    assert copied
    assert copied == expected[: len(copied)]
    motion = load_motion(motion_file)
    assert motion.tracked.all()
    jaw = motion.expression[:, motion.expression_names.index("jawOpen")]
    assert jaw.max() > 0.6
    yaws = [euler_from_rotation(head_pose_from_camera(camera)[0])[0] for camera in motion.camera[::10]]
    assert np.abs(yaws).max() < 12
    succeed("--bundle", bundle_fp32, "-s", prepared, "-d", motion_file, "-o", tmp_path / "again", "--frames", 2)


@pytest.mark.slow
def test_pictures_without_a_face_and_with_two(
    bundle_fp32: Path, tmp_path: Path, shared_data: Path, face_landmarker: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    astronaut = read_bgr(shared_data / "src_astronaut.png")
    cv2.imwrite(str(tmp_path / "two.png"), np.concatenate([astronaut, astronaut[:, ::-1]], 1))
    common = ["--bundle", bundle_fp32, "--face-landmarker", face_landmarker, "-d", still_motion(tmp_path)]
    assert "face" in refuse(*common, "-s", tmp_path / "noise.png", "-o", tmp_path / "o.png")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    bad = refuse(*common, "-s", tmp_path / "two.png", "--matting", tmp_path / "bad.onnx", "-o", tmp_path / "o.png")
    assert "bad.onnx: ONNX Runtime does not load it as a network" in bad
    assert "--face" in refuse(*common, "-s", tmp_path / "two.png", "-o", tmp_path / "o.png")
    assert "2" in refuse(*common, "-s", tmp_path / "two.png", "--face", 3, "-o", tmp_path / "o.png")
    succeed(*common, "-s", tmp_path / "two.png", "--face", 2, "-o", tmp_path / "o.png")


@pytest.mark.slow
def test_clip_without_a_face_and_broken_clips(
    bundle_fp32: Path, tmp_path: Path, shared_data: Path, face_landmarker: Path
) -> None:
    common = ["--bundle", bundle_fp32, "--face-landmarker", face_landmarker, "-o", tmp_path / "o.mp4"]
    grey = tmp_path / "grey.mp4"
    write_clip(grey)
    assert "face" in refuse(*common, "-d", grey)
    assert "camera:77" in refuse(*common, "-d", "camera:77")
    whole = (shared_data / "drv_d10.mp4").read_bytes()
    truncated, garbage = tmp_path / "truncated.mp4", tmp_path / "garbage.mp4"
    truncated.write_bytes(whole[: len(whole) // 2])
    garbage.write_bytes(bytes(range(256)) * 64)
    assert "truncated.mp4" in refuse(*common, "-d", truncated)
    assert "garbage.mp4" in refuse(*common, "-d", garbage)
    assert not list(tmp_path.glob("*o.*mp4"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_a_playable_video(bundle_fp32: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "o.mp4"
    motion = still_motion(tmp_path, 20_000)
    process = subprocess.Popen(
        [*RUN, "--bundle", str(bundle_fp32), "-d", str(motion), "-o", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run under nohup would hand on that SIGHUP is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    # The file has a beginning once a frame was written to it.
    deadline = time.monotonic() + 1200
    while not any(path.stat().st_size for path in tmp_path.glob(".o.*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    number = signal.Signals[name]
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=1200)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert errors.splitlines()[-1] == ("Interrupted." if name == "SIGINT" else f"Ended by {name}.")
    assert "Traceback" not in errors
    frames, _ = video_frames(output)
    assert 0 < len(frames) < 20_000
    assert not list(tmp_path.glob(".o.*"))


def test_disk_full_is_said_and_leaves_nothing(bundle_fp32: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        error = refuse("--bundle", bundle_fp32, "-d", still_motion(tmp_path, 400), "-o", small / "frames")
        assert "full" in error
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def peak_kilobytes(*arguments: object) -> int:
    """Peak resident memory of one run, from a child of its own so that earlier runs do not count."""
    probe = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", probe, *RUN, *map(str, arguments), "--quiet"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(bundle_fp32: Path, tmp_path: Path) -> None:
    peaks = [
        peak_kilobytes(
            "--bundle", bundle_fp32, "-d", still_motion(tmp_path, frames), "-o", tmp_path / f"{frames}.mp4", "--compare"
        )
        for frames in (300, 1200)
    ]
    # Two runs of one length differ by 0.2 %; a picture of three tiles kept for each frame would be 6 %.
    assert peaks[1] <= 1.02 * peaks[0], peaks
