"""Frame writers: a video file, a folder of pictures or a single picture, by the output's name.

Each writer works in a thread of its own: encoding then overlaps with rendering, and Ctrl-C, which Python raises in the
main thread, cannot interrupt a write.
"""

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path, cannot_write, output_target, require_writable_parent
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.video.encoder import VIDEO_SUFFIXES, encode_video
from hidenerf.runtime.video.pictures import PICTURE_SUFFIXES, write_picture
from hidenerf.runtime.video.sound import has_sound

Picture = NDArray[np.uint8]
Frame = tuple[Picture, Fraction]

_QUEUED = 4


class FrameWriter(Protocol):
    """A context manager that takes frames in order.

    Leaving the block completes the output. Leaving it by Ctrl-C completes it with the frames so far (nothing is left
    if there are none); by any other exception, nothing is left.
    """

    def write(self, picture: Picture, time: Fraction) -> None:
        """Add a picture, uint8 RGB [H, W, 3], shown at `time` seconds since the first. The picture is copied.

        Raises a `HideNerfError` when writing a frame before it failed, such as on a full disk.
        """
        ...

    def __enter__(self) -> "FrameWriter":
        """The writer itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the output, or leave nothing after an error."""
        ...


def open_writer(
    path: Path, fps: Fraction, audio: Path | None, still: bool, times: StageTimes | None = None
) -> FrameWriter:
    """The writer for an output's name: .mp4/.mov/.mkv a video, .png/.jpg one picture, a folder or no suffix a folder.

    fps: nominal frame rate.
    audio: file whose sound goes with a video, None for none.
    still: whether there may be only one frame.
    times: collects the time to encode each frame.
    Errors: another suffix, a single picture's name for a motion, a place that cannot be written to, a folder that is
    not empty.
    """
    output_target(path)
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        return PictureFolderWriter(path, times)
    if suffix in VIDEO_SUFFIXES:
        return VideoWriter(path, fps, audio, times)
    if suffix in PICTURE_SUFFIXES:
        if not still:
            raise _not_still(path)
        return PictureWriter(path, times)
    known = ", ".join((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))
    raise HideNerfError(f"{path}: unknown kind of output {path.suffix}; use one of {known}, or a folder.")


