"""Synthetic pairs for training, made in the background, and the same pairs every time for evaluation."""

import contextlib
import ctypes
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.batch import Batch, mirrored
from hidenerf.training.geometry import SUPERSAMPLING, PairLayout, draw_pair, shared_rows, work
from hidenerf.training.heads import load_head_mesh
from hidenerf.training.painting import Painter, Views
from hidenerf.training.people import Pair, make_held_out_pair
from hidenerf.training.rasterise import Rasteriser

# Twosomes that are painted together.
_CHUNK = 32
_ROWS_PER_WORKER = 4
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10.0


def held_out_pairs(config: ModelConfig, device: torch.device, indices: Sequence[int]) -> Batch:
    """Pairs of evaluation, of people never seen in training; the same for the same indices."""
    model = load_head_mesh().face_model
    return render_pairs(config, device, [make_held_out_pair(model, index) for index in indices])


def render_pairs(config: ModelConfig, device: torch.device, pairs: Sequence[Pair]) -> Batch:
    """Given pairs as a batch, in their order; made on the spot, without workers."""
    mesh = load_head_mesh()
    layout = PairLayout(mesh, config.image_size, config.secc_size)
    rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * config.image_size)
    painted = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        rows = np.zeros((len(chunk), layout.bytes), np.uint8)
        for pair, row in zip(chunk, rows, strict=True):
            draw_pair(mesh, rasteriser, pair, layout.views(row))
        painted.append(_paint(_painter(device), layout, torch.from_numpy(rows).to(device)))
    twosomes = Twosomes(*(torch.cat(parts) for parts in zip(*painted, strict=True)))
    return twosomes.batch(torch.arange(len(pairs), device=device), torch.zeros(len(pairs), dtype=torch.long))


class Twosomes(NamedTuple):
    """Two pictures each of n people, either of which may be the source of the other.

    picture [n, 2, 3, S, S], mask and region [n, 2, 1, S, S], secc [n, 3, 3, Q, Q] (see `PairLayout`): uint8. camera
    [n, 2, 25] float32.
    """

    picture: Tensor
    mask: Tensor
    region: Tensor
    secc: Tensor
    camera: Tensor

    def batch(self, index: Tensor, source: Tensor) -> Batch:
        """Pairs of the people `index` [B] with picture `source` [B] (0 or 1) as the source."""
        target = 1 - source
        return Batch(
            source_image=_unit_range(self.picture[index, source]),
            source_camera=self.camera[index, source],
            secc_canonical=_unit_range(self.secc[index, 0]),
            secc_driving=_unit_range(self.secc[index, 1 + target]),
            camera=self.camera[index, target],
            target=_unit_range(self.picture[index, target]),
            mask=_unit_range(self.mask[index, target]),
            region=_unit_range(self.region[index, target]),
            source_mask=_unit_range(self.mask[index, source]),
        )


