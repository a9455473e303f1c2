"""The encoder: a stream of pictures, with the driving clip's sound, as an H.264 video file."""

import contextlib
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import reduce
from operator import or_
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hidenerf.runtime.video.sound import Sound

Picture = NDArray[np.uint8]

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
VIDEO_SUFFIXES = tuple(_FORMATS)

# Without B-frames the last frame of a variable-rate video has its right duration without an edit list.
_ENCODER_OPTIONS = {"preset": "veryfast", "crf": "17", "bf": "0"}
# FFmpeg's default takes every second pixel's colour and rounds down. PyAV 17, the last for Python 3.10, has only AREA.
_CHROMA_FLAGS = ("AREA", "ACCURATE_RND", "FULL_CHR_H_INP")
_CHROMA_MEAN = reduce(or_, (flag for name, flag in Interpolation.__members__.items() if name in _CHROMA_FLAGS))
_FINEST_TICK = 90_000
# What FFmpeg raises for a packet of sound that is no frame of its codec, since it is damaged.
_NO_FRAME = (av.InvalidDataError, av.ArgumentError, av.PatchWelcomeError)
# Matroska rounds times to milliseconds; times this near to the constant rate's are set to them.
_TIME_ROUNDING = Fraction(1, 1000)


def encode_video(frames: Iterable[tuple[Picture, Fraction]], path: Path, fps: Fraction, audio: Path | None) -> None:
    """Write (picture uint8 RGB [H, W, 3], time in seconds) as a video; all pictures of one size, in order.

    The suffix of `path` determines the container. Pictures are shown at their times, exactly those of the constant rate
    `fps` where they follow it. H.264 needs even sides: an odd side gets its last row or column twice. Sound is muxed in
    step with the pictures and ends with the last one. Colours are BT.709 and tagged as such.
    Errors: those of PyAV (`av.FFmpegError`, for a full disk an `OSError` too), and of reading the sound.
    """
    suffix = path.suffix.lower()
    clock = Clock(fps)
    with contextlib.ExitStack() as stack:
        # The index at the front lets a browser play the file while it loads. The edit list is in the movie's time
        # scale, by default milliseconds.
        options = {"movflags": "+faststart", "movie_timescale": str(clock.time_base.denominator)}
        output = stack.enter_context(
            av.open(str(path.absolute()), "w", format=_FORMATS[suffix], options={} if suffix == ".mkv" else options)
        )
        video: VideoStream | None = None
        sound: Sound | None = None
        end = Fraction(0)
        for picture, time in frames:
            picture = pad_to_even(picture)
            if video is None:
                video = output.add_stream("libx264", rate=clock.fps, options=_ENCODER_OPTIONS)
                _set_up(video, picture, clock.time_base)
                sound = Sound(audio, output, suffix, stack) if audio else None
            frame = to_frame(picture)
            frame.pts, frame.time_base = clock.tick(time), clock.time_base
            end = frame.pts * clock.time_base + 1 / fps
            for packet in video.encode(frame):
                packet.duration = clock.frame_ticks
                output.mux(packet)
            if sound is not None:
                _mux_sound(sound, sound.packets(end), output)
        if video is not None:
            for packet in video.encode(None):
                packet.duration = clock.frame_ticks
                output.mux(packet)
        if sound is not None:
            _mux_sound(sound, sound.rest(), output)


def _mux_sound(sound: Sound, packets: "Iterable[Packet[AudioStream]]", output: OutputContainer) -> None:
    for packet in packets:
        try:
            output.mux(packet)
        except _NO_FRAME as error:
            sound.note_damage(error)


class Clock:
    """Times in seconds → strictly rising ticks of a time base in which one frame of the nominal rate is whole."""

    def __init__(self, fps: Fraction) -> None:
        # The mean rate of a variable-rate clip can have any numerator; containers limit the tick.
        if fps.numerator > 10 * _FINEST_TICK:
            fps = fps.limit_denominator(max(1, _FINEST_TICK // math.ceil(fps)))
        self.fps = fps
        ticks = fps.numerator * math.ceil(_FINEST_TICK / fps.numerator)
        self.time_base = Fraction(1, ticks)
        self.frame_ticks = int(ticks / fps)
        self._last = -1
        self._uneven = False

    def tick(self, time: Fraction) -> int:
        """Time stamp of a picture, in units of time_base, above the last one.

        Times near the frame rate's grid are set to it until the first one that is not, which shows that they are
        uneven.
        time: since the first picture, seconds.
        """
        tick = round(time / self.time_base)
        on_rate = round(Fraction(tick, self.frame_ticks)) * self.frame_ticks
        tolerance = min(_TIME_ROUNDING / self.time_base, Fraction(self.frame_ticks, 4))
        self._uneven = self._uneven or abs(on_rate - tick) > tolerance
        if not self._uneven:
            tick = on_rate
        self._last = max(tick, self._last + 1)
        return self._last


def pad_to_even(picture: Picture) -> Picture:
    """[H, W, 3] with an odd side made even by repeating the last row or column."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def to_frame(picture: Picture) -> av.VideoFrame:
    """uint8 RGB [H, W, 3], even sides → a YUV 4:2:0 frame in BT.709, limited range."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_CHROMA_MEAN,
    )


def _set_up(video: VideoStream, picture: Picture, time_base: Fraction) -> None:
    video.height, video.width = picture.shape[:2]
    video.pix_fmt = "yuv420p"
    context = video.codec_context
    context.time_base = time_base
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
