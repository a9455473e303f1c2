"""Training session: one process's steps between start and stop, with log lines and saved states."""

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

# Steps from one broadcast of the clock to the next, with several processes; all GPUs wait for a broadcast.
STEPS_BETWEEN_CLOCKS = 8
STATE_FOLDER = "run"
SAMPLES_NAME = "samples.png"


@dataclass(frozen=True)
class SessionOptions:
    """Options of a session.

    stop_after: length, seconds.
    report_every: time from one log line to the next, seconds.
    save_every: time from one saved state to the next, seconds.
    tensorboard: whether to write TensorBoard events too.
    """

    stop_after: float = math.inf
    report_every: float = 15.0
    save_every: float = 120.0
    tensorboard: bool = False


def train(trainer: Trainer, pairs: PairSource, shown: Batch, out: Path, options: SessionOptions) -> None:
    """Train until the run is complete or the session's time is over.

    Every report_every seconds a line is logged and a row appended to `out`/metrics.csv. Every save_every seconds, at
    the end and after an error or Ctrl-C, the state is saved in `out`/run and the sample picture in `out`/samples.png.
    Only rank 0 logs and writes.
    pairs: source of the batches.
    shown: pairs of the sample picture.
    out: folder of the run.
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
                    session.log_means()
                if now - saved >= options.save_every:
                    saved = now
                    session.save()
        finally:
            # After an error or Ctrl-C too, so that no training is lost.
            session.log_means()
            session.save()


class _Session:
    """Steps of a session, with the sums of their loss terms since the last log line."""

    def __init__(self, trainer: Trainer, pairs: PairSource, shown: Batch, out: Path, log: MetricsLog) -> None:
        self.trainer, self.pairs, self.shown, self.out, self.log = trainer, pairs, shown, out, log
        self.main = trainer.processes.rank == 0
        self.clock = PhaseClock(trainer.processes.device)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.first_step, self.since = trainer.step, time.monotonic()

    def step(self) -> None:
        """Make one step and add its loss terms to the sums."""
        for name, value in self.trainer.train_step(self.pairs, self.clock).items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def log_means(self) -> None:
        """Log the means since the last call, as a line and as a row of the metrics log."""
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
        """Recalibrate the EMA's batch norms, write the sample picture and save the run; only on rank 0."""
        trainer = self.trainer
        if not self.main:
            return
        began = time.monotonic()
        batches = (self.pairs.sample(trainer.config.batch_size) for _ in range(RECALIBRATION_BATCHES))
        recalibrate(trainer.ema, batches, trainer.autocast(), trainer.config.networks)
        # cuDNN's search for the fastest kernels takes longer than this single forward pass.
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
    """Log line of a row of the metrics log."""
    phases = " ".join(f"{name[:-3]} {value:.1f}" for name, value in row.items() if name.endswith("_ms"))
    losses = list(row)[list(row).index("skipped") + 1 :]
    terms = " ".join(f"{name} {row[name]:.4f}" for name in losses if not name.endswith("_ms"))
    return (
        f"{100 * progress:5.1f}% step {row['step']:.0f} {row['seconds']:.0f} s {row['pairs_per_second']:.1f} pairs/s "
        f"(ms: {phases}) skipped {row['skipped']:.0f} | {terms}"
    )
