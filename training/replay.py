"""Interface first (see the brief); the inside is being written."""

from collections.abc import Sequence
from types import TracebackType

import torch

from hidenerf.model.config import ModelConfig
from hidenerf.training.batch import Batch


class PairReplay:
    """Pairs of synthetic heads in the device's memory, drawn at random while others replace the oldest."""

    def __init__(
        self, config: ModelConfig, device: torch.device, capacity: int, workers: int, seed: int
    ) -> None: ...

    def __enter__(self) -> "PairReplay": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def warm_up(self, pairs: int) -> None:
        """Return once this many pairs are in; a worker's death is an error."""

    def sample(self, batch_size: int) -> Batch: ...

    @property
    def pairs_made(self) -> int: ...

    @property
    def pairs_per_second(self) -> float: ...


def held_out_pairs(config: ModelConfig, device: torch.device, indices: Sequence[int]) -> Batch:
    """Pairs of evaluation identities, never seen in training; the same for the same indices."""
