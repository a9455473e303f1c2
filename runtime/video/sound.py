"""Sound: the driving clip's track in the output, copied packet by packet, or encoded as AAC where it must be."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.container import moving_pictures, open_container

# Codecs that players support in each container; FFmpeg would mux more.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac", "vorbis", "dts", "truehd", "pcm_s16le", "pcm_s24le"},
}
# Sound that a decoder needs before the first sample it plays: 80 ms for Opus, less for others.
_PRE_ROLL = Fraction(1, 10)
_AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def has_sound(path: Path) -> bool:
    """Whether the file has a sound track. Errors: no such file, not a media file."""
    with _opened(path) as container:
        return bool(container.streams.audio)


class Sound:
    """The first sound track of `path`, to be muxed into `output`; times are since the first picture of `path`.

    `packets(end)` yields the packets that start before `end`, continuing after those of the last call; `rest()` yields
    what an encoder still holds.

    suffix: of the output, `.mp4`, `.mov` or `.mkv`.
    """

    def __init__(self, path: Path, output: OutputContainer, suffix: str, stack: contextlib.ExitStack) -> None:
        self._path = path
        container = stack.enter_context(_opened(path))
        self._input = container.streams.audio[0]
        self._origin = _first_picture_time(container)
        self._arriving = with_durations(self._read(container))
        self._next = next(self._arriving, None)
        self._resampler: av.AudioResampler | None = None
        context = self._input.codec_context
        self._output: AudioStream
        if context.codec.canonical_name in _COPIED[suffix]:
            self._output = output.add_stream_from_template(self._input)
        else:
            rate = context.rate if context.rate in _AAC_RATES else _AAC_RATES[0]
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            self._output = output.add_stream("aac", rate=rate, layout=layout)
            # async: gaps in the input become silence, which keeps the sound in step.
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate, options={"async": "1"})

    def packets(self, end: Fraction) -> "Iterator[Packet[AudioStream]]":
        """Packets that start before `end`, seconds since the first picture, after those of the last call."""
        while self._next is not None and (self._next.pts or 0) * self._next.time_base < end:
            packet = self._next
            if self._resampler is None:
                packet.stream = self._output
                yield packet
            else:
                yield from self._encode(packet)
            self._next = next(self._arriving, None)

    def rest(self) -> "Iterator[Packet[AudioStream]]":
        """Packets that the encoder still holds."""
        if self._resampler is not None:
            for frame in self._resampler.resample(None):
                yield from self._output.encode(frame)
            yield from self._output.encode(None)

    def _encode(self, packet: "Packet[AudioStream]") -> "Iterator[Packet[AudioStream]]":
        assert self._resampler is not None
        try:
            frames = [resampled for frame in packet.decode() for resampled in self._resampler.resample(frame)]
        except av.FFmpegError as error:
            raise self._damaged(error) from None
        for frame in frames:
            yield from self._output.encode(frame)

    def _read(self, container: InputContainer) -> "Iterator[Packet[AudioStream]]":
        """The track's packets, moved to the output's clock."""
        try:
            for packet in container.demux(self._input):
                if packet.pts is None or packet.dts is None:
                    continue
                offset = round(self._origin / packet.time_base)
                packet.pts -= offset
                packet.dts -= offset
                if packet.pts * packet.time_base >= -_PRE_ROLL:
                    yield packet
        except av.FFmpegError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: av.FFmpegError) -> HideNerfError:
        return HideNerfError(f"{self._path}: the sound track is damaged ({error.strerror}); repair it or remove it.")


def with_durations(packets: "Iterator[Packet[AudioStream]]") -> "Iterator[Packet[AudioStream]]":
    """Packets without a duration, as in Matroska, get it from the next packet; MP4 would else lose the last one."""
    packet = next(packets, None)
    duration = 0
    while packet is not None:
        following = next(packets, None)
        if not packet.duration:
            if following is not None:
                duration = (following.pts or 0) - (packet.pts or 0)
            packet.duration = duration
        duration = packet.duration
        yield packet
        packet = following


def _opened(path: Path) -> InputContainer:
    try:
        return open_container(path, protocol_whitelist="file")
    except FileNotFoundError:
        raise HideNerfError(f"{path}: no such file; give the path of a file with sound.") from None
    except (av.FFmpegError, OSError) as error:
        raise HideNerfError(f"{path}: the sound cannot be read from this file ({error.strerror}).") from None


def _first_picture_time(container: InputContainer) -> Fraction:
    """Time of the first picture, seconds on the file's clock; without pictures, of the first sound."""
    moving = moving_pictures(container)
    stream = moving[0] if moving else container.streams.audio[0]
    if stream.start_time is None or stream.time_base is None:
        return Fraction(0)
    return stream.start_time * stream.time_base
