"""Video input: a file through PyAV or a live camera through OpenCV, both as a stream of (picture, time)."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import av
import cv2
import numpy as np
from av.buffer import Buffer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.container import moving_pictures, open_container, packets_of
from hidenerf.runtime.video.frame_rate import leaps, rate_of_times
from hidenerf.runtime.video.pictures import centred_on_black
from hidenerf.runtime.video.truncation import missing_bytes

Picture = NDArray[np.uint8]

logger = logging.getLogger(__name__)

# Formats of clips. FFmpeg would open more: text as ASCII art, still pictures, playlists of addresses.
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,h264,hevc,mjpeg"
_FALLBACK_FPS = Fraction(25)
# A declared rate above is a clock's, where there are no times to compare it with.
_LARGEST_FPS = 240
# Pictures from whose times the rate is taken.
_TIMED_PICTURES = 256
# Seconds that may be missing at the end: a stream that was stopped ends in half a picture, and muxers of Matroska round
# its length and include a last subtitle.
_END_TOLERANCE = Fraction(1, 2)
# Seconds from a picture to one that states the same time or an earlier one.
_LEAST_STEP = Fraction(1, 1000)
# Decoders that show grey where they lack the picture before; others wait for a picture that they can decode.
_DECODED_WITHOUT_REFERENCE = {
    *("mpeg4", "h263", "h263i", "h263p", "flv1"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"),
}
# Bytes before the data of an AVI chunk, at which its index points.
_AVI_CHUNK_HEADER = 8
# Share by which shapes may differ for pictures of one view.
_SAME_SHAPE = 0.03
_CAMERA_FALLBACK_FPS = Fraction(30)


class PictureStream(Protocol):
    """A stream of pictures, iterated once.

    fps: exact nominal frame rate.
    length: number of pictures that the file declares, which may be inexact; None where unknown.
    size: (height, width), pixels.
    has_audio: whether there is a sound track.
    Iterating yields the picture [H, W, 3] uint8 RGB and its time, exact seconds since the first picture.
    """

    fps: Fraction
    length: int | None
    size: tuple[int, int]
    has_audio: bool

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures with their times."""
        ...

    def close(self) -> None:
        """Release the file or the camera."""
        ...


