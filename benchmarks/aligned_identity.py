"""Identity-path variants: short equal training runs from one checkpoint, on the same pools of pairs.

    bash benchmarks/gpu_session.sh python3 benchmarks/aligned_identity.py --clips STILLS --skins STILLS --out "$OUT" \
        --variants "present=none,maps=maps:5,picture=maps and picture:5" --seconds 120

A variant is NAME=ALIGNMENT[:SCALES]. The folder gets NAME.packed, a checkpoint of less than 16 MiB (`--unpack` makes
NAME.safetensors of it), and a log. The seconds of a run do not include its first steps, in which kernels are compiled
and chosen. With one variant, --state saves the run in a folder and --resume continues a run saved in this way.
"""

import dataclasses
import json
import logging
import os
import sys
import time
import traceback
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from hidenerf.commands.errors import user_errors

logger = logging.getLogger(__name__)

# Steps before the clock starts: enough for the steps to be recorded as CUDA graphs.
SETTLING_STEPS = 8
REPORT_SECONDS = 15.0


@click.command(context_settings={"show_default": True})
@click.option("--unpack", type=click.Path(path_type=Path), help="Only this: a .packed file to .safetensors beside it.")
@click.option("--variants", default="present=none")
@click.option("--seconds", type=float, default=120.0)
@click.option("--steps", type=int, default=0, help="In place of seconds.")
@click.option("--initial", type=click.Path(path_type=Path), help="Checkpoint, may be packed. Default: the shipped one.")
@click.option("--clips", "clip_folder", type=click.Path(path_type=Path))
@click.option("--skins", "skin_folder", type=click.Path(path_type=Path))
@click.option("--skin-share", type=float, default=0.7)
@click.option("--real-share", type=float, default=0.3, help="Of the pairs, those of --clips.")
@click.option("--config", "config_path", type=click.Path(path_type=Path))
@click.option("--search/--no-search", default=True, help="Let cuDNN look for its fastest kernels: half a minute.")
@click.option("--workers", type=int, default=12)
@click.option("--capacity", type=int, default=16384)
@click.option("--warm-up", type=int, default=4096)
@click.option("--seed", type=int, default=0)
@click.option("--state", type=click.Path(path_type=Path), help="Folder for the state at the end, of one variant.")
@click.option("--resume", type=click.Path(path_type=Path), help="Folder with such a state.")
@click.option("--save-every", type=float, default=float("inf"), help="Seconds from one checkpoint to the next.")
@click.option("--stop-after", type=float, default=float("inf"), help="Seconds of training in this session.")
@click.option("--out", type=click.Path(path_type=Path))
@user_errors()
def main(unpack: Path | None, **options: Any) -> None:
    """Train variants of the identity path, one after the other."""
    if unpack is not None:
        unpack.with_suffix(".safetensors").write_bytes(unpacked(unpack.read_bytes()))
        return
    train_all(**options)


def packed(data: bytes) -> bytes:
    """Compress a checkpoint of 16-bit values: low and high bytes are separated first. `unpacked` is the inverse."""
    planes = np.frombuffer(data + b" " * (len(data) % 2), np.uint8).reshape(-1, 2).T
    return len(data).to_bytes(8, "little") + zlib.compress(np.ascontiguousarray(planes).tobytes(), 6)


def unpacked(data: bytes) -> bytes:
    """The inverse of `packed`."""
    size = int.from_bytes(data[:8], "little")
    return np.frombuffer(zlib.decompress(data[8:]), np.uint8).reshape(2, -1).T.tobytes()[:size]


class _Elapsed(logging.Formatter):
    """Formatter of log lines with the seconds since it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.time()

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line."""
        return f"[{record.created - self._began:6.1f}] {record.getMessage()}"


