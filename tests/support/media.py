"""Tiny synthetic clips for the tests, made with PyAV alone so that they do not depend on the code under test."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

NTSC = Fraction(30000, 1001)
SAMPLE_RATE = 48000


def read_bgr(path: Path) -> Picture:
    """A picture that must be there, as OpenCV reads it: uint8 BGR [H, W, 3]."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture.astype(np.uint8, copy=False)


def numbered_picture(index: int, size: tuple[int, int] = (48, 64)) -> Picture:
    """A picture (height, width) that tells its index by its grey and its top left corner by a white quarter."""
    picture = np.full((*size, 3), 20 + 8 * (index % 25), np.uint8)
    picture[: size[0] // 2, : size[1] // 2] = 255
    return picture


def number_of(picture: Picture) -> int:
    """The index, modulo 25, that `numbered_picture` wrote."""
    height, width = picture.shape[:2]
    corner = picture[height * 5 // 8 : height * 7 // 8, width * 5 // 8 : width * 7 // 8]
    return round((float(corner.mean()) - 20) / 8) % 25


def write_clip(
    path: Path,
    frames: int = 12,
    fps: Fraction = NTSC,
    size: tuple[int, int] = (48, 64),
    ticks: Sequence[int] | None = None,
    audio: str | None = None,
    audio_seconds: float | None = None,
    rotation: int = 0,
    flip: bool = False,
    pixel_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    key_every: int | None = None,
) -> Path:
    """A clip of `numbered_picture`s.

    ticks: one timestamp a frame in units of 1/fps/100, for a variable rate. audio: codec of a sine sound track, as
    long as the video or `audio_seconds`. rotation: anticlockwise degrees for the player to turn. flip: mirror left and
    right. options: of the container. codec: encoder of the pictures. key_every: frames from key frame to key frame.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        quality = {"crf": "10", "preset": "ultrafast"} if codec == "libx264" else {"b": "4000000"}
        video = cast(VideoStream, container.add_stream(codec, rate=fps, options=quality))
        if key_every is not None:
            video.codec_context.gop_size = key_every
        video.height, video.width = size
        video.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        time_base = 1 / fps / 100 if ticks is not None else 1 / fps
        frame_ticks = round(1 / fps / time_base)
        video.codec_context.time_base = time_base
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if flip:
            one = 1 << 16
            video.set_display_matrix([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30])
        elif rotation:
            video.set_display_rotation(rotation)
        sound = container.add_stream(audio, rate=SAMPLE_RATE, layout="mono") if audio else None
        times = list(ticks) if ticks is not None else list(range(frames))
        for index, tick in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_picture(index, size), format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            for packet in video.encode(frame):
                packet.duration = frame_ticks
                container.mux(packet)
        for packet in video.encode(None):
            packet.duration = frame_ticks
            container.mux(packet)
        if sound is not None:
            seconds = audio_seconds if audio_seconds is not None else float((times[-1] + frame_ticks) * time_base)
            _encode_sine(container, sound, seconds)
    return path


def write_sound(path: Path, codec: str, seconds: float) -> Path:
    """A sound file without pictures."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        _encode_sine(container, sound, seconds)
    return path


def _encode_sine(container: OutputContainer, sound: Any, seconds: float) -> None:
    for frame in _sine(seconds, sound.codec_context.format.name):
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def _sine(seconds: float, sample_format: str) -> list[av.AudioFrame]:
    """A 440 Hz sine in one frame of a resampler's choice."""
    samples = np.sin(2 * np.pi * 440 / SAMPLE_RATE * np.arange(round(seconds * SAMPLE_RATE)))
    frame = av.AudioFrame.from_ndarray((samples * 12000).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    return av.AudioResampler(format=sample_format, layout="mono", rate=SAMPLE_RATE, frame_size=960).resample(frame)


def audio_packets(path: Path) -> list[bytes]:
    """The sound track's packets, as stored."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def seconds(ticks: int | None, time_base: Fraction | None) -> Fraction:
    """Ticks of a clock that a file must state, in seconds."""
    assert ticks is not None
    assert time_base is not None
    return ticks * time_base


def audio_times(path: Path) -> list[Fraction]:
    """When each of the sound track's packets starts, seconds on the file's clock."""
    with av.open(str(path)) as container:
        return [seconds(packet.pts, packet.time_base) for packet in container.demux(audio=0) if packet.size]


def video_times(path: Path) -> list[Fraction]:
    """Presentation times of all pictures in seconds, in order, as a player sees them."""
    with av.open(str(path)) as container:
        return [seconds(frame.pts, frame.time_base) for frame in container.decode(video=0)]


def without_frame_duration(path: Path) -> Path:
    """A Matroska file itself, as browsers' recorders write it: its element DefaultDuration (23 E3 83) becomes Void."""
    data = path.read_bytes()
    start = data.find(bytes.fromhex("23E383"))
    assert start > 0
    length = data[start + 3] & 0x7F
    void = b"\xec" + bytes([0x80 | length + 2]) + bytes(length + 2)
    path.write_bytes(data[:start] + void + data[start + len(void) :])
    return path


def without_first_pictures(clip: Path, path: Path, count: int) -> Path:
    """A copy of a clip, its packets as they are, without its first pictures, as a stream that was joined late."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video" and count > 0:
                count -= 1
                continue
            packet.stream = streams[packet.stream]
            target.mux(packet)
    return path


def joined(first: Path, second: Path, path: Path) -> Path:
    """The pictures of two clips of one codec as one stream, as where a recorder changes its pictures' size."""
    with av.open(str(first)) as one, av.open(str(second)) as other, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(one.streams.video[0])
        end = Fraction(0)
        for source in (one, other):
            begin = end
            for packet in source.demux(video=0):
                if packet.dts is None or packet.pts is None:
                    continue
                end = max(end, begin + packet.pts * packet.time_base + NTSC**-1)
                ticks = round(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = stream
                target.mux(packet)
    return path


def with_second_track(clip: Path, path: Path, default: int = 0) -> Path:
    """A copy of a clip whose sound is there twice, the second time from its third packet on.

    default: which of the two is the default track.
    """
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video, sound = (target.add_stream_from_template(stream) for stream in source.streams)
        second = target.add_stream_from_template(source.streams.audio[0])
        for index, track in enumerate((sound, second)):
            track.disposition = Disposition.default if index == default else Disposition(0)
        count = 0
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.stream = video
                target.mux(packet)
                continue
            count += 1
            content, timing = bytes(packet), (packet.pts, packet.dts, packet.duration, packet.time_base)
            for track in (sound, second)[: 1 if count < 3 else 2]:
                copy = av.Packet(content)
                copy.pts, copy.dts, copy.duration, copy.time_base = timing
                copy.stream = track
                target.mux(copy)
    return path


def with_text(clip: Path, path: Path, text: str, encoding: str) -> Path:
    """A copy of a clip whose title, track titles and names of handlers are this text in an encoding."""
    with av.open(str(clip)) as source, av.open(str(path), "w", metadata_encoding=encoding) as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for metadata in (target.metadata, *(stream.metadata for stream in streams.values())):
            metadata |= {"title": text, "handler_name": text, "service_name": text}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    assert text.encode(encoding) in path.read_bytes()
    return path


def with_unknown_codec(path: Path, count: int = 1) -> Path:
    """The file itself, MP4 or Matroska, in which the first tracks of AAC are of a codec that nobody decodes."""
    data = path.read_bytes()
    # Apple's spatial sound is stored so: another name, and a configuration of its own.
    in_mp4 = ((b"mp4a", b"apac"), (b"esds", b"dapa"))
    for known, unknown in in_mp4 if path.suffix == ".mp4" else ((b"A_AAC", b"A_XYZ"),):
        assert data.count(known) >= count
        data = data.replace(known, unknown, count)
    path.write_bytes(data)
    return path


def transport_packets(path: Path, stream: int) -> list[int]:
    """Positions in an MPEG-TS file of the packets (188 bytes each) of its video (0) or sound (1)."""
    data = path.read_bytes()
    return [
        position
        for position in range(0, len(data), 188)
        if (data[position + 1] & 0x1F) << 8 | data[position + 2] == 0x100 + stream
    ]


def without_bytes(path: Path, start: int, count: int) -> Path:
    """The file itself, with a part cut out of its middle."""
    data = path.read_bytes()
    path.write_bytes(data[:start] + data[start + count :])
    return path


def retimed(clip: Path, path: Path, video: Fraction = Fraction(0), audio: Fraction = Fraction(0)) -> Path:
    """A copy of a clip, its packets as they are, with its tracks moved in time by these seconds."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.pts is None or packet.dts is None:
                continue
            shift = round((video if packet.stream.type == "video" else audio) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream]
            target.mux(packet)
    return path
