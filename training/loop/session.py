"""Training session: the steps that one process makes between start and stop, with log lines and saved states."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hidenerf.runtime.video.pictures import write_picture
from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.metrics_log import MetricsLog
from hidenerf.training.loop.network import training_forward
from hidenerf.training.loop.samples import sample_grid
from hidenerf.training.loop.state import save_state
from hidenerf.training.loop.trainer import RECALIBRATION_BATCHES, PairSource, PhaseClock, Trainer, recalibrate

logger = logging.getLogger(__name__)

# With several processes, the number of steps between broadcasts of the clock, for which all GPUs have to wait.
STEPS_BETWEEN_CLOCKS = 8
STATE_FOLDER = "run"
SAMPLES_NAME = "samples.png"


@dataclass(frozen=True)
class SessionOptions:
    """stop_after: the session's length. report_every, save_every: from one line of figures, one saved state, to the
    next. All seconds. tensorboard: whether to write its events, too."""

    stop_after: float = math.inf
    report_every: float = 15.0
    save_every: float = 120.0
    tensorboard: bool = False


def train(trainer: Trainer, pairs: PairSource, shown: Batch, out: Path, options: SessionOptions) -> None:
    """Train until the run's progress is 1 or the session's time is up, whichever comes first.

    pairs: where batches come from. shown: the pairs of the sample picture. out: the run's folder. At every report a
    line is logged and a row appended to `out`/metrics.csv; at every save, at the end and when interrupted, the state is
    saved in `out`/run and the sample picture in `out`/samples.png. Only rank 0 logs and writes.
    """
    main = trainer.processes.rank == 0
    with MetricsLog(out, trainer.step, options.tensorboard and main) as log:
        session = _Session(trainer, pairs, shown, out, log)
        begun, before = time.monotonic(), trainer.seconds
        reported = saved = begun
        try:
            while trainer.progress < 1.0 and trainer.seconds - before < options.stop_after:
                session.step()
                if trainer.processes.count == 1 or trainer.step % STEPS_BETWEEN_CLOCKS == 0:
                    trainer.seconds = before + trainer.processes.broadcast(time.monotonic() - begun)
                now = begun + trainer.seconds - before
                if now - reported >= options.report_every:
                    reported = now
                    session.report()
                if now - saved >= options.save_every:
                    saved = now
                    session.save()
        finally:
            # Also after Ctrl-C and an error, so that no training is lost.
            session.report()
            session.save()


class _Session:
    """Steps, and the sums of their loss terms since the last report."""

    def __init__(self, trainer: Trainer, pairs: PairSource, shown: Batch, out: Path, log: MetricsLog) -> None:
        self.trainer, self.pairs, self.shown, self.out, self.log = trainer, pairs, shown, out, log
        self.main = trainer.processes.rank == 0
        self.clock = PhaseClock(trainer.processes.device)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.first_step, self.since = trainer.step, time.monotonic()

    def step(self) -> None:
        for name, value in self.trainer.train_step(self.pairs, self.clock).items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def report(self) -> None:
        """Log the means since the last report, as a line and as a row."""
        trainer = self.trainer
        phases = self.clock.take()
        now = time.monotonic()
        steps = trainer.step - self.first_step
        if steps > 0:
            pairs = steps * trainer.config.batch_size * trainer.processes.count
            row = {
                "step": float(trainer.step),
                "seconds": trainer.seconds,
                "pairs_per_second": pairs / (now - self.since),
                "learning_rate": trainer.optimizer.param_groups[0]["lr"],
                "skipped": float(trainer.skipped),
                **{f"{phase}_ms": milliseconds for phase, milliseconds in phases.items()},
                **{name: float(total) / self.counts[name] for name, total in self.sums.items()},
            }
            if self.main:
                logger.info(_line(row, trainer.progress))
                self.log.add(row)
        self.sums, self.counts = {}, {}
        self.first_step, self.since = trainer.step, now

    def save(self) -> None:
        """Recalibrate the EMA's batch norms, write the sample picture and save the run; rank 0 only."""
        trainer = self.trainer
        if not self.main:
            return
        began = time.monotonic()
        batches = (self.pairs.sample(trainer.config.batch_size) for _ in range(RECALIBRATION_BATCHES))
        recalibrate(trainer.ema, batches, trainer.autocast())
        # cuDNN's search for the fastest kernels would take longer than this one forward pass.
        with torch.no_grad(), trainer.autocast(), torch.backends.cudnn.flags(benchmark=False):
            output, _ = training_forward(trainer.ema, self.shown, None)
        picture = sample_grid(self.shown, output)
        write_picture(picture, self.out / SAMPLES_NAME)
        self.log.add_picture(picture, trainer.step)
        save_state(trainer, self.out / STATE_FOLDER)
        spent = time.monotonic() - began
        logger.info("saved step %d in %s (%.1f s)", trainer.step, self.out / STATE_FOLDER, spent)
        # Saving does not count as time of the steps.
        self.since += spent


def _line(row: dict[str, float], progress: float) -> str:
    phases = " ".join(f"{name[:-3]} {value:.1f}" for name, value in row.items() if name.endswith("_ms"))
    losses = list(row)[list(row).index("skipped") + 1 :]
    terms = " ".join(f"{name} {row[name]:.4f}" for name in losses if not name.endswith("_ms"))
    return (
        f"{100 * progress:5.1f}% step {row['step']:.0f} {row['seconds']:.0f} s {row['pairs_per_second']:.1f} pairs/s "
        f"(ms: {phases}) skipped {row['skipped']:.0f} | {terms}"
    )