class PairReplay:
    """Pairs in the device's memory, drawn at random while worker processes make others that replace the oldest.

    Each two pictures of a person make two pairs, since either may be the source. capacity: pairs kept; each takes
    5 S² + 4.5 Q² + 100 bytes. workers: processes, one CPU core each. Different seeds make different pairs. Which pairs
    a seed draws depends on how fast they were made; what a pair looks like does not. A context manager; leaving it
    ends the workers.
    """

    def __init__(self, config: ModelConfig, device: torch.device, capacity: int, workers: int, seed: int) -> None:
        if capacity < 4 or workers < 1:
            raise HideNerfError(f"The replay got capacity {capacity} and {workers} workers; give at least 4 and 1.")
        self._device = device
        self._mesh = load_head_mesh()
        self._layout = PairLayout(self._mesh, config.image_size, config.secc_size)
        self._chunk = min(_CHUNK, capacity // 4)
        # In people, of whom whole chunks are kept.
        self._capacity = capacity // 2 // self._chunk * self._chunk
        self._new_room = partial(_empty_twosomes, config, self._capacity, device)
        self._random = torch.Generator().manual_seed(seed)
        self._lock = threading.Condition()
        # People [0, filled) are whole, but for `busy` of them from `next` on, which are being replaced.
        self._filled = self._next = self._busy = 0
        self._made = 0
        self._first_time = self._last_time = 0.0
        self._error: BaseException | None = None
        # Forking is no option once CUDA runs.
        context = multiprocessing.get_context("spawn")
        self._stopped = context.Event()
        self._free: Any = context.Queue()
        self._ready: Any = context.Queue()
        rows = _ROWS_PER_WORKER * workers + 2 * self._chunk
        memory = context.RawArray(ctypes.c_uint8, rows * self._layout.bytes)
        self._rows = shared_rows(memory, self._layout)
        for row in range(rows):
            self._free.put(row)
        self._workers = [
            context.Process(
                target=work,
                args=(
                    *(config.image_size, config.secc_size, seed, first, workers),
                    *(memory, self._free, self._ready, self._stopped),
                ),
                daemon=True,
            )
            for first in range(workers)
        ]
        self._refilling = threading.Thread(target=self._refill, name="pair replay", daemon=True)
        on_gpu = device.type == "cuda"
        self._painting_stream = torch.cuda.Stream(device) if on_gpu else None
        self._sampling_stream = torch.cuda.Stream(device) if on_gpu else None

    def __enter__(self) -> "PairReplay":
        try:
            with _one_thread_a_process():
                for worker in self._workers:
                    worker.start()
            self._kept = self._new_room()
            self._painter = Painter(self._mesh, self._device, compiled=self._painting_stream is not None)
            self._refilling.start()
        except BaseException:
            self._end_workers()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._refilling.join()
        self._end_workers()

    def warm_up(self, pairs: int) -> None:
        """Return once this many pairs (at most those that fit) are there."""
        with self._lock:
            self._lock.wait_for(lambda: self._error is not None or 2 * self._filled >= min(pairs, 2 * self._capacity))
            self._raise_error()

    def sample(self, batch_size: int) -> Batch:
        """Pairs drawn at random, with replacement, half of them mirrored. Waits for no worker."""
        with self._lock:
            self._raise_error()
            if self._filled - self._busy < 1:
                raise HideNerfError("The replay has no pairs yet; call warm_up first.")
            drawn = torch.randint(self._filled - self._busy, (batch_size,), generator=self._random)
            source, mirror = torch.rand(2, batch_size, generator=self._random)
            chosen = (self._next + self._busy + drawn) % self._filled if self._busy else drawn
            with torch.cuda.stream(self._sampling_stream):
                batch = self._kept.batch(chosen.to(self._device), (source < 0.5).long().to(self._device))
        with torch.cuda.stream(self._sampling_stream):
            batch = mirrored(batch, (mirror < 0.5).to(self._device))
        if self._sampling_stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._sampling_stream)
            for values in batch:
                values.record_stream(current)
        return batch

    @property
    def pairs_made(self) -> int:
        """How many pairs have been made so far."""
        return 2 * self._made

    @property
    def pairs_per_second(self) -> float:
        """How fast pairs were made from the first ones on."""
        seconds = self._last_time - self._first_time
        return 2 * (self._made - self._chunk) / seconds if seconds > 0 else 0.0

    def _refill(self) -> None:
        """The background thread: from the workers' rows to pictures, copying one chunk while another is painted."""
        try:
            on_gpu = self._painting_stream is not None
            staging = torch.empty(2, self._chunk, self._layout.bytes, dtype=torch.uint8, pin_memory=on_gpu)
            staged = staging.numpy()
            turn, painting = 0, None
            while (rows := self._ready_rows()) is not None:
                for place, row in enumerate(rows):
                    np.copyto(staged[turn, place], self._rows[row])
                    self._free.put(row)
                if painting is not None:
                    self._publish(painting)
                with torch.cuda.stream(self._painting_stream):
                    painting = self._paint_over_oldest(staging[turn].to(self._device, non_blocking=True))
                turn = 1 - turn
                if not on_gpu:
                    self._publish(painting)
                    painting = None
        except BaseException as error:
            with self._lock:
                self._error = error
                self._lock.notify_all()

    def _ready_rows(self) -> list[int] | None:
        """A chunk of rows that workers have filled; None to stop."""
        rows: list[int] = []
        while len(rows) < self._chunk:
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

    def _paint_over_oldest(self, rows: Tensor) -> int:
        """Paint a chunk of people and put them where the oldest ones are; returns where that is."""
        painted = _paint(self._painter, self._layout, rows)
        with self._lock:
            start = self._next
            self._busy = self._chunk if self._filled >= start + self._chunk else 0
        if self._painting_stream is not None and self._sampling_stream is not None:
            # Batches drawn earlier may still be reading what is replaced now.
            self._painting_stream.wait_stream(self._sampling_stream)
        for kept, values in zip(self._kept, painted, strict=True):
            kept[start : start + self._chunk] = values
        return start

    def _publish(self, start: int) -> None:
        """Once the chunk at `start` is painted, let it be drawn."""
        if self._painting_stream is not None:
            self._painting_stream.synchronize()
        now = time.monotonic()
        with self._lock:
            self._busy = 0
            self._filled = max(self._filled, start + self._chunk)
            self._next = (start + self._chunk) % self._capacity
            self._made += self._chunk
            self._first_time = self._first_time or now
            self._last_time = now
            self._lock.notify_all()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

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


@contextlib.contextmanager
def _one_thread_a_process() -> Iterator[None]:
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


@cache
def _painter(device: torch.device) -> Painter:
    return Painter(load_head_mesh(), device)


def _paint(painter: Painter, layout: PairLayout, rows: Tensor) -> Twosomes:
    """The pictures of rows [n, bytes] of pairs on the painter's device."""
    arrays = {}
    for name, (shape, dtype, start) in layout.fields.items():
        used = int(np.prod(shape)) * dtype.itemsize
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        arrays[name] = rows[:, start : start + used].contiguous().view(kind).reshape(len(rows), *shape)
    views = Views(
        vertices=arrays["vertices"].flatten(0, 1),
        hair_depth=arrays["hair_depth"].repeat_interleave(2, 0),
        look=arrays["look"].repeat_interleave(2, 0),
        camera_position=arrays["cameras"].reshape(-1, 25)[:, [3, 7, 11]],
        triangle=arrays["triangle"].flatten(0, 1),
        barycentric=arrays["barycentric"].flatten(0, 1),
    )
    color, mask, region = (
        (values * 255).round().to(torch.uint8).unflatten(0, (-1, 2)) for values in painter.paint(views)
    )
    return Twosomes(color, mask, region, arrays["secc"], arrays["cameras"])


def _empty_twosomes(config: ModelConfig, count: int, device: torch.device) -> Twosomes:
    """Room for so many people."""
    size, face = config.image_size, config.secc_size

    def room(*shape: int) -> Tensor:
        return torch.empty(count, *shape, dtype=torch.uint8, device=device)

    return Twosomes(
        picture=room(2, 3, size, size),
        mask=room(2, 1, size, size),
        region=room(2, 1, size, size),
        secc=room(3, 3, face, face),
        camera=torch.empty(count, 2, 25, device=device),
    )


def _unit_range(values: Tensor) -> Tensor:
    return values.float() / 255
