import contextlib
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.encoder import Clock, pad_to_even
from hidenerf.runtime.video.pictures import read_picture, write_picture
from hidenerf.runtime.video.reader import VideoReader
from hidenerf.runtime.video.writer import FrameWriter, PictureFolderWriter, PictureWriter, VideoWriter, open_writer
from tests.support.media import (
    NTSC,
    audio_packets,
    audio_times,
    number_of,
    numbered_picture,
    retimed,
    seconds,
    transport_packets,
    video_times,
    with_second_track,
    with_text,
    with_unknown_codec,
    without_bytes,
    without_first_pictures,
    write_clip,
    write_sound,
)

RATES = [
    Fraction(25),
    Fraction(30),
    NTSC,
    Fraction(24000, 1001),
    Fraction(60000, 1001),
    Fraction(12),
    Fraction(359, 12),
]


def copy_through(source: Path, target: Path, sound: bool = True) -> Path:
    with VideoReader(source) as reader, VideoWriter(target, reader.fps, source if sound else None) as writer:
        for picture, at in reader:
            writer.write(picture, at)
    return target


def write_frames(writer: FrameWriter, pictures: Iterable[np.ndarray], fps: Fraction = NTSC) -> None:
    with writer:
        for index, picture in enumerate(pictures):
            writer.write(picture, index / fps)


def write_numbered(path: Path, count: int, fps: Fraction = NTSC, audio: Path | None = None) -> None:
    writer = open_writer(path, fps, audio, still=count == 1)
    write_frames(writer, map(numbered_picture, range(count)), fps)


def numbers(path: Path) -> list[int]:
    with VideoReader(path) as reader:
        return [number_of(picture) for picture, _ in reader]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def noise(index: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("fps", RATES)
def test_constant_rate_stays_exact(tmp_path: Path, fps: Fraction) -> None:
    write_numbered(tmp_path / "out.mp4", 40, fps)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (fps, 40)
        assert seconds(stream.duration, stream.time_base) == 40 / fps
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert video_times(tmp_path / "out.mp4") == [index / fps for index in range(40)]
    assert numbers(tmp_path / "out.mp4") == [index % 25 for index in range(40)]


def test_millisecond_times_become_the_exact_rate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=40)
    assert video_times(clip)[1] == Fraction(33, 1000)
    assert video_times(copy_through(clip, tmp_path / "out.mp4")) == [index / NTSC for index in range(40)]


def test_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    ticks = [0, 50, 160, 300, 310, 500]
    clip = write_clip(tmp_path / "vfr.mp4", fps=Fraction(25), ticks=ticks)
    times = video_times(copy_through(clip, tmp_path / "out.mp4"))
    assert times == [Fraction(tick, 2500) for tick in ticks]
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert seconds(stream.duration, stream.time_base) == Fraction(600, 2500)


def test_uneven_times_are_not_moved_to_the_rate() -> None:
    """At 30 frames a second, 100 and 133 ms are 3 and 4 frames, but not after 80 ms."""
    clock = Clock(Fraction(30))
    times = [Fraction(tick, 1000) for tick in (0, 33, 80, 101, 133)]
    found = [clock.tick(time) * clock.time_base for time in times]
    assert found == [0, Fraction(1, 30), Fraction(80, 1000), Fraction(101, 1000), Fraction(133, 1000)]


@given(st.sampled_from([*RATES, Fraction(1078920000, 36012341), Fraction(90000)]), st.data())
def test_clock_follows_times_and_never_stands_still(fps: Fraction, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 90000), min_size=1, max_size=30))
    times = [Fraction(sum(steps[: index + 1]), 90000) for index in range(len(steps))]
    clock = Clock(fps)
    ticks = [clock.tick(time) for time in times]
    assert all(later > earlier for earlier, later in itertools.pairwise(ticks))
    assert clock.time_base.denominator < 2**31
    rising = [index for index in range(1, len(steps)) if all(step >= 1000 for step in steps[1 : index + 1])]
    for index in rising:
        assert abs(ticks[index] * clock.time_base - times[index]) <= Fraction(1, 1000) + clock.time_base


