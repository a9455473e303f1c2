"""Log records of the product, as lines."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def log_lines(level: int = logging.INFO) -> Iterator[list[str]]:
    """Yield a list that gets the message of every record of hidenerf's loggers from this level on."""
    logger, handler = logging.getLogger("hidenerf"), _Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler.lines
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
