"""Metrics log: losses and speeds of a run as a CSV file that a resumed run continues, and as TensorBoard events."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path


class MetricsLog:
    """Rows of numbers in `metrics.csv` in a folder; use as a context manager.

    An existing file is continued. Rows of steps above `step` are dropped, since a resumed run makes them again.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self._path = folder / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        self._events: Any = None
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as stream:
                self._rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise HideNerfError(
                    "--tensorboard needs the package tensorboard; run pip install tensorboard."
                ) from None
            self._events = SummaryWriter(str(folder / "tensorboard"))

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()

    def add(self, row: dict[str, float]) -> None:
        """Append a row, which has a "step"; a value that no earlier row had becomes a new column."""
        self._rows.append({name: f"{value:.10g}" for name, value in row.items()})
        columns = list(dict.fromkeys(name for known in self._rows for name in known))
        with atomic_path(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
        if self._events is not None:
            for name, value in row.items():
                self._events.add_scalar(name, value, int(row["step"]))

    def add_picture(self, picture: NDArray[np.uint8], step: int) -> None:
        """Show an RGB picture [H, W, 3] in TensorBoard."""
        if self._events is not None:
            self._events.add_image("samples", picture, step, dataformats="HWC")
