"""Pair replay: a pool of synthetic pairs for training, made in the background."""

import contextlib
import ctypes
import multiprocessing
import queue
import threading
import time
from types import TracebackType
from typing import Any

import numpy as np
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.synthetic.geometry import (
    DEFAULT_SECCS,
    PairLayout,
    PairNumbers,
    People,
    RowExchange,
    SeccChoice,
    shared_rows,
    work,
)
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.painting import Painter
from hidenerf.training.data.synthetic.pair_rendering import paint_rows
from hidenerf.training.data.synthetic.pool import ImagePairPool
from hidenerf.training.data.synthetic.portraits import PortraitSkins
from hidenerf.training.data.worker_processes import one_thread_a_process

_ROWS_PER_WORKER = 4
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10.0


class PairReplay(ImagePairPool):
    """A pool of synthetic pairs that worker processes and the device keep filling; `sample` draws from it.

    The pairs depend on the seed alone; which of them a batch draws depends on the speed too. It is a context manager;
    leaving it ends the workers.
    config: of the model.
    device: of the pool and the painter.
    capacity: largest number of training pairs in the pool.
    workers: processes, one CPU core each.
    seed: of the pairs and draws.
    seccs: what the SECCs show.
    skins: portraits, whose skin some of the heads get.
    Errors: no workers, too small a capacity.
    """

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device,
        capacity: int,
        workers: int,
        seed: int,
        seccs: SeccChoice = DEFAULT_SECCS,
        skins: PortraitSkins | None = None,
    ) -> None:
        if workers < 1:
            raise HideNerfError(f"Synthetic pairs are to be made by {workers} workers; give at least 1.")
        super().__init__(config, device, capacity, seed, seccs)
        self._mesh = load_head_mesh()
        self._skins = skins
        people = People() if skins is None else People(skins.portraits, skins.share)
        self._layout = PairLayout(self._mesh, config.image_size, config.secc_size, seccs)
        # Forking is no option once CUDA runs.
        context = multiprocessing.get_context("spawn")
        self._stopped = context.Event()
        self._free: Any = context.Queue()
        self._ready: Any = context.Queue()
        rows = _ROWS_PER_WORKER * workers + 2 * self.chunk
        memory = context.RawArray(ctypes.c_uint8, rows * self._layout.bytes)
        self._rows = shared_rows(memory, self._layout)
        for row in range(rows):
            self._free.put(row)
        exchange = RowExchange(memory, self._free, self._ready, self._stopped)
        sizes = config.image_size, config.secc_size
        self._workers = [
            context.Process(
                target=work, args=(*sizes, seccs, PairNumbers(seed, first, workers), exchange, people), daemon=True
            )
            for first in range(workers)
        ]
        self._refilling = threading.Thread(target=self._refill, name="pair replay", daemon=True)

    def __enter__(self) -> "PairReplay":
        """Start the workers and the thread that fills the pool."""
        try:
            with one_thread_a_process():
                for worker in self._workers:
                    worker.start()
            self._painter = Painter(self._mesh, self._device, self._device.type == "cuda", self._skins)
            self._refilling.start()
        except BaseException:
            self._end_workers()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop that thread and end the workers."""
        self._stopped.set()
        self._refilling.join()
        self._end_workers()

    def _refill(self) -> None:
        """Body of the background thread: paints the workers' rows; one chunk is copied while another is painted."""
        try:
            on_gpu = self._device.type == "cuda"
            staging = torch.empty(2, self.chunk, self._layout.bytes, dtype=torch.uint8, pin_memory=on_gpu)
            staged = staging.numpy()
            turn = 0
            while (rows := self._ready_rows()) is not None:
                for place, row in enumerate(rows):
                    np.copyto(staged[turn, place], self._rows[row])
                    self._free.put(row)
                self.publish()
                with self.filling():
                    given = staging[turn].to(self._device, non_blocking=True)
                    self.replace(paint_rows(self._painter, self._layout, given))
                turn = 1 - turn
                if not on_gpu:
                    self.publish()
        except BaseException as error:
            self.fail(error)

    def _ready_rows(self) -> list[int] | None:
        """A chunk of rows that workers have filled; None to stop."""
        rows: list[int] = []
        while len(rows) < self.chunk:
            if self._stopped.is_set():
                return None
            for worker in self._workers:
                if not worker.is_alive():
                    raise HideNerfError(
                        f"A process that makes training pairs ended with code {worker.exitcode}; its message is above, "
                        "or memory ran out: give fewer workers."
                    )
            with contextlib.suppress(queue.Empty):
                rows.append(self._ready.get(timeout=_POLL_SECONDS))
        return rows

    def _end_workers(self) -> None:
        self._stopped.set()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()
        for rows in (self._free, self._ready):
            rows.cancel_join_thread()
            rows.close()
