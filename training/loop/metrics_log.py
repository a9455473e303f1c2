"""Metrics log: losses and speeds of a run in a CSV file, which a resumed run continues, and TensorBoard events."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path


class MetricsLog:
    """Writer of `metrics.csv`; a context manager, which closes the TensorBoard events.

    folder: of the file. An existing file is continued.
    step: of the run so far; rows of later steps are dropped, since a resumed run computes them again.
    tensorboard: whether to write TensorBoard events too.
    Errors: TensorBoard is not installed.
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
        """The log itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the TensorBoard events."""
        if self._events is not None:
            self._events.close()

    def add(self, row: dict[str, float]) -> None:
        """Append a row of numbers by column, among them "step". New names become new columns."""
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
        """Add an RGB picture [H, W, 3] to the TensorBoard events."""
        if self._events is not None:
            self._events.add_image("samples", picture, step, dataformats="HWC")