class VideoReader:
    """`with VideoReader(path) as reader:` a video file as a `PictureStream`, upright and with square pixels.

    start: time of the first picture, seconds on the file's clock; sound is muxed relative to it. Pictures before the
    first that can be decoded on its own do not count, as where a stream was cut between key frames.

    Opening decodes the first picture, so a file that cannot be used fails at once. Damage passes with a note, as long
    as pictures follow; later pictures of another size are brought to that of the first one.
    note: takes what is odd about the file but no error, one sentence each; by default logged as a warning.
    Errors: no such file, a folder, not a video, no pictures in it, cut short (see `truncation`); while iterating,
    damage from which on nothing can be decoded.
    """

    def __init__(self, path: Path, note: Callable[[str], None] = logger.warning) -> None:
        self._path = path
        self._note = note
        self._position = Fraction(0)
        if path.is_dir():
            raise HideNerfError(f"{path}: this is a folder; give the path of a video file.")
        if not path.is_file():
            raise HideNerfError(f"{path}: no such file; give the path of a video file.")
        try:
            missing = missing_bytes(path)
            if missing:
                raise HideNerfError(f"{path}: the video is cut short, {missing} bytes are missing; copy it again.")
            self._container = open_container(path, format_whitelist=_FORMATS)
        except PermissionError:
            raise HideNerfError(f"{path}: this file may not be read; change its permissions.") from None
        except (av.FFmpegError, OSError) as error:
            raise HideNerfError(
                f"{path}: not a readable video ({error.strerror}); it may be incomplete or of another kind."
            ) from None
        try:
            self._open_stream()
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self) -> None:
        streams = moving_pictures(self._container)
        if not streams:
            raise HideNerfError(f"{self._path}: there are no moving pictures in this file; give a video.")
        self._stream = streams[0]
        if self._stream.codec_context is None:
            raise HideNerfError(f"{self._path}: this video's codec is not supported; convert it to H.264.")
        self._stream.thread_type = "AUTO"
        self.has_audio = bool(self._container.streams.audio)
        self.fps = self._frame_rate()
        self.length = self._declared_length()
        self._pictures = self._decode()
        first = next(self._pictures, None)
        if first is None:
            raise HideNerfError(f"{self._path}: the video has no pictures; give another one.")
        self._first = first
        self.size: tuple[int, int] = (first[0].shape[0], first[0].shape[1])
        if self._left_out > 1 / self.fps:
            self._note(
                f"{self._path}: the video begins between key frames; its first {float(self._left_out):.2f} s cannot be "
                "decoded and are left out, with their sound."
            )

    def _frame_rate(self) -> Fraction:
        """The mean rate where the file counts its frames; else FFmpeg's guess where the pictures' times follow it."""
        average, guessed = self._stream.average_rate, self._stream.guessed_rate
        if self._stream.frames and average:
            return average
        declared = guessed or average
        try:
            measured = rate_of_times(packet_times(self._path, self._stream.index, _TIMED_PICTURES), declared)
        except av.FFmpegError:  # found again, and told, where it is decoded
            measured = None
        return measured or (declared if declared and declared <= _LARGEST_FPS else _FALLBACK_FPS)

    def _declared_length(self) -> int | None:
        if self._stream.frames:
            # A clip trimmed without re-encoding keeps frames that are not shown.
            return self._stream.frames - sum(entry.is_discard for entry in self._stream.index_entries)
        if self._stream.duration is not None and self._stream.time_base is not None:
            return round(self._stream.duration * self._stream.time_base * self.fps)
        if self._container.duration is not None:
            return round(Fraction(self._container.duration, av.time_base) * self.fps)
        return None

    def _decode(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures with their times; sets `start` and `_left_out` before the first."""
        track = _TrackProgress()
        clock = _PictureClock(self.fps)
        upright: _Upright | None = None
        first = Fraction(0)
        context = self._stream.codec_context
        for packet in self._packets(track):
            for frame in self._decoded(packet, track):
                time = clock.time_of(frame)
                if upright is None:
                    if not frame.key_frame and context.codec.canonical_name in _DECODED_WITHOUT_REFERENCE:
                        continue
                    upright = _Upright(frame, self._stream.sample_aspect_ratio)
                    first = time
                    self._left_out = time - track.begin if track.begin is not None else Fraction(0)
                    self.start = self._stated_start() + self._left_out if self._is_avi else time
                stated = time if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
                track.decoded_until = max(track.decoded_until or stated, stated)
                self._position = time - first
                if (frame.width, frame.height) != upright.stored:
                    self._note_size(upright, frame)
                yield upright.picture(frame, context.sample_aspect_ratio), self._position
        self._require_complete(track)

    def _packets(self, track: "_TrackProgress") -> "Iterator[Packet[VideoStream]]":
        """The packets of the video stream; those of all streams are followed."""
        indexed = self._avi_index()
        try:
            for packet in packets_of(self._container):
                if packet.stream is self._stream and packet.pos is not None and packet.dts is not None:
                    late = indexed.get(packet.pos, packet.dts) - packet.dts
                    packet.dts += late
                    packet.pts = None if packet.pts is None else packet.pts + late
                if packet.pts is not None and not packet.is_discard:
                    track.file_end = max(track.file_end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream is not self._stream:
                    continue
                if packet.size > 0:
                    track.packets += 1
                    if packet.pts is not None and not packet.is_discard:
                        time = packet.pts * packet.time_base
                        track.begin = time if track.begin is None else min(track.begin, time)
                        track.end = max(track.end, time)
                yield packet
        except av.FFmpegError as error:
            self._note_damage(track, error.strerror)

    @property
    def _is_avi(self) -> bool:
        return bool(self._container.format.name == "avi")

    def _stated_start(self) -> Fraction:
        """Where the file says that the video starts: AVI states no presentation times, and FFmpeg guesses late ones."""
        if self._stream.start_time is None or self._stream.time_base is None:
            return Fraction(0)
        return self._stream.start_time * self._stream.time_base

    def _avi_index(self) -> dict[int, int]:
        """Time stamps by the position of their pictures in an AVI file; empty for other files.

        FFmpeg counts the pictures of an AVI, so those after a hole would come early.
        """
        if not self._is_avi:
            return {}
        return {entry.pos + _AVI_CHUNK_HEADER: entry.timestamp for entry in self._stream.index_entries}

    def _decoded(self, packet: "Packet[VideoStream]", track: "_TrackProgress") -> list[VideoFrame]:
        """The pictures that the decoder gives for a packet, damaged ones as well."""
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError as error:
            # Before the first picture it means that the stream begins between key frames.
            if track.decoded_until is not None:
                self._note_damage(track, error.strerror)
            return []
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            self._note_damage(track, "bytes are missing or wrong")
        return frames

    def _note_damage(self, track: "_TrackProgress", detail: str | None) -> None:
        if not track.damaged:
            self._note(
                f"{self._path}: the video is damaged after {float(self._position):.2f} s ({detail}); it is used as far "
                "as it can be decoded."
            )
        track.damaged = True

    def _note_size(self, upright: "_Upright", frame: VideoFrame) -> None:
        if not upright.changed:
            (width, height) = upright.stored
            self._note(
                f"{self._path}: the pictures' size changes from {width}×{height} to {frame.width}×{frame.height} after "
                f"{float(self._position):.2f} s; all are brought to the first size."
            )
        upright.changed = True

    def _require_complete(self, track: "_TrackProgress") -> None:
        """Raise if pictures are missing at the end; note it if they are missing before.

        At wrong bytes, FFmpeg's AVI and Matroska readers silently skip ahead.
        """
        decoded = track.decoded_until
        if decoded is None:
            if track.packets:
                raise HideNerfError(
                    f"{self._path}: none of the video's pictures can be decoded; it may be damaged or encrypted, give "
                    "another one."
                )
            return
        entries = [entry for entry in self._stream.index_entries if entry.size > 0 and not entry.is_discard]
        end = track.end
        if track.packets < len(entries) and self._stream.time_base is not None:
            if not track.damaged:
                self._note(f"{self._path}: pictures that its index lists are not there; the others are used.")
            end = max(end, *(entry.timestamp * self._stream.time_base for entry in entries))
        if end - decoded > _END_TOLERANCE:
            raise self._damaged("nothing can be decoded from there on")
        if "matroska" in self._container.format.name and self._container.duration is not None:
            missing = Fraction(self._container.duration, av.time_base) - track.file_end
            if missing > _END_TOLERANCE:
                raise self._damaged(f"the last {float(missing):.2f} s are not there")

    def _damaged(self, detail: str | None) -> HideNerfError:
        return HideNerfError(
            f"{self._path}: the video is damaged after {float(self._position):.2f} s ({detail}); "
            "copy it again or cut it there."
        )

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures with their times; once only."""
        yield self._first
        yield from self._pictures

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> "VideoReader":
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def packet_times(path: Path, stream: int, count: int) -> list[Fraction]:
    """When the first pictures of a stream are shown, seconds on the file's clock, as stored; without decoding them.

    stream: its index in the file.
    count: of pictures; fewer where there are fewer, or they have no times.
    """
    times: list[Fraction] = []
    with open_container(path, format_whitelist=_FORMATS) as container:
        for packet in packets_of(container, container.streams[stream]):
            if packet.pts is not None:
                times.append(packet.pts * packet.time_base)
            if len(times) == count:
                break
    return times


@dataclass
class _TrackProgress:
    """What was met of a video stream; times in seconds on the file's clock.

    packets: number delivered.
    begin, end: times of the first and the last picture that were delivered, None and 0 before.
    file_end: end of the last packet of any stream.
    decoded_until: time of the last picture that was decoded, None before the first.
    damaged: whether damage was met.
    """

    packets: int = 0
    begin: Fraction | None = None
    end: Fraction = Fraction(0)
    file_end: Fraction = Fraction(0)
    decoded_until: Fraction | None = None
    damaged: bool = False


class _PictureClock:
    """Times of decoded pictures, seconds on the file's clock, made to rise from picture to picture."""

    def __init__(self, fps: Fraction) -> None:
        self._step = 1 / fps
        self._last: Fraction | None = None

    def time_of(self, frame: VideoFrame) -> Fraction:
        """The frame's time: just after the last where it states none that is later.

        It is one step after the last where it states no time, or one far from the last, as where a clock was set.
        """
        stated = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        if self._last is None:
            self._last = stated or Fraction(0)
        elif stated is None or leaps(stated - self._last):
            self._last += self._step
        else:
            self._last = max(stated, self._last + min(_LEAST_STEP, self._step))
        return self._last


class _Upright:
    """Makes upright pictures with square pixels, all of one size, of a clip's decoded frames.

    first: the first frame.
    aspect: of its pixels, width to height; None for square ones.
    """

    def __init__(self, first: VideoFrame, aspect: Fraction | None) -> None:
        # Of the first frame only: reading side data puts a frame into a reference cycle, which keeps its pixels until
        # Python's garbage collector runs.
        self._orientation = display_orientation(first)
        self.stored = (first.width, first.height)
        self.changed = False
        self._size = (round(first.width * (aspect or 1)), first.height)

    def picture(self, frame: VideoFrame, aspect: Fraction | None) -> Picture:
        """The frame's picture [H, W, 3] in the size of the first.

        A frame of another size shows the same view larger or smaller, as from a recorder that adapts to its
        connection; where its shape differs, too, it is fitted and centred on black.
        aspect: of the pixels of frames of another size.
        """
        width, height = self._size
        fitted = self._size
        if (frame.width, frame.height) != self.stored:
            fitted = fitted_size(round(frame.width * (aspect or 1)), frame.height, width, height)
        picture = np.asarray(frame.to_ndarray(format="rgb24", width=fitted[0], height=fitted[1]), np.uint8)
        if fitted != self._size:
            picture = centred_on_black(picture, (height, width))
        return self._orientation.turn(picture)


def fitted_size(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """Size (width, height) of a picture scaled to fit into another size; that size itself where the shapes agree.

    Encoders round sides to even numbers or to blocks, so shapes that differ by a few percent agree.
    """
    if abs(width * into_height / (height * into_width) - 1) <= _SAME_SHAPE:
        return into_width, into_height
    scale = min(into_width / width, into_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True)
class Orientation:
    """How stored pictures are turned for display: first rows and columns swapped, then x and y mirrored."""

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def turn(self, picture: Picture) -> Picture:
        """[H, W, 3] as stored → as displayed."""
        if self.swap:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def display_orientation(frame: VideoFrame) -> Orientation:
    """The orientation nearest to the display matrix of a frame, which all frames of a clip share."""
    # PyAV's stubs know only one kind of side data by name.
    side_data = cast(Mapping[str, Buffer], frame.side_data)
    if "DISPLAYMATRIX" not in side_data:
        return Orientation()
    # Rows of the matrix: where one step along the stored x axis, then along the stored y axis, goes on the display.
    matrix = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32).reshape(3, 3)
    (x_to_x, x_to_y, _), (y_to_x, y_to_y, _), _ = matrix.tolist()
    if abs(x_to_y) > abs(x_to_x):
        return Orientation(True, y_to_x < 0, x_to_y < 0)
    return Orientation(False, x_to_x < 0, y_to_y < 0)


class CameraReader:
    """`with CameraReader(0) as reader:` a live camera as an endless `PictureStream`, timed by the monotonic clock.

    The stream ends when the camera stops delivering (unplugged), so that the output so far is kept.
    Errors: no such camera, a camera that delivers no picture at all.
    """

    length: int | None = None
    has_audio = False

    def __init__(self, index: int) -> None:
        self._capture = open_camera(index)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = Fraction(rate).limit_denominator(1001) if rate > 0 else _CAMERA_FALLBACK_FPS
        self._pictures = live_pictures(self._capture)
        first = next(self._pictures, None)
        if first is None:
            self.close()
            raise HideNerfError(f"camera:{index}: this camera delivers no pictures; is another program using it?")
        self._first = first
        self.size: tuple[int, int] = (first[0].shape[0], first[0].shape[1])

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures with their times; once only."""
        yield self._first
        yield from self._pictures

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def __enter__(self) -> "CameraReader":
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def open_camera(index: int) -> cv2.VideoCapture:
    """Open a camera without OpenCV's warnings on stderr. Errors: no such camera."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise HideNerfError(f"camera:{index}: no such camera; plug it in or give another number, from 0 on.")
    return capture


def live_pictures(capture: cv2.VideoCapture) -> Iterator[tuple[Picture, Fraction]]:
    """Pictures [H, W, 3] uint8 RGB of an opened capture, with the seconds since the first by the monotonic clock."""
    start: int | None = None
    while True:
        delivered, picture = capture.read()
        if not delivered:
            return
        now = time.monotonic_ns()
        start = now if start is None else start
        yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8), Fraction(now - start, 10**9)
