"""Truncation: tells a video file that was cut short from a short clip, by the sizes that its container declares.

FFmpeg plays a truncated file up to the cut and reports a clean end, so only the container's declared sizes show that
pictures are missing. MP4/MOV, Matroska/WebM and AVI declare them; MPEG-TS and FLV do not.
"""

import struct
from pathlib import Path
from typing import BinaryIO

# Boxes that hold pictures or their index. Other boxes do not matter: some phones append junk that looks like one.
_MP4_BOXES = {b"moov", b"moof", b"mdat"}
_MATROSKA_SEGMENT = bytes.fromhex("18538067")


def missing_bytes(path: Path) -> int:
    """How many bytes the file lacks by its container's declared sizes; 0 if it is whole or declares none."""
    length = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(12)
        stream.seek(0)
        if start[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
            declared = _mp4_length(stream, length)
        elif start[:4] == bytes.fromhex("1A45DFA3"):
            declared = _matroska_length(stream)
        elif start[:4] == b"RIFF":
            declared = _riff_length(stream, length)
        else:
            declared = 0
    return max(0, declared - length)


def _mp4_length(stream: BinaryIO, length: int) -> int:
    """End of the last box that holds pictures or their index (ISO/IEC 14496-12 §4.2)."""
    position = declared = 0
    while position + 8 <= length:
        stream.seek(position)
        header = stream.read(16)
        size, kind = struct.unpack(">I4s", header[:8])
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        elif size == 0:
            size = length - position
        if size < 8:
            break
        position += size
        if kind in _MP4_BOXES:
            declared = position
    return declared


def _matroska_length(stream: BinaryIO) -> int:
    """End of the segment (RFC 8794 §5, RFC 9559 §5.1); 0 for a live recording, which leaves its size unknown."""
    stream.read(4)
    header = _ebml_size(stream)
    if header is None:
        return 0
    stream.seek(header, 1)
    if stream.read(4) != _MATROSKA_SEGMENT:
        return 0
    segment = _ebml_size(stream)
    return 0 if segment is None else stream.tell() + segment


def _ebml_size(stream: BinaryIO) -> int | None:
    """A variable-length integer: as many leading zero bits as bytes follow the first; all ones mean unknown."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    follow = 8 - first[0].bit_length()
    rest = stream.read(follow)
    if len(rest) < follow:
        return None
    bits = 7 * (follow + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _riff_length(stream: BinaryIO, length: int) -> int:
    """End of the last RIFF chunk: an AVI beyond 1 GiB has several, one after the other."""
    declared = 0
    while declared + 8 <= length:
        stream.seek(declared)
        kind, size = struct.unpack("<4sI", stream.read(8))
        if kind != b"RIFF":
            break
        declared += 8 + size
    return declared
