import gc
import re
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.reader import CameraReader, VideoReader, fitted_size, live_pictures
from tests.support.fuzz_clips import copy_clip, damaged_clips
from tests.support.fuzzing import outcome
from tests.support.media import (
    NTSC,
    joined,
    number_of,
    numbered_picture,
    retimed,
    transport_packets,
    without_bytes,
    without_first_pictures,
    without_frame_duration,
    write_clip,
    write_sound,
)


def read(path: Path) -> list[tuple[int, Fraction]]:
    with VideoReader(path) as reader:
        return [(number_of(picture), time) for picture, time in reader]


def corner_of(picture: np.ndarray) -> str:
    """Where the white quarter of a `numbered_picture` is."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    quarters = {
        "top left": picture[:height, :width],
        "top right": picture[:height, width:],
        "bottom left": picture[height:, :width],
        "bottom right": picture[height:, width:],
    }
    return max(quarters, key=lambda name: float(quarters[name].mean()))


def test_every_frame_in_order_with_exact_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=40, fps=NTSC)
    with VideoReader(clip) as reader:
        assert (reader.fps, reader.length, reader.size, reader.has_audio) == (NTSC, 40, (48, 64), False)
        frames = [(number_of(picture), time) for picture, time in reader]
    assert frames == [(index % 25, index / NTSC) for index in range(40)]


def test_picture_is_rgb_bytes(tmp_path: Path) -> None:
    with VideoReader(write_clip(tmp_path / "clip.mp4", frames=1)) as reader:
        (picture, time), *rest = reader
    assert not rest
    assert time == 0
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - numbered_picture(0)).mean() < 4


def test_variable_rate_keeps_its_own_times(tmp_path: Path) -> None:
    ticks = [0, 50, 160, 300, 310, 500]
    clip = write_clip(tmp_path / "vfr.mp4", fps=Fraction(25), ticks=ticks)
    assert read(clip) == [(index, Fraction(tick, 2500)) for index, tick in enumerate(ticks)]


RECORDER_TICKS = [0, 33, 75, 128, 140, 171, 209, 240, 266, 301, 333, 400, 431, 466]


@pytest.mark.parametrize("suffix", [".webm.mkv", ".flv"])
def test_recording_without_a_frame_duration_has_the_rate_of_its_times(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", fps=Fraction(10), ticks=RECORDER_TICKS)
    if suffix.endswith(".mkv"):
        without_frame_duration(clip)
    with VideoReader(clip) as reader:
        assert reader.fps == Fraction(13, Fraction(466, 1000))
        times = [time for _, time in reader]
    assert times == [Fraction(tick, 1000) for tick in RECORDER_TICKS]


def test_constant_rate_without_a_frame_duration_is_exact(tmp_path: Path) -> None:
    clip = without_frame_duration(write_clip(tmp_path / "clip.mkv", frames=80, fps=NTSC))
    with VideoReader(clip) as reader:
        assert reader.fps == NTSC


def test_one_picture_without_a_frame_duration(tmp_path: Path) -> None:
    with VideoReader(without_frame_duration(write_clip(tmp_path / "clip.mkv", frames=1))) as reader:
        assert reader.fps <= 60


def test_odd_size(tmp_path: Path) -> None:
    with VideoReader(write_clip(tmp_path / "odd.mp4", frames=2, size=(47, 63))) as reader:
        assert reader.size == (47, 63)
        assert [picture.shape for picture, _ in reader] == [(47, 63, 3)] * 2


@pytest.mark.parametrize(
    ("rotation", "size", "corner"),
    [
        (0, (48, 64), "top left"),
        (90, (64, 48), "bottom left"),
        (180, (48, 64), "bottom right"),
        (-90, (64, 48), "top right"),
    ],
)
def test_phone_rotation_is_applied(tmp_path: Path, rotation: int, size: tuple[int, int], corner: str) -> None:
    with VideoReader(write_clip(tmp_path / "turned.mp4", frames=3, rotation=rotation)) as reader:
        assert reader.size == size
        assert {corner_of(picture) for picture, _ in reader} == {corner}


def test_mirror_flag_is_applied(tmp_path: Path) -> None:
    with VideoReader(write_clip(tmp_path / "mirrored.mp4", frames=2, flip=True)) as reader:
        assert {corner_of(picture) for picture, _ in reader} == {"top right"}


def test_wide_pixels_become_square(tmp_path: Path) -> None:
    with VideoReader(write_clip(tmp_path / "wide.mp4", frames=1, pixel_aspect=Fraction(3, 2))) as reader:
        assert reader.size == (48, 96)


@pytest.mark.parametrize(
    ("name", "audio"), [("a.mkv", "libopus"), ("a.avi", "libmp3lame"), ("a.mov", "aac"), ("a.ts", "aac")]
)
def test_other_containers(tmp_path: Path, name: str, audio: str) -> None:
    clip = write_clip(tmp_path / name, frames=30, audio=audio)
    with VideoReader(clip) as reader:
        assert (reader.fps, reader.has_audio) == (NTSC, True)
        assert abs((reader.length or 0) - 30) <= 1
        frames = [(number_of(picture), float(time)) for picture, time in reader]
    assert [number for number, _ in frames] == [index % 25 for index in range(30)]
    # Matroska keeps milliseconds.
    assert [time for _, time in frames] == pytest.approx([index / NTSC for index in range(30)], abs=0.001)


def test_fragmented_mp4(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "f.mp4", frames=30, options={"movflags": "empty_moov", "frag_duration": "200000"})
    assert len(read(clip)) == 30
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with pytest.raises(HideNerfError, match="cut short"):
        read(clip)


def test_animated_gif_is_a_clip(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8"
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert reader.fps == 10
        assert [time for _, time in reader] == [0, Fraction(1, 10), Fraction(1, 5)]


def test_trimmed_clip_starts_where_it_is_shown_from(tmp_path: Path) -> None:
    """An edit list hides the first half second: 15 of 30000/1001 frames per second."""
    clip = write_clip(tmp_path / "clip.mp4", frames=40)
    trimmed = retimed(clip, tmp_path / "trimmed.mp4", video=-15 / NTSC)
    with VideoReader(trimmed) as reader:
        assert reader.length == 25
        frames = [(number_of(picture), time) for picture, time in reader]
    assert frames == [((15 + index) % 25, index / NTSC) for index in range(25)]


def test_real_clips(shared_data: Path) -> None:
    for name, fps, length, sound in [("drv_d0.mp4", 25, 78, False), ("drv_d10.mp4", 30, 150, True)]:
        with VideoReader(shared_data / name) as reader:
            assert (reader.fps, reader.length, reader.has_audio) == (fps, length, sound)
            times = [time for _, time in reader]
        assert times == [Fraction(index, fps) for index in range(length)]


def test_decoded_pictures_do_not_wait_for_the_garbage_collector(tmp_path: Path) -> None:
    """One frame a picture must be freed at once: a cycle through PyAV's side data once held thousands."""
    clip = write_clip(tmp_path / "clip.mp4", frames=60, rotation=90)
    gc.collect()
    gc.disable()
    try:
        read(clip)
        frames = sum(isinstance(item, av.VideoFrame) for item in gc.get_objects())
    finally:
        gc.enable()
    assert frames <= 2