@given(st.sampled_from(RATES), st.integers(0, 100_000))
def test_clock_is_exact_on_the_rate(fps: Fraction, index: int) -> None:
    clock = Clock(fps)
    assert clock.tick(index / fps) * clock.time_base == index / fps
    assert clock.tick(Fraction(round(1000 * (index + 1) / fps), 1000)) * clock.time_base == (index + 1) / fps


@given(st.integers(1, 9), st.integers(1, 9))
def test_padding_repeats_the_edge_and_keeps_the_rest(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    padded = pad_to_even(picture)
    assert padded.shape == (height + height % 2, width + width % 2, 3)
    np.testing.assert_array_equal(padded[:height, :width], picture)
    np.testing.assert_array_equal(padded[-1, :width], picture[-1])


def test_odd_size_is_padded_not_stretched(tmp_path: Path) -> None:
    copy_through(write_clip(tmp_path / "odd.mp4", frames=2, size=(47, 63)), tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.size == (48, 64)
        picture, _ = next(iter(reader))
    assert np.abs(picture[:47, :63].astype(int) - numbered_picture(0, (47, 63))).mean() < 5


def test_colours_survive(tmp_path: Path) -> None:
    colours = np.array([(220, 40, 30), (40, 200, 60), (50, 60, 210), (128, 128, 128), (235, 200, 180)], np.uint8)
    picture = np.repeat(np.repeat(colours[None], 64, 0), 32, 1)
    with VideoWriter(tmp_path / "out.mp4", Fraction(25), None) as writer:
        writer.write(picture, Fraction(0))
    with VideoReader(tmp_path / "out.mp4") as reader:
        found, _ = next(iter(reader))
    assert np.abs(found[32, 16::32].astype(int) - colours).max() <= 4
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "libmp3lame"),
        ("a.mkv", "ac3"),
        ("a.mkv", "eac3"),
        ("a.mkv", "libopus"),
        ("a.mkv", "alac"),
        ("a.avi", "libmp3lame"),
        ("a.mov", "aac"),
    ],
)
def test_sound_is_copied_packet_by_packet_and_cut_at_the_end(tmp_path: Path, name: str, codec: str) -> None:
    clip = write_clip(tmp_path / name, frames=40, audio=codec, audio_seconds=2.0)
    out = copy_through(clip, tmp_path / "out.mp4")
    end = 40 / NTSC
    expected = [(time, data) for time, data in zip(audio_times(clip), audio_packets(clip), strict=True) if time < end]
    assert 10 < len(expected) < len(audio_packets(clip))
    assert audio_packets(out) == [data for _, data in expected]
    assert [float(time) for time in audio_times(out)] == pytest.approx([float(time) for time, _ in expected], abs=2e-3)


