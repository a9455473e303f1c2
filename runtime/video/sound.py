"""Sound: the driving clip's track in the output, copied packet by packet, or encoded as AAC where it must be."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.container import moving_pictures, open_container, packets_of
from hidenerf.runtime.video.frame_rate import leaps
from hidenerf.runtime.video.reader import VideoReader

logger = logging.getLogger(__name__)

# Codecs that players support in each container; FFmpeg would mux more.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac", "vorbis", "dts", "truehd", "pcm_s16le", "pcm_s24le"},
}
# Least length of a codec's header in the track's description; without it sound can be decoded, but not copied.
_HEADER_BYTES = {"opus": 19, "flac": 34, "alac": 24}
# Sound that a decoder needs before the first sample it plays: 80 ms for Opus, less for others.
_PRE_ROLL = Fraction(1, 10)
_AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def has_sound(path: Path) -> bool:
    """Whether the file has a sound track that can be used (see `choose_track`); one that is left out is logged.

    Errors: no such file, not a media file.
    """
    with _opened(path) as container:
        tracks = list(container.streams.audio)
        chosen = choose_track(tracks)
    if not tracks:
        return False
    if chosen is None:
        which = "its sound track" if len(tracks) == 1 else f"none of its {len(tracks)} sound tracks"
        logger.warning(f"{path}: {which} can{'not' if len(tracks) == 1 else ''} be decoded; the output has no sound.")
    elif chosen is not _by_preference(tracks)[0]:
        logger.warning(
            f"{path}: its sound track {tracks.index(_by_preference(tracks)[0]) + 1} cannot be decoded; "
            f"track {tracks.index(chosen) + 1} ({chosen.codec_context.name}) is taken."
        )
    return chosen is not None


def choose_track(tracks: Sequence[AudioStream]) -> AudioStream | None:
    """The default sound track if it can be decoded, else the first that can, else None.

    FFmpeg lists tracks of codecs that it does not know, as a phone's spatial sound, without a decoder.
    """
    usable = (
        track for track in _by_preference(tracks) if track.codec_context is not None and track.codec_context.sample_rate
    )
    return next(usable, None)


def _by_preference(tracks: Sequence[AudioStream]) -> list[AudioStream]:
    """Default tracks first, each group in the file's order."""
    return sorted(tracks, key=lambda track: not track.disposition & Disposition.default)


class Sound:
    """The sound track of `path` that `choose_track` takes, to be muxed into `output`.

    Times are since the first picture of `path` that can be decoded, as `VideoReader` gives it. Damaged sound is left
    out with a note.

    `packets(end)` yields the packets that start before `end`, continuing after those of the last call; `rest()` yields
    what an encoder still holds.

    suffix: of the output, `.mp4`, `.mov` or `.mkv`.
    """

    def __init__(self, path: Path, output: OutputContainer, suffix: str, stack: contextlib.ExitStack) -> None:
        self._path = path
        container = stack.enter_context(_opened(path))
        track = choose_track(container.streams.audio)
        assert track is not None, "see has_sound"
        self._input = track
        self._damaged = False
        self._origin = _first_picture_time(path, container, track)
        self._arriving = with_durations(self._read(container))
        self._next = next(self._arriving, None)
        self._resampler: av.AudioResampler | None = None
        context = self._input.codec_context
        name = context.codec.canonical_name
        whole = len(context.extradata or b"") >= _HEADER_BYTES.get(name, 0)
        self._output: AudioStream
        if name in _COPIED[suffix] and whole:
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
            self.note_damage(error)
            return
        for frame in frames:
            yield from self._output.encode(frame)

    def _read(self, container: InputContainer) -> "Iterator[Packet[AudioStream]]":
        """The track's packets, moved to the output's clock."""
        last: int | None = None
        end = shift = 0
        try:
            for packet in packets_of(container, self._input):
                if packet.pts is None or packet.dts is None:
                    continue
                if last is None:
                    shift = -round(self._origin / packet.time_base)
                elif leaps((packet.dts + shift - last) * packet.time_base):
                    # The clock was set. Pictures go on at their rate, and sound where it stopped.
                    shift = end - packet.dts
                packet.dts = packet.dts + shift if last is None else max(packet.dts + shift, last + 1)
                packet.pts = max(packet.pts + shift, packet.dts)
                last, end = packet.dts, packet.dts + max(packet.duration or 0, 1)
                if packet.pts * packet.time_base >= -_PRE_ROLL:
                    yield packet
        except av.FFmpegError as error:
            self.note_damage(error)

    def note_damage(self, error: av.FFmpegError) -> None:
        """Log that a part of the sound is left out, once."""
        if not self._damaged:
            logger.warning(f"{self._path}: the sound is damaged ({error.strerror}); what cannot be used is left out.")
        self._damaged = True


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


def _first_picture_time(path: Path, container: InputContainer, track: AudioStream) -> Fraction:
    """Time of the first picture that can be decoded, seconds on the file's clock; without pictures, of the sound."""
    if moving_pictures(container):
        with VideoReader(path, note=lambda _: None) as reader:
            return reader.start
    if track.start_time is None or track.time_base is None:
        return Fraction(0)
    return track.start_time * track.time_base