class _ThreadedWriter:
    """Hands frames to `_make`, which runs in a thread and makes the whole output from the iterator it is given."""

    def __init__(self, path: Path, times: StageTimes | None) -> None:
        self._times = times or StageTimes()
        self._path = path
        self._discard = False
        self._count = 0

    def _make(self, frames: Iterator[Frame]) -> None:
        """Consume `frames`; the iterator raises at its end if the output is to be discarded."""
        raise NotImplementedError

    def write(self, picture: Picture, time: Fraction) -> None:
        self._thread.put((np.array(picture), time))
        self._count += 1

    def __enter__(self) -> "_ThreadedWriter":
        self._thread = _Consumer(lambda frames: self._make(self._until_discarded(frames)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._discard = kind is not None and not (interrupted and self._count)
        try:
            self._thread.finish()
        except Exception:
            if not self._discard:
                raise

    def _until_discarded(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            start = time.perf_counter()
            yield frame
            self._times.add("encode", time.perf_counter() - start)
        if self._discard:
            raise _DiscardedError


class VideoWriter(_ThreadedWriter):
    """An H.264 video (see `encode_video`), written beside its final place and moved there when it is complete.

    Errors: a place that cannot be written to, `audio` missing or unreadable, a full disk, no frame at all.
    """

    def __init__(self, path: Path, fps: Fraction, audio: Path | None, times: StageTimes | None = None) -> None:
        super().__init__(path, times)
        _require_writable(path)
        self._fps = fps
        self._audio = audio if audio is not None and has_sound(audio) else None
        if audio is not None and path.exists() and path.samefile(audio):
            raise HideNerfError(f"{path}: this is the driving clip itself; choose another output.")

    def _make(self, frames: Iterator[Frame]) -> None:
        try:
            with atomic_path(self._path) as partial:
                encode_video(_some(frames, self._path), partial, self._fps, self._audio)
        except (av.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error.errno, error.strerror) from None


class PictureFolderWriter(_ThreadedWriter):
    """PNG files 000000.png, 000001.png, ... in a new or empty folder. Each file appears whole.

    A folder with files is refused, so that frames of two runs never mix.
    """

    def __init__(self, path: Path, times: StageTimes | None = None) -> None:
        super().__init__(path, times)
        if path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise HideNerfError(f"{path}: this folder is not empty; empty it or choose another output.")
        if path.exists() and not path.is_dir():
            raise HideNerfError(f"{path}: a file of this name is in the way; remove it or choose another output.")
        # The folder of a link that leads nowhere yet.
        self._folder = output_target(path)
        self._made = not path.exists()
        _require_writable(path / "000000.png" if path.is_dir() else path)

    def _make(self, frames: Iterator[Frame]) -> None:
        written = []
        try:
            self._folder.mkdir(exist_ok=True)
            for index, (picture, _) in enumerate(_some(frames, self._path)):
                written.append(self._path / f"{index:06}.png")
                write_picture(picture, written[-1])
        except BaseException as error:
            for path in written:
                path.unlink(missing_ok=True)
            if self._made:
                with contextlib.suppress(OSError):
                    self._folder.rmdir()
            if isinstance(error, OSError):
                raise cannot_write(self._path, error.errno, error.strerror) from None
            raise


class PictureWriter(_ThreadedWriter):
    """One picture, .png or .jpg; a second frame is an error."""

    def __init__(self, path: Path, times: StageTimes | None = None) -> None:
        super().__init__(path, times)
        _require_writable(path)

    def _make(self, frames: Iterator[Frame]) -> None:
        frames = _some(frames, self._path)
        picture, _ = next(frames)
        for _ in frames:
            raise _not_still(self._path)
        write_picture(picture, self._path)


class _DiscardedError(Exception):
    """The output is discarded."""


class _Consumer:
    """A thread that consumes the items that are put to it, at most `_QUEUED` behind."""

    _END = object()

    def __init__(self, consume: Callable[[Iterator[Frame]], None]) -> None:
        # Not one bounded queue: putting the end must never block, or Ctrl-C could prevent it.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_QUEUED)
        self._error: BaseException | None = None
        # Not Thread.join: if Ctrl-C interrupts it, a running thread counts as ended (CPython up to 3.12).
        self._done = threading.Event()
        # Not a daemon: Python's exit waits for it, so that repeated Ctrl-C leaves no partial file.
        threading.Thread(target=self._work, args=(consume,)).start()

    def _work(self, consume: Callable[[Iterator[Frame]], None]) -> None:
        items: Iterator[Any] = iter(self._take, self._END)
        try:
            consume(items)
        except BaseException as error:  # raised again where items are put
            self._error = error
        for _ in items:  # `put` must not block after the consumer has ended
            pass
        self._done.set()

    def _take(self) -> Any:
        item = self._queue.get()
        self._room.release()
        return item

    def put(self, item: Frame) -> None:
        if self._error is not None:
            raise self._error
        self._room.acquire()
        self._queue.put(item)

    def finish(self) -> None:
        """Wait until all is consumed; a first Ctrl-C meanwhile is raised afterwards, a second one at once."""
        try:
            self._queue.put(self._END)
            self._done.wait()
        except KeyboardInterrupt:
            self._queue.put(self._END)
            self._done.wait()
            raise
        if self._error is not None:
            raise self._error


def _some(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    """The same frames. Errors: there are none."""
    first = next(frames, None)
    if first is None:
        raise HideNerfError(f"{path}: not written, since there was no frame to write.")
    yield first
    yield from frames


def _require_writable(path: Path) -> None:
    """Make the parent folder of what is written and try to write there. Errors: that is impossible."""
    target = output_target(path)
    require_writable_parent(target)
    if target.is_dir():
        raise HideNerfError(f"{path}: this is a folder; choose another output.")
    try:
        with tempfile.TemporaryFile(dir=target.absolute().parent):
            pass
    except OSError as error:
        raise cannot_write(path, error.errno, error.strerror) from None


def _not_still(path: Path) -> HideNerfError:
    return HideNerfError(f"{path}: the motion has more than one frame; name a folder or a .mp4 file instead.")
