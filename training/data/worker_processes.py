"""Worker processes, which make image pairs. Nothing here imports torch, so that they start fast."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

import cv2

from hidenerf.runtime.errors import HideNerfError

_POLL_SECONDS = 1.0
# Calls submitted to a worker and not yet received. More could fill both pipes, a deadlock.
_AHEAD = 4

R = TypeVar("R")


class WorkerProcesses(Generic[R]):
    """Processes that compute a function. A context manager; leaving it ends them.

    Each has its own pipe, so that its end is noticed at any time; a `ProcessPoolExecutor` can wait for ever for the
    rest of a result.
    function: sent to each process once; it must raise HideNerfError only.
    count: number of processes.
    purpose: what they do, for errors.
    """

    def __init__(self, function: Callable[..., R], count: int, purpose: str) -> None:
        self._purpose = purpose
        self._workers = [_Worker[R](function, purpose) for _ in range(count)]
        self._turn = itertools.cycle(self._workers)

    def __enter__(self) -> "WorkerProcesses[R]":
        """Start the processes."""
        with one_thread_a_process():
            for worker in self._workers:
                worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()

    def submit(self, *arguments: Any) -> Callable[[], R]:
        """Submit a call to the next process; returns a function that waits for its result, to be called once.

        It waits while that process has _AHEAD calls. Call it, and what it returns, from one thread only.
        arguments: of the function.
        Errors: those of the function; a process has ended.
        """
        return next(self._turn).submit(*arguments)


class _Worker(Generic[R]):
    def __init__(self, function: Callable[..., R], purpose: str) -> None:
        self._purpose = purpose
        # Forking is no option once CUDA runs.
        context = multiprocessing.get_context("spawn")
        self._connection, self._others_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(self._others_end, os.getpid(), function), daemon=True)
        self._pending: deque[list[tuple[bool, Any]]] = deque()

    def start(self) -> None:
        self.process.start()
        # Only the process itself has this end now, so that the pipe ends with it.
        self._others_end.close()

    def submit(self, *arguments: Any) -> Callable[[], R]:
        while len(self._pending) >= _AHEAD:
            self._receive()
        try:
            self._connection.send(arguments)
        except OSError:
            self._ended()
        answer: list[tuple[bool, Any]] = []
        self._pending.append(answer)

        def result() -> R:
            while not answer:
                self._receive()
            done, value = answer.pop()
            if not done:
                raise HideNerfError(value)
            found: R = value
            return found

        return result

    def end(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
        self._connection.close()

    def _receive(self) -> None:
        try:
            self._pending[0].append(self._connection.recv())
        except (EOFError, OSError):
            self._ended()
        self._pending.popleft()

    def _ended(self) -> NoReturn:
        self.process.join()
        raise HideNerfError(
            f"A process that {self._purpose} ended with code {self.process.exitcode}; its message is above, or memory "
            "ran out: give fewer workers or close other programs."
        ) from None


def _serve(connection: "Connection[Any, Any]", parent: int, function: Callable[..., Any]) -> None:
    begin_worker(parent)
    with contextlib.suppress(EOFError, OSError):
        while True:
            arguments = connection.recv()
            try:
                answer = True, function(*arguments)
            except HideNerfError as error:
                answer = False, str(error)
            connection.send(answer)


@contextlib.contextmanager
def one_thread_a_process() -> Iterator[None]:
    """Processes started meanwhile do their linear algebra in one thread, rather than in one a core each."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def begin_worker(parent: int) -> None:
    """What a worker process of the process `parent` does first."""
    # Ctrl-C is for the parent, which then ends this process; this one also ends when its parent was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
