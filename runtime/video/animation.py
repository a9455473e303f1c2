"""Animated pictures (WebP, PNG, AVIF) as a stream of (picture, time). FFmpeg does not read all of them; OpenCV does."""

import itertools
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError

Picture = NDArray[np.uint8]

# A frame that states no duration is shown for this long, seconds, as by browsers.
UNSTATED = Fraction(1, 10)
# Transparent pixels are shown over this grey.
GREY = 128
# So many bytes of frames are decoded at a time. OpenCV decodes an animation from its start on each time.
_BYTES_AT_ONCE = 1 << 28

_PNG, _WEBP_FLAG, _AVIF_SEQUENCE = b"\x89PNG\r\n\x1a\n", 0x02, b"avis"


def is_animation(path: Path) -> bool:
    """Whether a file is an animated WebP, PNG or AVIF picture by its first bytes; a GIF is a clip.

    Errors: those of opening the file.
    """
    with path.open("rb") as stream:
        start = stream.read(64)
        if start.startswith(_PNG):
            return _has_animation_control(stream)
    if start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X":
        return len(start) > 20 and bool(start[20] & _WEBP_FLAG)
    return start[4:8] == b"ftyp" and _AVIF_SEQUENCE in _brands(start)


class AnimationReader:
    """`with AnimationReader(path) as reader:` an animated picture as a `PictureStream`, with its frames' own times.

    Opening decodes the first frames, so a file that cannot be used fails at once. `fps` is the mean rate.
    Errors: an unreadable file, a damaged one, one beyond OpenCV's limits.
    """

    has_audio = False

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HideNerfError(f"{path}: cannot be read ({error.strerror}); give another picture.") from None
        durations = [duration if duration > 0 else UNSTATED for duration in _durations(data, path)]
        if not durations:
            raise self._damaged("it has no frames")
        self._data = np.frombuffer(data, np.uint8)
        self._times = [Fraction(0), *itertools.accumulate(durations)][:-1]
        self.length: int | None = len(durations)
        self.fps = len(durations) / sum(durations, Fraction(0))
        first = self._decode(0, 1)[0]
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        self._at_once = max(1, _BYTES_AT_ONCE // (4 * first.shape[0] * first.shape[1]))

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The pictures [H, W, 3] uint8 RGB with their times."""
        for start in range(0, len(self._times), self._at_once):
            count = min(self._at_once, len(self._times) - start)
            yield from zip(self._decode(start, count), self._times[start : start + count], strict=True)

    def _decode(self, start: int, count: int) -> list[Picture]:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            _, animation = cv2.imdecodeanimation(self._data, start=start, count=count)
        except (cv2.error, MemoryError) as error:
            raise self._damaged(str(getattr(error, "err", "") or "too large")) from None
        finally:
            cv2.utils.logging.setLogLevel(level)
        if len(animation.frames) != count:
            raise self._damaged(f"frame {start + len(animation.frames)} of {len(self._times)} cannot be decoded")
        return [_over_grey(np.asarray(frame, np.uint8)) for frame in animation.frames]

    def _damaged(self, detail: str) -> HideNerfError:
        return HideNerfError(
            f"{self._path}: the animated picture cannot be used ({detail}); save it anew or as a video."
        )

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "AnimationReader":
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""


def _over_grey(frame: Picture) -> Picture:
    """[H, W], [H, W, 3] BGR or [H, W, 4] BGRA → [H, W, 3] RGB."""
    if frame.ndim == 2:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB), np.uint8)
    rgb = np.ascontiguousarray(frame[..., 2::-1])
    if frame.shape[2] < 4 or frame[..., 3].min() == 255:
        return rgb
    opacity = frame[..., 3:] / np.float32(255)
    return np.asarray((rgb * opacity + GREY * (1 - opacity)).round(), np.uint8)


def _durations(data: bytes, path: Path) -> list[Fraction]:
    """How long each frame is shown, exact seconds; 0 where that is not stated."""
    try:
        if data.startswith(_PNG):
            return list(_of_png(data))
        if data.startswith(b"RIFF"):
            return list(_of_webp(data))
        return _of_avif(path)
    except (struct.error, IndexError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> HideNerfError:
    return HideNerfError(f"{path}: the animated picture is damaged ({error}); save it anew.")


def _of_png(data: bytes) -> Iterator[Fraction]:
    """Of each frame control chunk (`fcTL`), https://www.w3.org/TR/png-3/#fcTL-chunk."""
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"fcTL":
            numerator, denominator = struct.unpack_from(">HH", data, position + 8 + 20)
            yield Fraction(numerator, denominator or 100)
        position += 12 + length


def _of_webp(data: bytes) -> Iterator[Fraction]:
    """Of each frame chunk (`ANMF`), RFC 9649; chunks are padded to an even length."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"ANMF":
            yield Fraction(int.from_bytes(data[position + 20 : position + 23], "little"), 1000)
        position += 8 + length + length % 2


def _of_avif(path: Path) -> list[Fraction]:
    """Of each sample of the longest track; the other ones are a still and the opacity."""
    # Here, so that machines which only train, and read pictures alone, need no PyAV.
    import av

    from hidenerf.runtime.video.container import open_container

    try:
        with open_container(path, format_whitelist="mov,mp4") as container:
            stream = max(container.streams.video, key=lambda one: one.frames)
            packets = [packet for packet in container.demux(stream) if packet.size]
            ends = sorted((packet.pts or 0, packet.duration or 0) for packet in packets)
            return [duration * Fraction(stream.time_base or 0) for _, duration in ends]
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(path, error) from None


def _has_animation_control(stream: BinaryIO) -> bool:
    """Whether a PNG has an animation control chunk (`acTL`) of several frames, which must come before the pixels."""
    stream.seek(len(_PNG))
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"acTL":
            return int.from_bytes(stream.read(4), "big") > 1
        if kind in (b"IDAT", b"IEND"):
            return False
        stream.seek(length + 4, 1)
    return False


def _brands(start: bytes) -> list[bytes]:
    """The brands in the first box of an ISO media file, as far as they are given."""
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[8:12], *(start[position : position + 4] for position in range(16, end, 4))]
