"""Pair drawing: the CPU's work on given pairs in several processes. Nothing here imports torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING, PairLayout, SeccChoice, draw_pair
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.people import Pair
from hidenerf.training.data.synthetic.rasterise import Rasteriser
from hidenerf.training.data.worker_processes import WorkerProcesses

Rows = NDArray[np.uint8]


class PairDrawing:
    """Processes that draw pairs into rows of a `PairLayout`. A context manager; leaving it ends them.

    image_size: S. secc_size: Q. seccs: what the SECCs show. processes: their number.
    """

    def __init__(self, image_size: int, secc_size: int, seccs: SeccChoice, processes: int) -> None:
        draw = partial(draw_row, image_size=image_size, secc_size=secc_size, seccs=seccs)
        self._workers = WorkerProcesses[Rows](draw, processes, "draws pairs")

    def __enter__(self) -> "PairDrawing":
        """Start the processes."""
        self._workers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self._workers.__exit__(kind, error, trace)

    def rows(self, batches: Iterable[Sequence[Pair]]) -> Iterator[Rows]:
        """Rows [n, bytes] uint8 of each batch of n pairs; the next batch is drawn while one is used."""
        waiting: list[list[Callable[[], Rows]]] = []
        for pairs in batches:
            waiting.append([self._workers.submit(pair) for pair in pairs])
            if len(waiting) > 1:
                yield _gathered(waiting.pop(0))
        for drawn in waiting:
            yield _gathered(drawn)


def draw_row(pair: Pair, image_size: int, secc_size: int, seccs: SeccChoice) -> Rows:
    """The row [bytes] uint8 of a pair. image_size: S. secc_size: Q."""
    mesh = load_head_mesh()
    layout, rasteriser = _tools(image_size, secc_size, seccs)
    row = np.zeros(layout.bytes, np.uint8)
    draw_pair(mesh, rasteriser, pair, seccs, layout.views(row))
    return row


@cache
def _tools(image_size: int, secc_size: int, seccs: SeccChoice) -> tuple[PairLayout, Rasteriser]:
    mesh = load_head_mesh()
    return PairLayout(mesh, image_size, secc_size, seccs), Rasteriser(mesh.triangles, SUPERSAMPLING * image_size)


def _gathered(drawn: Sequence[Callable[[], Rows]]) -> Rows:
    return np.stack([row() for row in drawn])
