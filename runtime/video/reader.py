"""Video input: a file through PyAV or a live camera through OpenCV, both as a stream of (picture, time)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import av
import cv2
import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.container import moving_pictures, open_container
from hidenerf.runtime.video.frame_rate import rate_of_times
from hidenerf.runtime.video.truncation import missing_bytes

Picture = NDArray[np.uint8]

# Formats of clips. FFmpeg would open more: text as ASCII art, still pictures, playlists of addresses.
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,h264,hevc,mjpeg"
_FALLBACK_FPS = Fraction(25)
# A declared rate above is a clock's, where there are no times to compare it with.
_LARGEST_FPS = 240
# Pictures from whose times the rate is taken.
_TIMED_PICTURES = 256
# Seconds by which a Matroska file may end before its declared length: muxers round it and include a last subtitle.
_END_TOLERANCE = Fraction(1, 2)
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

    Opening decodes the first picture, so a file that cannot be used fails at once. Damage that the decoder conceals
    without losing a picture passes.
    Errors: no such file, a folder, not a video, no pictures in it, cut short (see `truncation`); while iterating,
    damage that makes the decoder fail or lose pictures.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        start: Fraction | None = None
        shown = Fraction(0)
        orientation = Orientation()
        packets = 0
        end = Fraction(0)
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream is not self._stream:
                    continue
                packets += packet.size > 0
                damaged = packet.is_corrupt
                for frame in self._stream.decode(packet):
                    damaged = damaged or frame.is_corrupt
                    if frame.pts is None or frame.time_base is None:
                        shown = Fraction(0) if start is None else shown + 1 / self.fps
                    else:
                        shown = frame.pts * frame.time_base
                    if start is None:
                        start = shown
                        # Of the first frame only: reading side data puts a frame into a reference cycle, which
                        # keeps its pixels until Python's garbage collector runs.
                        orientation = display_orientation(frame)
                    self._position = shown - start
                    if not damaged:
                        # Square pixels: the width stretched by their aspect ratio.
                        width = round(frame.width * (self._stream.sample_aspect_ratio or 1))
                        picture = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
                        yield orientation.turn(np.asarray(picture, np.uint8)), self._position
                if damaged:
                    raise self._damaged("bytes are missing or wrong")
        except av.FFmpegError as error:
            raise self._damaged(error.strerror) from None
        self._require_complete(packets, end)

    def _require_complete(self, packets: int, end: Fraction) -> None:
        """Raise if pictures are missing: at wrong bytes, FFmpeg's AVI and Matroska readers silently skip ahead.

        packets: number delivered of the video stream.
        end: of the last packet of any stream, seconds on the file's clock.
        """
        if packets < sum(entry.size > 0 for entry in self._stream.index_entries):
            raise self._damaged("pictures that its index lists are not there")
        if "matroska" in self._container.format.name and self._container.duration is not None:
            missing = Fraction(self._container.duration, av.time_base) - end
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
        for packet in container.demux(container.streams[stream]):
            if packet.pts is not None:
                times.append(packet.pts * packet.time_base)
            if len(times) == count:
                break
    return times


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
