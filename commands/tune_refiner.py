"""`hidenerf-tune-refiner`: train a checkpoint's refine network alone."""

from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError

STEPS, BATCH_SIZE = 1000, 8


@options.command(extra="export")
@click.argument("checkpoint", type=options.PATH)
@options.output("The tuned checkpoint (.safetensors), a new file.")
@click.option("--config", "config_path", type=options.PATH, help="JSON with entries of TrainingConfig.")
@click.option("--steps", type=click.IntRange(1), help=f"Number of steps.  [default: the config's, else {STEPS}]")
@click.option("--people", type=click.IntRange(1), default=640, help="Synthetic people, two image pairs each.")
@click.option(
    "--original-share",
    type=click.FloatRange(0, 1),
    default=0.25,
    help="Share of CHECKPOINT's own weights in the tuned ones.",
)
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes that make image pairs.")
def main(
    checkpoint: Path,
    output: Path,
    config_path: Path | None,
    steps: int | None,
    people: int,
    original_share: float,
    workers: int,
) -> None:
    """Train the refine network and the ID encoder of CHECKPOINT alone, on the CPU.

    The output is a whole checkpoint with weights rounded to FP16. It is written every ten minutes, at the end and after
    Ctrl-C.
    """
    from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.training.loop.config import TrainingConfig, read_config
    from hidenerf.training.loop.refiner_tuning import RefinerTuning, refiner_pairs, train_refiner
    from hidenerf.training.loop.state import fp16_weights

    if output.suffix.lower() != ".safetensors" or output.is_dir():
        raise HideNerfError(f"-o {output}: a checkpoint is a .safetensors file; give the name of one.")
    if output.exists():
        raise HideNerfError(f"-o {output}: is there already; give another name.")
    values = {} if config_path is None else read_config(config_path)
    if values.get("seconds"):
        raise HideNerfError(f"{config_path}: the refine network alone is trained by steps; give these, not seconds.")
    given = {} if steps is None else {"steps": steps}
    config = TrainingConfig.from_dict({"batch_size": BATCH_SIZE, "steps": STEPS, **values, **given})
    if config.losses.identity > 0:
        raise HideNerfError(f"{config_path}: there is no identity loss here; set the weight losses.identity to 0.")
    model = load_checkpoint(checkpoint)
    require_writable_parent(output)
    pairs = refiner_pairs(model, people, config.seed, workers)
    tuning = RefinerTuning(model, pairs, config)

    def save() -> None:
        save_checkpoint(fp16_weights(tuning.tuned(original_share)), output)

    train_refiner(tuning, save)
    print_result(f"Checkpoint written to {output}.")


if __name__ == "__main__":
    main()