def test_real_sound_is_copied_whole(shared_data: Path, tmp_path: Path) -> None:
    clip = shared_data / "drv_d10.mp4"
    out = copy_through(clip, tmp_path / "out.mp4")
    assert audio_packets(out) == audio_packets(clip)
    assert audio_times(out) == audio_times(clip)
    assert video_times(out) == video_times(clip)
    with av.open(str(out)) as container:
        assert container.duration == 5_000_000


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_players_do_not_know_becomes_aac(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=60, audio="mp2")
    out = copy_through(clip, tmp_path / f"out{suffix}")
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(samples) / 48000 == pytest.approx(60 / NTSC, abs=0.05)
    # The sine of 440 Hz, amplitude 12000/32768, is still there.
    middle = samples[24000:72000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert middle.std() == pytest.approx(12000 / 32768 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("video", "audio"), [(0, Fraction(1, 2)), (10, Fraction(41, 4)), (Fraction(1, 2), 0)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_starts_at_another_time_stays_in_step(
    tmp_path: Path, video: Fraction, audio: Fraction, suffix: str
) -> None:
    """Each packet must be as long after the first picture as in the clip; a tenth of a second before it is kept."""
    clip = write_clip(tmp_path / f"clip{suffix}", frames=60, audio="libopus")
    moved = retimed(clip, tmp_path / f"moved{suffix}", Fraction(video), Fraction(audio))
    start = video_times(moved)[0]
    packets = zip((time - start for time in audio_times(moved)), audio_packets(moved), strict=True)
    expected = [(time, data) for time, data in packets if Fraction(-1, 10) <= time < 60 / NTSC]
    out = copy_through(moved, tmp_path / "out.mp4")
    assert video_times(out)[0] == 0
    assert audio_packets(out) == [data for _, data in expected]
    assert [float(time) for time in audio_times(out)] == pytest.approx([float(time) for time, _ in expected], abs=2e-3)


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.ts", "mpeg4")])
def test_sound_of_a_stream_that_starts_between_key_frames_stays_in_step(tmp_path: Path, name: str, codec: str) -> None:
    """Sound is as long after the first picture that can be decoded as in the clip, whatever the clip's own start."""
    whole = write_clip(tmp_path / f"whole.{name}", frames=60, codec=codec, key_every=20, audio="aac")
    (tmp_path / "cut").mkdir()
    clip = without_first_pictures(whole, tmp_path / "cut" / name, 8)
    # Picture 20 is the first that can be decoded, 8 the first that is there.
    start = video_times(whole)[20] + audio_times(clip)[0] - audio_times(whole)[0]
    out = copy_through(clip, tmp_path / "out.mp4")
    times = [time - start for time in audio_times(clip)]
    expected = [time for time in times if Fraction(-1, 10) <= time < 40 / NTSC]
    assert [float(time) for time in audio_times(out)] == pytest.approx([float(time) for time in expected], abs=2e-3)
    assert len(numbers(out)) == 40


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("default", [0, 1])
def test_a_track_that_nobody_decodes_gives_way_to_the_next(
    tmp_path: Path, name: str, default: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_clip(tmp_path / f"whole.{name}", frames=30, audio="aac")
    clip = with_unknown_codec(with_second_track(whole, tmp_path / name, default))
    with av.open(str(clip)) as container:
        assert [track.codec_context is None for track in container.streams.audio] == [True, False]
        expected = [bytes(packet) for packet in container.demux(audio=1) if packet.size]
    out = copy_through(clip, tmp_path / "out.mp4")
    assert audio_packets(out) == expected[: len(audio_packets(out))]
    assert len(expected) - 3 < len(audio_packets(out)) <= len(expected)
    # The second track is taken without a word where it is the default one.
    notes = [f"{clip}: its sound track 1 cannot be decoded; track 2 (aac) is taken."]
    assert caplog.messages == (notes if default == 0 else [])


@pytest.mark.parametrize(("tracks", "which"), [(1, "its sound track cannot"), (2, "none of its 2 sound tracks can")])
def test_no_track_that_anybody_decodes_means_no_sound(
    tmp_path: Path, tracks: int, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "one.mp4", frames=30, audio="aac")
    if tracks == 2:
        clip = with_second_track(clip, tmp_path / "two.mp4")
    with_unknown_codec(clip, tracks)
    out = copy_through(clip, tmp_path / "out.mp4")
    assert len(numbers(out)) == 30
    assert audio_packets_or_none(out) is None
    assert caplog.messages == [f"{clip}: {which} be decoded; the output has no sound."]


def audio_packets_or_none(path: Path) -> list[bytes] | None:
    with av.open(str(path)) as container:
        has_track = bool(container.streams.audio)
    return audio_packets(path) if has_track else None


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mov", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize(("text", "encoding"), [("Müller", "latin-1"), ("片头字幕", "gbk")])
def test_text_that_is_no_utf_8(tmp_path: Path, suffix: str, text: str, encoding: str) -> None:
    whole = write_clip(tmp_path / f"whole{suffix}", audio="aac")
    clip = with_text(whole, tmp_path / f"clip{suffix}", text, encoding)
    out = copy_through(clip, tmp_path / "out.mp4")
    assert numbers(out) == list(range(12))
    assert audio_packets(out) == audio_packets(copy_through(whole, tmp_path / "plain.mp4"))


def test_the_default_track_is_taken(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", frames=30, audio="aac")
    for default, skipped in ((0, 0), (1, 2)):
        clip = with_second_track(whole, tmp_path / "two.mkv", default)
        out = copy_through(clip, tmp_path / "out.mp4")
        assert audio_packets(out) == audio_packets(whole)[skipped : skipped + len(audio_packets(out))]


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_a_lost_packet_of_sound_leaves_the_rest(tmp_path: Path, codec: str) -> None:
    """AAC is copied, MP2 decoded."""
    clip = write_clip(tmp_path / "clip.ts", frames=90, audio=codec)
    whole = audio_times(copy_through(clip, tmp_path / "whole.mp4"))
    positions = transport_packets(clip, 1)
    without_bytes(clip, positions[len(positions) // 2], 188)
    out = copy_through(clip, tmp_path / "out.mp4")
    assert len(numbers(out)) == 90
    assert len(whole) - 5 <= len(audio_times(out)) <= len(whole)
    assert abs(audio_times(out)[-1] - whole[-1]) < Fraction(1, 20)


def test_a_frame_of_sound_that_cannot_be_copied_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged header of an AAC frame says that it has a checksum and four blocks, which FFmpeg does not copy."""
    clip = write_clip(tmp_path / "clip.ts", frames=60, audio="aac")
    whole = audio_packets(copy_through(clip, tmp_path / "whole.mp4"))
    data = bytearray(clip.read_bytes())
    header = data.index(b"\xff\xf1", transport_packets(clip, 1)[20])
    data[header + 1] = 0xF0
    data[header + 6] |= 3
    clip.write_bytes(data)
    out = copy_through(clip, tmp_path / "out.mp4")
    assert len(numbers(out)) == 60
    assert len(whole) - 3 <= len(audio_packets(out)) < len(whole)
    (note,) = caplog.messages
    assert re.search(r"clip\.ts: the sound is damaged \(.+\); what cannot be used is left out\.$", note)


def test_a_track_without_its_codec_s_header_is_encoded_anew(tmp_path: Path) -> None:
    """Matroska's CodecPrivate (63 A2) turned to Void: the sound can be decoded, but not copied into MP4."""
    clip = write_clip(tmp_path / "clip.mkv", frames=60, audio="libopus")
    data = clip.read_bytes()
    start = data.index(b"OpusHead") - 3
    assert data[start : start + 2] == bytes.fromhex("63A2")
    length = data[start + 2] & 0x7F
    clip.write_bytes(
        data[:start] + b"\xec" + bytes([0x80 | length + 1]) + bytes(length + 1) + data[start + 3 + length :]
    )
    out = copy_through(clip, tmp_path / "out.mp4")
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert len(numbers(out)) == 60


def test_transport_streams_one_after_the_other_in_a_file(tmp_path: Path) -> None:
    """The clock goes back to its start: pictures and sound go on, in step."""
    clip = write_clip(tmp_path / "clip.ts", frames=60, audio="aac")
    once = audio_times(copy_through(clip, tmp_path / "once.mp4"))
    clip.write_bytes(2 * clip.read_bytes())
    out = copy_through(clip, tmp_path / "out.mp4")
    assert numbers(out) == [index % 25 for index in (*range(60), *range(60))]
    assert [float(time) for time in video_times(out)] == pytest.approx([index / NTSC for index in range(120)], abs=2e-3)
    assert len(audio_times(out)) >= 2 * len(once) - 2
    assert float(audio_times(out)[-1]) == pytest.approx(float(once[-1] + 60 / NTSC), abs=0.05)


def test_sound_shorter_than_the_video_and_clip_without_sound(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=60, audio="aac", audio_seconds=0.5)
    out = copy_through(clip, tmp_path / "out.mp4")
    assert audio_packets(out) == audio_packets(clip)
    assert len(numbers(out)) == 60
    silent = copy_through(write_clip(tmp_path / "silent.mp4"), tmp_path / "out.mp4")
    with VideoReader(silent) as reader:
        assert not reader.has_audio


def test_sound_file_without_pictures(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "sound.mp3", "libmp3lame", 3.0)
    write_numbered(tmp_path / "out.mp4", 30, audio=sound)
    packets = audio_packets(tmp_path / "out.mp4")
    assert packets == audio_packets(sound)[: len(packets)]
    assert 40 <= len(packets) <= 43


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov", "OUT.MP4"])
def test_containers_by_name(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=12, audio="aac")
    copy_through(clip, tmp_path / name)
    with VideoReader(tmp_path / name) as reader:
        assert (reader.fps, reader.has_audio) == (NTSC, True)
        assert [number_of(picture) for picture, _ in reader] == list(range(12))
    assert names(tmp_path) == sorted(["clip.mp4", name])


def test_mp4_index_is_at_the_front(tmp_path: Path) -> None:
    write_numbered(tmp_path / "out.mp4", 5)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")


def test_pictures_may_be_reused_after_write(tmp_path: Path) -> None:
    buffer = np.zeros((48, 64, 3), np.uint8)
    with VideoWriter(tmp_path / "out.mp4", NTSC, None) as writer:
        for index in range(20):
            buffer[:] = numbered_picture(index)
            writer.write(buffer, index / NTSC)
    assert numbers(tmp_path / "out.mp4") == list(range(20))


def test_folder_of_pictures(tmp_path: Path) -> None:
    for folder in (tmp_path / "new" / "frames", tmp_path / "empty.frames"):
        if folder.suffix:
            folder.mkdir()
            (folder / ".DS_Store").touch()
        write_numbered(folder, 3)
        assert [name for name in names(folder) if name[0] != "."] == ["000000.png", "000001.png", "000002.png"]
        for index in range(3):
            np.testing.assert_array_equal(read_picture(folder / f"{index:06}.png"), numbered_picture(index))


def test_single_picture(tmp_path: Path) -> None:
    write_numbered(tmp_path / "out.png", 1)
    np.testing.assert_array_equal(read_picture(tmp_path / "out.png"), numbered_picture(0))


def test_writer_is_chosen_by_name(tmp_path: Path) -> None:
    chosen = {
        "a.mp4": VideoWriter,
        "a.mov": VideoWriter,
        "a.mkv": VideoWriter,
        "a.png": PictureWriter,
        "a.jpeg": PictureWriter,
        "a": PictureFolderWriter,
    }
    for name, kind in chosen.items():
        assert type(open_writer(tmp_path / name, NTSC, None, still=True)) is kind
    assert names(tmp_path) == []


def test_errors_before_the_first_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", audio="aac")
    before = clip.read_bytes()
    full = tmp_path / "full"
    full.mkdir()
    (full / "000099.png").touch()
    (tmp_path / "file").touch()
    for path, audio, words in [
        (tmp_path / "a.gif", None, r"unknown kind of output .gif; use one of .mp4, .mov, .mkv, .png, .jpg"),
        (tmp_path / "a.png", None, "more than one frame; name a folder or a .mp4 file"),
        (full, None, "not empty"),
        (tmp_path / "file", None, "a file of this name is in the way"),
        (tmp_path / "file" / "a.mp4", None, "cannot make this folder"),
        (Path("/proc/a.mp4"), None, "cannot be written"),
        (Path("/proc/frames"), None, "cannot be written"),
        (tmp_path / "a.mp4", tmp_path / "absent.mp4", "absent.mp4: no such file"),
        (tmp_path / "a.mp4", tmp_path / "file", "the sound cannot be read"),
        (clip, clip, "the driving clip itself"),
    ]:
        with pytest.raises(HideNerfError, match=words) as caught:
            open_writer(path, NTSC, audio, still=False)
        assert "\n" not in str(caught.value)
    assert clip.read_bytes() == before
    assert names(tmp_path) == ["clip.mp4", "file", "full"]


def test_second_frame_for_a_single_picture(tmp_path: Path) -> None:
    writer = PictureWriter(tmp_path / "a.png")
    with pytest.raises(HideNerfError, match="more than one frame"):
        write_frames(writer, [numbered_picture(index) for index in range(20)])
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.png", "out"])
def test_no_frame_at_all(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(HideNerfError, match="no frame to write"),
        open_writer(tmp_path / name, NTSC, None, still=True),
    ):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.png", "out"])
def test_any_error_in_the_block_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"from before")
    writer = open_writer(path, NTSC, None, still=True)
    with pytest.raises(ZeroDivisionError):
        write_frames(writer, (numbered_picture(0 // (1 - index)) for index in range(2)))
    assert names(tmp_path) == ([name] if path.suffix else [])
    assert not path.suffix or path.read_bytes() == b"from before"


def test_interrupt_without_a_frame_leaves_nothing(tmp_path: Path) -> None:
    for name in ("out.mp4", "out"):
        with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / name, NTSC, None, still=False):
            raise KeyboardInterrupt
    assert names(tmp_path) == []


INTERRUPTED = textwrap.dedent("""
    import sys, time
    from fractions import Fraction
    from pathlib import Path
    from hidenerf.runtime.video.writer import open_writer
    from tests.support.media import numbered_picture
    with open_writer(Path(sys.argv[1]), Fraction(30000, 1001), Path(sys.argv[2]), False) as writer:
        for index in range(100000):
            writer.write(numbered_picture(index), index * Fraction(1001, 30000))
            if index == 30:
                print("go", flush=True)
            time.sleep(0.001)
""")


@pytest.mark.parametrize("name", ["out.mp4", "out"])
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_the_frames_so_far(tmp_path: Path, name: str, presses: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=60, audio="aac")
    out = tmp_path / name
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, out, clip],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, errors = process.communicate(timeout=1200)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    found = numbers(out) if out.suffix else [number_of(read_picture(path)) for path in sorted(out.iterdir())]
    assert len(found) > 20
    assert found == [index % 25 for index in range(len(found))]
    assert names(tmp_path) == sorted(["clip.mp4", name])


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make writing beyond `size` bytes fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_write_that_fails_on_the_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    writer = open_writer(tmp_path / name, NTSC, None, still=False)
    with pytest.raises(HideNerfError, match=r"cannot be written \(File too large\)"), largest_file(100_000):
        write_frames(writer, map(noise, range(1000)))
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
def test_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path, name: str) -> None:
    writer = open_writer(small_disk / name, NTSC, None, still=False)
    with pytest.raises(HideNerfError, match="the disk is full; free some space"):
        write_frames(writer, map(noise, range(1000)))
    assert names(small_disk) == []


def test_full_disk_for_a_picture(small_disk: Path) -> None:
    with pytest.raises(HideNerfError, match="the disk is full"):
        write_picture(noise(0, 512), small_disk / "out.png")
    assert names(small_disk) == []


def test_disk_that_fills_up_at_the_very_end(small_disk: Path) -> None:
    """However many frames: a whole file or none, never one that only looks whole."""
    outcomes = set()
    for count in range(96, 116, 2):
        with contextlib.suppress(HideNerfError):
            write_frames(VideoWriter(small_disk / "out.mp4", NTSC, None), (noise(index, 64) for index in range(count)))
        outcomes.add((small_disk / "out.mp4").exists())
        if (small_disk / "out.mp4").exists():
            assert len(numbers(small_disk / "out.mp4")) == count
            (small_disk / "out.mp4").unlink()
        assert names(small_disk) == []
    assert outcomes == {True, False}


def test_threads_end_with_the_block(tmp_path: Path) -> None:
    before = threading.active_count()
    write_numbered(tmp_path / "out.mp4", 3)
    with contextlib.suppress(ZeroDivisionError):
        write_frames(VideoWriter(tmp_path / "b.mp4", NTSC, None), (numbered_picture(0 // (1 - i)) for i in range(2)))
    assert threading.active_count() <= before


MEMORY = textwrap.dedent("""
    import sys
    from pathlib import Path
    from hidenerf.runtime.video.reader import VideoReader
    from hidenerf.runtime.video.writer import VideoWriter
    clip = Path(sys.argv[1])
    with VideoReader(clip) as reader, VideoWriter(clip.with_suffix(".out.mp4"), reader.fps, clip) as writer:
        for picture, time in reader:
            writer.write(picture, time)
    # Not ru_maxrss: that starts from the parent's size.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
""")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for frames in (300, 3000):
        clip = write_clip(tmp_path / f"{frames}.mp4", frames=frames, audio="aac", size=(64, 64))
        result = subprocess.run([sys.executable, "-c", MEMORY, clip], capture_output=True, text=True, check=True)
        peaks.append(int(result.stdout) / 1024)
    assert peaks[1] < peaks[0] * 1.05, f"{peaks[0]:.0f} MB for 300 frames, {peaks[1]:.0f} MB for 3000"
