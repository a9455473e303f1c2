"""Prefetching: runs an iterator in a thread of its own, a few items ahead, so that stages overlap."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_END = object()


class _Stage(Generic[T]):
    def __init__(self, items: Iterable[T], depth: int, drop_oldest: bool) -> None:
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._drop_oldest = drop_oldest
        self._stop = threading.Event()
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:  # handed to the consumer, whatever it is
            self._error = error
        finally:
            close: Callable[[], None] | None = getattr(self._items, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    close()
            self._put(_END, keep=True)
            self._done.set()

    def _put(self, item: object, keep: bool = False) -> bool:
        drop = self._drop_oldest and not keep
        while not self._stop.is_set():
            try:
                self._queue.put(item, block=not drop, timeout=0.1)
                return True
            except queue.Full:
                if drop:
                    with contextlib.suppress(queue.Empty):
                        self._queue.get_nowait()
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if item is _END:
                if self._error is not None:
                    raise self._error
                return
            yield item  # type: ignore[misc]

    def close(self) -> None:
        # An event: up to Python 3.12, Ctrl-C inside Thread.join makes a running thread count as ended.
        self._stop.set()
        self._done.wait()


@contextlib.contextmanager
def prefetch(items: Iterable[T], depth: int = 4, drop_oldest: bool = False) -> Generator[Iterator[T], None, None]:
    """`with prefetch(frames) as ahead:` iterates `frames` in a thread, at most `depth` items ahead, in order.

    An exception in `frames` is raised where the items are consumed. Leaving the block stops the thread and closes
    `frames` if it has a `close`. drop_oldest: for live input; a full queue loses its oldest item instead of waiting.
    """
    stage: _Stage[T] = _Stage(items, depth, drop_oldest)
    try:
        yield iter(stage)
    finally:
        stage.close()
