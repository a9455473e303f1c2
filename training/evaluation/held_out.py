"""Held-out evaluation: a model on a device, and synthetic people that are not in training."""

import logging
import time
from collections.abc import Iterator, Sequence

import torch

from hidenerf.model.hidenerf import HideNerf, Output
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.drawing import PairDrawing
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, PairLayout, SeccChoice
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import paint_pairs, render_pairs
from hidenerf.training.data.synthetic.people import Pair, make_held_out_pair

logger = logging.getLogger(__name__)

# Pairs in a batch; few on a CPU, since the activations take gigabytes.
BATCH = 4
GPU_BATCH = 32


class HeldOutEvaluation:
    """A model on a device, and the pairs of its evaluation.

    model: moved to the device, in evaluation mode.
    seccs: what the pairs' SECCs show.
    drawing: processes that draw pairs with these SECCs; None draws them in this process.
    """

    def __init__(
        self,
        model: HideNerf,
        device: torch.device,
        seccs: SeccChoice = DEFAULT_SECCS,
        drawing: PairDrawing | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.face_model = load_head_mesh().face_model
        self._seccs = seccs
        self._drawing = drawing

    def person(self, index: int) -> Pair:
        """Evaluation pair number `index`; its person is not in training."""
        return make_held_out_pair(self.face_model, index)

    @property
    def batch_size(self) -> int:
        """Pairs in a batch on this device."""
        return GPU_BATCH if self.device.type == "cuda" else BATCH

    def batches(self, pairs: Sequence[Pair], what: str) -> Iterator[tuple[Sequence[Pair], Batch]]:
        """Batches of pairs, each with its pairs, in order. what: name of the part in the log."""
        size = self.batch_size
        parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        progress = Progress(what, len(pairs))
        done = 0
        for part, batch in zip(parts, self._rendered(parts), strict=True):
            yield part, batch
            done += len(part)
            progress(done)

    @torch.no_grad()
    def output(self, batch: Batch) -> Output:
        """The model's output for a batch."""
        output: Output = self.model(
            *(batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving),
            *(batch.camera, batch.face_sight),
        )
        return output

    def _rendered(self, parts: Sequence[Sequence[Pair]]) -> Iterator[Batch]:
        config = self.model.config
        if self._drawing is None:
            return (render_pairs(config, self.device, part, self._seccs) for part in parts)
        layout = PairLayout(load_head_mesh(), config.image_size, config.secc_size, self._seccs)
        return (paint_pairs(layout, self.device, rows, self._seccs) for rows in self._drawing.rows(parts))


class Progress:
    """Logs the progress of a task and an estimate of the time left.

    what: name of the task. total: number of its items.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._start = time.monotonic()
        logger.info("%s: 0 of %d", what, total)

    def __call__(self, done: int) -> None:
        """Log a line. done: items done so far."""
        rest = (time.monotonic() - self._start) * (self._total - done) / done
        left = f", {time_left(rest)} left" if done < self._total else ""
        logger.info("%s: %d of %d%s", self._what, done, self._total, left)


def time_left(seconds: float) -> str:
    """A time in seconds or minutes, rounded up."""
    return f"{int(seconds) + 1} s" if seconds < 90 else f"{int(seconds / 60) + 1} min"