def test_no_such_file_and_folder_and_others(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("hello\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    poem = tmp_path / "poem.txt"
    poem.write_text("FFmpeg would show this as ASCII art\n")
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), numbered_picture(0))
    sound = write_sound(tmp_path / "sound.mp4", "aac", 0.2)
    for path, words in [
        (tmp_path / "absent.mp4", "no such file"),
        (tmp_path, "this is a folder"),
        (text, "not a readable video"),
        (empty, "not a readable video"),
        (poem, "not a readable video"),
        (picture, "not a readable video"),
        (sound, "no moving pictures"),
    ]:
        with pytest.raises(HideNerfError, match=words) as caught:
            VideoReader(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_video_without_any_picture(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(HideNerfError, match=r"no (moving )?pictures"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.ts", "mpeg4"), ("a.webm", "libvpx")]
)
def test_a_stream_that_starts_between_key_frames(
    tmp_path: Path, name: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / f"whole.{name}", frames=60, codec=codec, key_every=20)
    (tmp_path / "cut").mkdir()
    cut = without_first_pictures(clip, tmp_path / "cut" / name, 8)
    with VideoReader(cut) as reader:
        frames = [(number_of(picture), float(time)) for picture, time in reader]
        stated = float(video_start(cut))
        # Picture 8 is the first in the file, 20 the first that can be decoded.
        assert float(reader.start) - stated == pytest.approx(12 / NTSC, abs=0.002)
    assert frames == [(index % 25, pytest.approx((index - 20) / NTSC, abs=0.002)) for index in range(20, 60)]
    (note,) = caplog.messages
    assert note.endswith(
        "the video begins between key frames; its first 0.40 s cannot be decoded and are left out, with their sound."
    )


def video_start(path: Path) -> Fraction:
    """When the first picture's packet is shown, seconds on the file's clock."""
    with av.open(str(path)) as container:
        return min(packet.pts * packet.time_base for packet in container.demux(video=0) if packet.pts is not None)


def test_a_stream_without_any_key_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm", frames=30, codec="libvpx")
    cut = without_first_pictures(clip, tmp_path / "cut.webm", 1)
    with pytest.raises(HideNerfError, match="none of the video's pictures can be decoded"):
        VideoReader(cut)


@pytest.mark.parametrize(
    ("size", "corner"),
    [
        ((24, 32), "top left"),  # smaller and larger pictures of the same view
        ((96, 128), "top left"),
        ((36, 46), "top left"),  # with a side that was rounded to an even number
    ],
)
def test_pictures_of_another_size_are_brought_to_the_first(
    tmp_path: Path, size: tuple[int, int], corner: str, caplog: pytest.LogCaptureFixture
) -> None:
    clips = [
        write_clip(tmp_path / f"{index}.webm", frames=8, size=one, codec="libvpx")
        for index, one in enumerate([(48, 64), size])
    ]
    clip = joined(clips[0], clips[1], tmp_path / "clip.webm")
    with VideoReader(clip) as reader:
        assert reader.size == (48, 64)
        pictures = [picture for picture, _ in reader]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert {corner_of(picture) for picture in pictures} == {corner}
    assert [number_of(picture) for picture in pictures] == list(range(8)) * 2
    assert min(int(picture[1:22, 1:30].min()) for picture in pictures) > 200
    (note,) = caplog.messages
    width, height = size[1], size[0]
    assert note == (
        f"{clip}: the pictures' size changes from 64×48 to {width}×{height} after 0.27 s; all are brought to the first "
        "size."
    )


def test_pictures_of_another_shape_are_fitted(tmp_path: Path) -> None:
    """As from a phone that was turned: 48 × 64 fits into 64 × 48 as 36 × 48, between black bars."""
    clips = [
        write_clip(tmp_path / f"{index}.webm", frames=4, size=one, codec="libvpx")
        for index, one in enumerate([(48, 64), (64, 48)])
    ]
    with VideoReader(joined(clips[0], clips[1], tmp_path / "clip.webm")) as reader:
        *_, last = (picture for picture, _ in reader)
    assert last.shape == (48, 64, 3)
    assert last[:, :13].max() < 20
    assert last[:, -13:].max() < 20
    assert last[2:22, 16:30].min() > 200


@pytest.mark.parametrize(
    ("size", "into", "expected"),
    [
        ((1280, 720), (640, 360), (640, 360)),
        ((638, 360), (1280, 720), (1280, 720)),
        ((720, 1280), (1280, 720), (405, 720)),
        ((640, 480), (1280, 720), (960, 720)),
        ((1000, 2), (10, 10), (10, 1)),
    ],
)
def test_fitted_size(size: tuple[int, int], into: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(*size, *into) == expected


def test_a_lost_packet_of_a_transport_stream_is_concealed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=60, key_every=10, size=(480, 640))
    positions = transport_packets(clip, 0)
    without_bytes(clip, positions[len(positions) // 2], 188)
    frames = read(clip)
    assert [time for _, time in frames] == [index / NTSC for index in range(60)]
    right = [number == index % 25 for index, (number, _) in enumerate(frames)]
    assert right.count(False) <= 10
    assert right[-10:] == [True] * 10
    (note,) = caplog.messages
    assert re.search(r"the video is damaged after \d\.\d\d s \(.+\); it is used as far as it can be decoded\.$", note)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".flv"])
@pytest.mark.parametrize("fill", [b"\x00", b"\xa5"])
def test_pictures_after_a_hole_have_their_times(
    tmp_path: Path, suffix: str, fill: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", frames=240, audio="aac", key_every=6)
    data = bytearray(clip.read_bytes())
    start = len(data) // 3
    data[start : start + 4000] = fill * 4000
    clip.write_bytes(data)
    frames = read(clip)
    assert 180 <= len(frames) < 240
    wrong = [index for index, (number, time) in enumerate(frames) if round(time * NTSC) % 25 != number]
    # Pictures of one group may be concealed by older ones.
    assert len(wrong) <= 6
    assert round(frames[-1][1] * NTSC) == 239
    # Matroska and FLV skip ahead without a word.
    assert len(caplog.messages) == 1 or suffix in (".mkv", ".flv")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("fill", [b"\x00", b"\xa5"])
def test_nothing_after_the_damage_is_an_error(tmp_path: Path, suffix: str, fill: bytes) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", frames=90, audio="libmp3lame", key_every=10)
    data = bytearray(clip.read_bytes())
    start, end = len(data) // 3, data.rfind(b"moov" if suffix == ".mp4" else bytes.fromhex("1C53BB6B")) - 4
    assert end > start
    data[start:end] = fill * (end - start)
    clip.write_bytes(data)
    with pytest.raises(HideNerfError, match=r"damaged after \d\.\d\d s \(.*\); copy it again or cut it there"):
        read(clip)


@pytest.mark.parametrize("leap", [3_000_000, 700])
def test_times_that_leap_go_on_at_the_frame_rate(tmp_path: Path, leap: int) -> None:
    """As where a recorder's clock was set after 20 pictures."""
    path = tmp_path / "clip.ts"
    with av.open(str(write_clip(tmp_path / "whole.mkv", frames=40))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.dts is None or packet.pts is None:
                continue
            ticks = round((40 + (leap if index >= 20 else 0)) / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
            target.mux(packet)
    frames = read(path)
    assert [number for number, _ in frames] == [index % 25 for index in range(40)]
    assert [float(time) for _, time in frames] == pytest.approx([index / NTSC for index in range(40)], abs=2e-3)


def test_a_stream_that_begins_after_the_file_was_opened(tmp_path: Path) -> None:
    """A tag of FLV turned into one of a kind of stream that the file has none of, beyond what is probed."""
    clip = write_clip(tmp_path / "clip.flv", frames=60, audio="aac")
    data = bytearray(clip.read_bytes())
    position, tags = 13, []
    while position < len(data):
        tags.append(position)
        position += 15 + int.from_bytes(data[position + 1 : position + 4], "big")
    data[tags[-8]] = 18  # script data, of which FFmpeg makes a stream of its own
    clip.write_bytes(data)
    with av.open(str(clip)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        with pytest.raises(IndexError):
            list(container.demux())
    assert len(read(clip)) >= 50


def test_a_stream_that_was_stopped_within_a_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=60, key_every=10)
    content = clip.read_bytes()
    for cut in (1, 200, 1000):
        clip.write_bytes(content[:-cut])
        assert 55 <= len(read(clip)) <= 60


def test_damaged_clips_end_in_a_video_or_one_sentence(tmp_path: Path) -> None:
    """`python -m tests.support.fuzz_clips` tries more."""
    found = [outcome(copy_clip, path, content) for _, path, content in damaged_clips(tmp_path, 2, 7)]
    assert len(found) > 64
    assert any(text.startswith("video of ") for text in found)
    assert any("cut short" in text for text in found)


def test_no_camera_says_so_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HideNerfError, match="camera:97: no such camera"):
        CameraReader(97)
    assert capfd.readouterr() == ("", "")


def test_live_pictures_carry_the_clock(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=3)
    frames = list(live_pictures(cv2.VideoCapture(str(clip))))
    assert [number_of(picture) for picture, _ in frames] == [0, 1, 2]
    times = [time for _, time in frames]
    assert times[0] == 0
    assert times == sorted(times)
    assert all(isinstance(time, Fraction) for time in times)
