"""Image-pair pool: pairs in the device's memory; batches are drawn while new pairs replace the oldest."""

import contextlib
import threading
import time

import torch

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch, mirrored
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SeccChoice
from hidenerf.training.data.synthetic.image_pairs import ImagePairs, room_for_image_pairs

# Image pairs that are put in together, unless there is little room.
_CHUNK = 32


class ImagePairPool:
    """Pool of image pairs; one thread fills it in chunks of `chunk`, another draws from it.

    Each image pair makes two training pairs, since either picture may be the source.
    config: of the model.
    device: of the pool.
    capacity: largest number of training pairs; each takes 13 S² + 1.5 k Q² + 12 R² + 100 bytes for k SECCs of two
        pictures.
    seed: of the draws.
    seccs: what the SECCs show.
    Errors: too small a capacity.
    """

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device,
        capacity: int,
        seed: int,
        seccs: SeccChoice = DEFAULT_SECCS,
    ) -> None:
        if capacity < 4:
            raise HideNerfError(f"There is to be room for {capacity} training pairs; give a capacity of at least 4.")
        self.chunk = min(_CHUNK, capacity // 4)
        self._device = device
        self._seccs = seccs
        # In people, of whom whole chunks are kept.
        self._capacity = capacity // 2 // self.chunk * self.chunk
        self._kept = room_for_image_pairs(config, seccs, self._capacity, device)
        self._draws = torch.Generator().manual_seed(seed)
        self._lock = threading.Condition()
        # People [0, filled) are whole, but for `busy` of them from `next` on, which are being replaced.
        self._filled = self._next = self._busy = 0
        self._replacing = False
        self._made = 0
        self._first_time = self._last_time = 0.0
        self._error: BaseException | None = None
        on_gpu = device.type == "cuda"
        self._filling_stream = torch.cuda.Stream(device) if on_gpu else None
        self._sampling_stream = torch.cuda.Stream(device) if on_gpu else None

    def filling(self) -> contextlib.AbstractContextManager[object]:
        """Context of the CUDA stream on which arguments of `replace` must be computed; no effect without a GPU."""
        return torch.cuda.stream(self._filling_stream)

    def replace(self, image_pairs: ImagePairs) -> None:
        """Copy a chunk into the pool, over the oldest one if the pool is full, on the stream of `filling`.

        Neither chunk is drawn before `publish`. image_pairs: on the CPU or the device.
        """
        with self._lock:
            start = self._next
            self._busy = self.chunk if self._filled >= start + self.chunk else 0
        with self.filling():
            if self._filling_stream is not None and self._sampling_stream is not None:
                # Batches drawn earlier may still be reading what is replaced now.
                self._filling_stream.wait_stream(self._sampling_stream)
            for kept, values in zip(self._kept, image_pairs, strict=True):
                kept[start : start + self.chunk] = values.to(self._device)
        self._replacing = True

    def publish(self) -> None:
        """Wait for the copy of the last chunk, if there is one, and let it be drawn."""
        if not self._replacing:
            return
        if self._filling_stream is not None:
            self._filling_stream.synchronize()
        now = time.monotonic()
        with self._lock:
            self._replacing = False
            self._busy = 0
            self._filled = max(self._filled, self._next + self.chunk)
            self._next = (self._next + self.chunk) % self._capacity
            self._made += self.chunk
            self._first_time = self._first_time or now
            self._last_time = now
            self._lock.notify_all()

    def fail(self, error: BaseException) -> None:
        """Raise an error in all current and future calls of consumers."""
        with self._lock:
            self._error = error
            self._lock.notify_all()

    def warm_up(self, pairs: int) -> None:
        """Wait until the pool has this many pairs, or is full. Errors: those given to `fail`."""
        with self._lock:
            enough = min(pairs, 2 * self._capacity)
            self._lock.wait_for(lambda: self._error is not None or 2 * self._filled >= enough)
            self._raise_error()

    def sample(self, batch_size: int) -> Batch:
        """A batch of random pairs, with replacement, half of them mirrored; does not wait for new pairs."""
        with self._lock:
            self._raise_error()
            if self._filled - self._busy < 1:
                raise HideNerfError("There are no pairs yet; call warm_up first.")
            drawn = torch.randint(self._filled - self._busy, (batch_size,), generator=self._draws)
            source, mirror = torch.rand(2, batch_size, generator=self._draws)
            chosen = (self._next + self._busy + drawn) % self._filled if self._busy else drawn
            with torch.cuda.stream(self._sampling_stream):
                source_picture = (source < 0.5).long().to(self._device)
                batch = self._kept.batch(chosen.to(self._device), source_picture, self._seccs)
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
        """Number of training pairs put in so far."""
        return 2 * self._made

    @property
    def pairs_per_second(self) -> float:
        """Rate at which training pairs were put in, since the first chunk."""
        seconds = self._last_time - self._first_time
        return 2 * (self._made - self.chunk) / seconds if seconds > 0 else 0.0

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
