"""Signals that end a command as Ctrl-C does: SIGTERM of Docker and Slurm, SIGHUP of a closed terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")


class TerminatedError(KeyboardInterrupt):
    """A signal asks the process to end; whatever handles Ctrl-C handles this.

    number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ending_signals() -> Iterator[None]:
    """Within the block these signals raise `TerminatedError` in the main thread.

    A signal that is ignored, as SIGHUP is under nohup, or that has a handler, stays as it is.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise TerminatedError(number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        # Windows has no SIGHUP.
        known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        taken = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
