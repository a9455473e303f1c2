"""Container files: how every clip and sound file is opened for reading."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream


def open_container(path: Path, **options: str) -> InputContainer:
    """Open a media file.

    options: FFmpeg's.
    Errors: those of PyAV and the system (`av.FFmpegError`, `OSError`).
    """
    # An absolute path, because FFmpeg may read a part of a relative name as a protocol. Titles, names of handlers and
    # other text may be in any encoding.
    return av.open(str(path.absolute()), options=options, metadata_errors="replace")


def moving_pictures(container: InputContainer) -> list[VideoStream]:
    """The video streams but for cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def packets_of(container: InputContainer, *streams: Stream) -> "Iterator[Packet[Any]]":
    """The packets of these streams, or of all, to the end of the file. Errors: those of PyAV (`av.FFmpegError`)."""
    # At the end, PyAV looks up streams that began after the file was opened and that it does not list.
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)