def log_to(path: Path) -> None:
    """Send this module's log records to stdout, with the seconds since now, and append them to a file, without."""
    terminal, file = logging.StreamHandler(sys.stdout), logging.FileHandler(path)
    terminal.setFormatter(_Elapsed())
    logger.setLevel(logging.INFO)
    logger.addHandler(terminal)
    logger.addHandler(file)


class WithoutSurfaces:
    """A source of batches without surface points.

    The surface of a fitted face lacks hair and clothes, so the surface loss would deform LED's output for them.
    pairs: a `PairSource`.
    """

    def __init__(self, pairs: Any) -> None:
        self._pairs = pairs

    def sample(self, batch_size: int) -> Any:
        """A batch of so many pairs, with surface points 0."""
        batch = self._pairs.sample(batch_size)
        return batch._replace(surface=0 * batch.surface, source_surface=0 * batch.source_surface)


def train_all(
    variants: str,
    seconds: float,
    steps: int,
    initial: Path | None,
    clip_folder: Path | None,
    skin_folder: Path | None,
    skin_share: float,
    real_share: float,
    config_path: Path | None,
    search: bool,
    workers: int,
    capacity: int,
    warm_up: int,
    seed: int,
    state: Path | None,
    resume: Path | None,
    save_every: float,
    stop_after: float,
    out: Path,
) -> None:
    """Train all variants, one after the other. Arguments: see the options of `main`."""
    import torch

    from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint, save_checkpoint
    from hidenerf.model.config import PRESETS
    from hidenerf.model.growth import fill_absent, grown
    from hidenerf.runtime.video.pictures import write_picture
    from hidenerf.training.data.batch import Batch
    from hidenerf.training.data.clips.augmentation import ChangedPairs
    from hidenerf.training.data.clips.pairs import ClipPairs, read_clips
    from hidenerf.training.data.mixed_pairs import MixedPairs
    from hidenerf.training.data.synthetic.portrait_reading import read_portrait_skins
    from hidenerf.training.data.synthetic.replay import PairReplay
    from hidenerf.training.loop.config import TrainingConfig, read_config
    from hidenerf.training.loop.processes import Processes
    from hidenerf.training.loop.samples import sample_grid
    from hidenerf.training.loop.state import fp16_weights, load_state, save_state
    from hidenerf.training.loop.trainer import (
        RECALIBRATION_BATCHES,
        PairSource,
        PhaseClock,
        Trainer,
        recalibrate,
        training_forward,
    )

    out.mkdir(parents=True, exist_ok=True)
    log_to(out / "log")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = search
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    length = {"steps": steps} if steps else {"seconds": seconds}
    values = {"seed": seed, **length, **(read_config(config_path) if config_path else {})}
    settings = TrainingConfig.from_dict(values)
    preset = PRESETS["demo"]
    if initial is not None and initial.suffix == ".packed":
        initial.with_suffix(".safetensors").write_bytes(unpacked(initial.read_bytes()))
        initial = initial.with_suffix(".safetensors")
    path = default_checkpoint_path() if initial is None else initial
    with ExitStack() as stack:
        skins = None
        if skin_folder is not None:
            skins = read_portrait_skins(skin_folder, preset, skin_share, workers)
            logger.info(f"{len(skins.portraits)} skins")
        replay = PairReplay(preset, device, capacity, workers, seed, skins=skins)
        pairs: PairSource = stack.enter_context(replay)
        if clip_folder is not None:
            files = read_clips(clip_folder, preset)
            real = stack.enter_context(ClipPairs(files, preset, device, min(2048, capacity), 2, seed))
            real.warm_up(min(1024, warm_up))
            changed = WithoutSurfaces(ChangedPairs(real, seed))
            first_pairs: PairSource = changed
            pairs = MixedPairs(pairs, changed, real_share, seed)
        else:
            replay.warm_up(warm_up)
            first_pairs = pairs
        logger.info(f"pools ready: {replay.pairs_per_second:.0f} synthetic pairs/s; {json.dumps(settings.to_dict())}")

        def keep(trainer: Trainer, shown: Batch, name: str) -> None:
            """Save the EMA of the weights as a checkpoint, and its sample picture."""
            batches = (pairs.sample(settings.batch_size) for _ in range(RECALIBRATION_BATCHES))
            recalibrate(trainer.ema, batches, trainer.autocast())
            with torch.no_grad(), trainer.autocast(), torch.backends.cudnn.flags(benchmark=False):
                output, _ = training_forward(trainer.ema, shown, None)
            write_picture(sample_grid(shown, output), out / f"{name}.png")
            target = out / f"{name}.safetensors"
            save_checkpoint(fp16_weights(trainer.ema).cpu(), target)
            partial = out / f"{name}.part"
            partial.write_bytes(packed(target.read_bytes()))
            partial.rename(out / f"{name}.packed")

        def run_variant(number: int, entry: str) -> None:
            name, _, what = entry.partition("=")
            alignment, _, scales = what.partition(":")
            config = dataclasses.replace(preset, alignment=alignment, aligned_scales=int(scales or 8))
            old = load_checkpoint(path)
            model, added = grown(old, config, seed)
            logger.info(f"{name}: {added if number < 2 else ''}")
            torch.manual_seed(seed)
            shown = first_pairs.sample(8)
            if alignment != "none" and old.config.alignment == "none":
                first = first_pairs.sample(settings.batch_size)
                fill_absent(model.to(device), old.to(device), first.source_image, first.source_mask)
            trainer = Trainer(config, settings, Processes(device), initial=model)
            if resume is not None:
                load_state(trainer, resume)
            clock = PhaseClock(device)
            progress = trainer.seconds
            # The painter's kernels are compiled in the same time.
            for _ in range(SETTLING_STEPS if not steps else 0):
                trainer.train_step(first_pairs, clock)
            replay.warm_up(warm_up)
            since = reported = saved = time.monotonic()
            reported_step, settled = trainer.step, trainer.step
            sums: dict[str, torch.Tensor] = {}
            clock.take()
            logger.info(f"{name}: settled")
            while trainer.progress < 1.0 and trainer.seconds - progress < stop_after:
                terms = trainer.train_step(pairs, clock)
                sums = {key: value + sums.get(key, 0) for key, value in terms.items()}
                now = time.monotonic()
                trainer.seconds = progress + now - since
                if now - saved > save_every:
                    keep(trainer, shown, name)
                    # Saving does not count as time of the steps.
                    since += time.monotonic() - now
                    saved = now = time.monotonic()
                if now - reported > REPORT_SECONDS or trainer.progress >= 1.0:
                    count = trainer.step - reported_step
                    rate = count * settings.batch_size / (now - reported)
                    phases = " ".join(f"{phase} {spent:.1f}" for phase, spent in clock.take().items())
                    means = " ".join(f"{key} {float(total) / count:.4f}" for key, total in sums.items())
                    logger.info(
                        f"{name}: {trainer.seconds:.0f} s, {trainer.step} steps, {rate:.0f} pairs/s ({phases}) skipped "
                        f"{int(trainer.skipped)} | {means}"
                    )
                    reported, reported_step, sums = time.monotonic(), trainer.step, {}
            spent = time.monotonic() - since
            count = trainer.step - settled
            keep(trainer, shown, name)
            memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
            logger.info(
                f"{name}: DONE {spent:.1f} s, {count} steps, {count * settings.batch_size / spent:.0f} pairs/s, "
                f"{memory:.1f} GiB; synthetic pairs drawn {replay.pairs_per_second:.0f}/s"
            )
            if state is not None:
                save_state(trainer, state)
            del trainer, model, old
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

        for number, entry in enumerate(variants.split(",")):
            try:
                run_variant(number, entry)
            except Exception:
                logger.info(traceback.format_exc())
    logger.info(f"{os.cpu_count()} cores, all done")


if __name__ == "__main__":
    main()
