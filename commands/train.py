"""`hidenerf-train`: make a checkpoint from synthetic talking heads, clips of real people, or both."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result
from hidenerf.runtime.errors import HideNerfError

_SKIN_SHARE = 0.7


@options.command(extra="export")
@options.output("Folder for the run.")
@options.preset("Sizes of the networks: demo, demo512 or base.")
@click.option("--config", "config_path", type=options.PATH, help="JSON with entries of TrainingConfig.")
@click.option("--seconds", type=float, help="Length of the whole run in seconds of training, all sessions together.")
@click.option("--steps", type=int, help="Length of the whole run in steps instead.")
@click.option(
    "--stop-after",
    type=float,
    default=float("inf"),
    show_default="never",
    help="Seconds after which this session ends.",
)
@click.option("--resume", type=options.PATH, help="Go on with the run saved in this folder (OUTPUT/run).")
@click.option("--initial", type=options.PATH, help="Begin with this checkpoint's weights, not with random ones.")
@click.option(
    "--alignment",
    type=click.Choice(["none", "maps", "maps and picture"]),
    help="What of the source is sampled where its camera saw what a pixel shows.  [default: of --initial or --resume]",
)
@click.option(
    "--aligned-scales",
    type=click.IntRange(1),
    help="Scales that sample maps, from the coarsest on.  [default: the same, else all]",
)
@click.option(
    "--networks",
    help="Train these networks alone, such as refiner,id_encoder; the others stay.  [default: all]",
)
@click.option("--batch-size", type=int, help="Image pairs per step and GPU.")
@click.option("--learning-rate", type=float, help="Highest learning rate of AdamW.")
@click.option("--adversarial", type=float, help="Weight of the adversarial loss; above 0 its networks are made.")
@click.option("--seed", type=int, help="Seed of the weights, the pairs and the jitter.")
@click.option("--perceptual", type=options.PATH, help="VGG-16 or MobileNetV2 (.safetensors) for the perceptual loss.")
@click.option(
    "--identity", type=options.PATH, help="faceres (.safetensors) for the identity loss, with a weight in --config."
)
@click.option("--clips", type=options.PATH, help="Train on clips that hidenerf-clips put in this folder.")
@click.option(
    "--synthetic-share", type=click.FloatRange(0, 1), default=0.0, help="With --clips: share of synthetic pairs."
)
@click.option("--augment", is_flag=True, help="With --clips: frame real sources, and expose real pairs, anew.")
@click.option("--skins", type=options.PATH, help="Stills that hidenerf-clips prepared, for real skin on heads.")
@click.option(
    "--skin-share", type=click.FloatRange(0, 1), help="With --skins: share of heads with real skin.  [default: 0.7]"
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that make image pairs, for each GPU.  [default: its share of the cores]",
)
@click.option(
    "--capacity",
    type=click.IntRange(8),
    default=8192,
    help="Image pairs kept on the GPU, from which batches are drawn.",
)
@click.option("--warm-up", type=click.IntRange(1), default=1024, help="Image pairs to wait for before the first step.")
@click.option("--report-every", type=float, default=15.0, help="Seconds between two lines of losses and speeds.")
@click.option("--save-every", type=float, default=120.0, help="Seconds between two saved states.")
@click.option(
    "--triton/--no-triton", default=True, help="On a GPU: our Triton kernels, or PyTorch's functions instead."
)
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard beside the CSV.")
@options.device
def main(
    output: Path,
    preset: str,
    config_path: Path | None,
    stop_after: float,
    resume: Path | None,
    initial: Path | None,
    alignment: str | None,
    aligned_scales: int | None,
    perceptual: Path | None,
    identity: Path | None,
    clips: Path | None,
    synthetic_share: float,
    skins: Path | None,
    skin_share: float | None,
    augment: bool,
    workers: int | None,
    capacity: int,
    warm_up: int,
    report_every: float,
    save_every: float,
    triton: bool,
    tensorboard: bool,
    device: str | None,
    **changes: Any,
) -> None:
    """Train HiDe-NeRF on synthetic talking heads, or on prepared clips.

    In the folder OUTPUT, run/ holds the latest checkpoint.safetensors and what --resume needs, metrics.csv the metrics
    log, and samples.png rows of source, driving, SECC, rendered, refined and error.

    A run can be split into sessions: give --stop-after, then --resume with the same --output. The schedule goes on
    where it was.

    Several GPUs: torchrun --nproc-per-node N -m hidenerf.commands.train …
    """
    import torch

    from hidenerf.model.checkpoint import load_checkpoint
    from hidenerf.model.config import PRESETS
    from hidenerf.model.growth import grown
    from hidenerf.training.loop.config import TrainingConfig, read_config
    from hidenerf.training.loop.run import PairOptions, run_session
    from hidenerf.training.loop.session import STATE_FOLDER, SessionOptions
    from hidenerf.training.loop.state import CHECKPOINT_NAME, read_run

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    if resume is None and (output / STATE_FOLDER).exists():
        raise HideNerfError(
            f"{output}: holds a run already; go on with --resume {output / STATE_FOLDER} or choose another."
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to train on the CPU.")
    if initial is not None and resume is not None:
        raise HideNerfError(f"--initial {initial}: a run that is resumed has its own weights; leave one of both out.")
    if clips is None and synthetic_share > 0:
        raise HideNerfError(f"--synthetic-share {synthetic_share:g}: all pairs are synthetic without --clips; drop it.")
    values: dict[str, Any] = {}
    if resume is not None:
        values |= read_run(resume)["config"]
    if config_path is not None:
        values |= read_config(config_path)
    if clips is not None and synthetic_share == 0 and skins is not None:
        raise HideNerfError(f"--skins {skins}: no pairs are synthetic with --clips alone; give --synthetic-share, too.")
    if skins is None and skin_share is not None:
        raise HideNerfError(f"--skin-share {skin_share:g}: there is no real skin without --skins; drop it.")
    if clips is None and augment:
        raise HideNerfError("--augment: that changes real pairs, which --clips gives; drop it.")
    config = TrainingConfig.from_dict(_with_options(values, changes))
    old = start = None if initial is None else load_checkpoint(initial)
    model_config = PRESETS[preset]
    known = old if resume is None else load_checkpoint(resume / CHECKPOINT_NAME)
    if known is not None:
        model_config = dataclasses.replace(
            model_config, alignment=known.config.alignment, aligned_scales=known.config.aligned_scales
        )
    if alignment is not None:
        model_config = dataclasses.replace(model_config, alignment=alignment)
    if aligned_scales is not None:
        model_config = dataclasses.replace(model_config, aligned_scales=aligned_scales)
    if old is not None and old.config != model_config:
        try:
            start, said = grown(old, model_config, config.seed)
        except HideNerfError as error:
            raise HideNerfError(f"--initial {initial}: {error}") from None
        logger.info(f"{initial}: {said}")
    run_session(
        output,
        model_config,
        config,
        PairOptions(
            clips,
            synthetic_share,
            workers,
            capacity,
            warm_up,
            skins=skins,
            skin_share=_SKIN_SHARE if skin_share is None else skin_share,
            augment=augment,
        ),
        SessionOptions(stop_after, report_every, save_every, tensorboard),
        resume=resume,
        start=start,
        grown_from=None if start is old else old,
        perceptual=perceptual,
        identity=identity,
        device=device,
        triton=triton,
    )
    print_result(f"Checkpoint written to {output / STATE_FOLDER / 'checkpoint.safetensors'}.")


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
