"""`hidenerf-train`: make a checkpoint from synthetic talking heads."""

import os
from pathlib import Path
from typing import Any

import click

from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError


@click.command(context_settings={"show_default": True})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run; see below.")
@click.option("--preset", default="demo", help="Sizes of the networks: demo or base.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="JSON with entries of TrainingConfig.")
@click.option("--seconds", type=float, help="Length of the whole run in seconds of training, all sittings together.")
@click.option("--steps", type=int, help="Length of the whole run in steps instead.")
@click.option("--stop-after", type=float, default=float("inf"), help="Seconds after which this sitting ends.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run saved in this folder (OUT/run).")
@click.option("--batch-size", type=int, help="Pairs a step and a GPU.")
@click.option("--learning-rate", type=float, help="Of AdamW, at its highest.")
@click.option("--adversarial", type=float, help="Weight of the adversarial loss; above 0 its networks are made.")
@click.option("--seed", type=int, help="Of the weights, the pairs and the jitter.")
@click.option(
    "--vgg", type=click.Path(path_type=Path), help="VGG-16 of torchvision as .safetensors, for perceptual loss."
)
@click.option("--workers", type=int, help="Processes that draw heads; the cores less two, shared by all GPUs.")
@click.option("--capacity", type=int, default=8192, help="Pairs kept on the GPU, of which batches are drawn.")
@click.option("--warm-up", type=int, default=1024, help="Pairs to wait for before the first step.")
@click.option("--report-every", type=float, default=15.0, help="Seconds from one line of figures to the next.")
@click.option("--save-every", type=float, default=120.0, help="Seconds from one saved state to the next.")
@click.option("--compile", "compile_networks", is_flag=True, help="Hand the networks to torch.compile.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard beside the CSV.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Default: a GPU if there is one.")
@user_errors
def main(
    out: Path,
    preset: str,
    config_path: Path | None,
    stop_after: float,
    resume: Path | None,
    vgg: Path | None,
    workers: int | None,
    capacity: int,
    warm_up: int,
    report_every: float,
    save_every: float,
    compile_networks: bool,
    tensorboard: bool,
    device: str | None,
    **changes: Any,
) -> None:
    """Train HiDe-NeRF on synthetic talking heads.

    OUT/run holds the latest checkpoint.safetensors and what --resume needs, OUT/curve.csv the figures, OUT/samples.png
    rows of source, driving, SECC, rendered, refined and error. A run may be split into sittings: give --stop-after,
    then --resume with the same --out; the schedule goes on where it was. Several GPUs: torchrun --nproc-per-node N -m
    hidenerf.training.cli …
    """
    import torch

    from hidenerf.model.config import PRESETS
    from hidenerf.training.config import TrainingConfig, read_config
    from hidenerf.training.losses import load_vgg
    from hidenerf.training.processes import joined_processes
    from hidenerf.training.replay import PairReplay, held_out_pairs
    from hidenerf.training.run import STATE_FOLDER, train
    from hidenerf.training.state import load_state, read_run
    from hidenerf.training.trainer import Trainer

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    if resume is None and (out / STATE_FOLDER).exists():
        raise HideNerfError(f"{out}: holds a run already; go on with --resume {out / STATE_FOLDER} or choose another.")
    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to train on the CPU.")
    values: dict[str, Any] = {}
    if resume is not None:
        values |= read_run(resume)["config"]
    if config_path is not None:
        values |= read_config(config_path)
    values = _with_options(values, changes)
    config = TrainingConfig.from_dict(values)
    out.mkdir(parents=True, exist_ok=True)

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    with joined_processes(device) as processes:
        trainer = Trainer(PRESETS[preset], config, processes, None if vgg is None else load_vgg(vgg))
        if resume is not None:
            load_state(trainer, resume)
        if compile_networks:
            trainer.compile_networks()
        shared = max(1, ((os.cpu_count() or 1) - 2) // processes.count) if workers is None else workers
        # Each sitting and each rank draws pairs of its own.
        seed = config.seed + trainer.step + (processes.rank << 32)
        shown = held_out_pairs(PRESETS[preset], processes.device, range(6))
        with PairReplay(PRESETS[preset], processes.device, capacity, shared, seed) as pairs:
            pairs.warm_up(warm_up)
            train(trainer, pairs, shown, out, stop_after, report_every, save_every, tensorboard, click.echo)


def _with_options(values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The config's entries with what the command line gives in their place."""
    given = {name: value for name, value in options.items() if value is not None}
    if "seconds" in given or "steps" in given:
        values = {name: value for name, value in values.items() if name not in ("seconds", "steps")}
    if "adversarial" in given:
        given["losses"] = {**values.get("losses", {}), "adversarial": given.pop("adversarial")}
    return {**values, **given}


if __name__ == "__main__":
    main()
