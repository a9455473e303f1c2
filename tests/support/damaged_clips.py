"""Where clips may end early: boundaries of boxes, elements, chunks and packets."""

import itertools
import struct
from collections.abc import Iterator

# MP4 boxes and EBML elements that hold others.
_MP4_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex"}
_EBML_HOLDERS = {
    0x18538067,
    0x1654AE6B,
    0xAE,
    0xE0,
    0xE1,
    0x1F43B675,
    0x1549A966,
    0x1C53BB6B,
    0x114D9B74,
    0xA0,
    0x1254C367,
}
_RIFF_HOLDERS = {b"RIFF", b"LIST"}
_TS_PACKET = 188


def ends_at_boundaries(content: bytes, suffix: str) -> list[int]:
    """Lengths of a clip's beginnings that end at a boundary, or a byte beside one. suffix: of `BOUNDARIES`."""
    places = BOUNDARIES[suffix](content, 0, len(content))
    ends = itertools.chain.from_iterable((place - 1, place, place + 1) for place in places)
    return sorted({end for end in ends if 0 <= end < len(content)})


def _mp4(content: bytes, start: int, end: int) -> Iterator[int]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", content, start + 8), 16
        size = size or end - start
        yield from (start, start + head)
        if kind in _MP4_HOLDERS:
            yield from _mp4(content, start + head, min(start + size, end))
        start += max(size, 8)
        yield start


def _ebml(content: bytes, start: int, end: int) -> Iterator[int]:
    while start < end:
        yield start
        name, at = _number(content, start, keep_mark=True)
        size, at = _number(content, at, keep_mark=False)
        if at > end:
            return
        yield at
        unknown = size >= (1 << 35) - 1
        stop = end if unknown else min(at + size, end)
        if name in _EBML_HOLDERS:
            yield from _ebml(content, at, stop)
        start = stop
        yield start


def _number(content: bytes, at: int, *, keep_mark: bool) -> tuple[int, int]:
    """An EBML number and where it ends."""
    if at >= len(content) or not content[at]:
        return 0, len(content) + 1
    length = 9 - content[at].bit_length()
    value = int.from_bytes(content[at : at + length], "big")
    return value if keep_mark else value & ((1 << 7 * length) - 1), at + length


def _riff(content: bytes, start: int, end: int) -> Iterator[int]:
    while start + 8 <= end:
        kind, size = struct.unpack_from("<4sI", content, start)
        yield from (start, start + 8)
        if kind in _RIFF_HOLDERS:
            yield from _riff(content, start + 12, min(start + 8 + size, end))
        start += 8 + size + size % 2
        yield start


def _ts(_content: bytes, start: int, end: int) -> Iterator[int]:
    yield from range(start, end + 1, _TS_PACKET)


BOUNDARIES = {".mp4": _mp4, ".mov": _mp4, ".mkv": _ebml, ".webm": _ebml, ".avi": _riff, ".ts": _ts}
