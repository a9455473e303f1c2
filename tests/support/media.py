"""Tiny synthetic clips for the tests, made with PyAV alone so that they do not depend on the code under test."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import OutputContainer
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
) -> Path:
    """An H.264 clip of `numbered_picture`s.

    ticks: one timestamp a frame in units of 1/fps/100, for a variable rate. audio: codec of a sine sound track, as
    long as the video or `audio_seconds`. rotation: anticlockwise degrees for the player to turn. flip: mirror left and
    right. options: of the container.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
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
