"""A session at a run: steps until it is done or the session's time is up, with reports and saved states."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.metrics_log import MetricsLog
from hidenerf.training.loop.network import training_forward
from hidenerf.training.loop.samples import sample_grid, write_png
from hidenerf.training.loop.state import save_state
from hidenerf.training.loop.trainer import RECALIBRATION_BATCHES, PairSource, PhaseClock, Trainer, recalibrate

# Steps after which several processes agree anew on how late it is: that halts their GPUs.
STEPS_BETWEEN_CLOCKS = 8
STATE_FOLDER = "run"
SAMPLES_NAME = "samples.png"


def train(
    trainer: Trainer,
    pairs: PairSource,
    shown: Batch,
    out: Path,
    stop_after: float,
    report_every: float,
    save_every: float,
    tensorboard: bool,
    say: Callable[[str], None],
) -> None:
    """Train until the run's progress is 1, or for `stop_after` seconds, whichever comes first.

    Every `report_every` seconds a line is said and a row appended to the log; every `save_every` seconds, at the end
    and when interrupted, the state is saved in `out`/run and a picture of the pairs `shown` in `out`/samples.png.
    """
    main = trainer.processes.rank == 0
    with MetricsLog(out, trainer.step, tensorboard and main) as log:
        session = _Session(trainer, pairs, shown, out, log, say if main else _silent)
        begun, before = time.monotonic(), trainer.seconds
        reported = saved = begun
        try:
            while trainer.progress < 1.0 and trainer.seconds - before < stop_after:
                session.step()
                if trainer.processes.count == 1 or trainer.step % STEPS_BETWEEN_CLOCKS == 0:
                    trainer.seconds = before + trainer.processes.broadcast(time.monotonic() - begun)
                now = begun + trainer.seconds - before
                if now - reported >= report_every:
                    reported = now
                    session.report()
                if now - saved >= save_every:
                    saved = now
                    session.save()
        finally:
            # Also after Ctrl-C and an error: what has been learned is kept.
            session.report()
            session.save()


class _Session:
    """What lies between two reports."""

    def __init__(
        self, trainer: Trainer, pairs: PairSource, shown: Batch, out: Path, log: MetricsLog, say: Callable[[str], None]
    ) -> None:
        self.trainer, self.pairs, self.shown, self.out, self.log, self.say = trainer, pairs, shown, out, log, say
        self.clock = PhaseClock(trainer.processes.device)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.first_step, self.since = trainer.step, time.monotonic()

    def step(self) -> None:
        for name, value in self.trainer.train_step(self.pairs, self.clock).items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def report(self) -> None:
        """Say and note the means since the last report."""
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
            self.say(_line(row, trainer.progress))
            if trainer.processes.rank == 0:
                self.log.add(row)
        self.sums, self.counts = {}, {}
        self.first_step, self.since = trainer.step, now

    def save(self) -> None:
        """Make the EMA fit to be used, show what it draws, and save the run."""
        trainer = self.trainer
        if trainer.processes.rank != 0:
            return
        began = time.monotonic()
        batches = (self.pairs.sample(trainer.config.batch_size) for _ in range(RECALIBRATION_BATCHES))
        recalibrate(trainer.ema, batches, trainer.autocast())
        # Without cuDNN's search for the fastest kernels, which takes longer than one use of them.
        with torch.no_grad(), trainer.autocast(), torch.backends.cudnn.flags(benchmark=False):
            output, _ = training_forward(trainer.ema, self.shown, None)
        picture = sample_grid(self.shown, output)
        write_png(picture, self.out / SAMPLES_NAME)
        self.log.add_picture(picture, trainer.step)
        save_state(trainer, self.out / STATE_FOLDER)
        spent = time.monotonic() - began
        self.say(f"saved step {trainer.step} in {self.out / STATE_FOLDER} ({spent:.1f} s)")
        # The time this took is no step's.
        self.since += spent


def _line(row: dict[str, float], progress: float) -> str:
    phases = " ".join(f"{name[:-3]} {value:.1f}" for name, value in row.items() if name.endswith("_ms"))
    losses = list(row)[list(row).index("skipped") + 1 :]
    terms = " ".join(f"{name} {row[name]:.4f}" for name in losses if not name.endswith("_ms"))
    return (
        f"{100 * progress:5.1f}% step {row['step']:.0f} {row['seconds']:.0f} s {row['pairs_per_second']:.1f} pairs/s "
        f"(ms: {phases}) skipped {row['skipped']:.0f} | {terms}"
    )


def _silent(_: str) -> None:
    """Ranks other than 0 say nothing."""
