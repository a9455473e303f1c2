"""Container files: how every clip and sound file is opened for reading."""

from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream


def open_container(path: Path, **options: str) -> InputContainer:
    """Open a media file.

    options: FFmpeg's.
    Errors: those of PyAV and the system (`av.FFmpegError`, `OSError`).
    """
    # An absolute path, because FFmpeg may read a part of a relative name as a protocol.
    return av.open(str(path.absolute()), options=options)


def moving_pictures(container: InputContainer) -> list[VideoStream]:
    """The video streams but for cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
