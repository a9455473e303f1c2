"""A checkpoint as what it adds to another, so that the shipped demo512.safetensors has the enlarger alone.

    python -m hidenerf.assets.extending_checkpoint run/run/checkpoint.safetensors --extends demo.safetensors \
        -o demo512.safetensors
"""

from pathlib import Path

import click

from hidenerf.assets.tfjs_package import user_errors
from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop.state import fp16_weights


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--extends", type=click.Path(path_type=Path), required=True, help="Checkpoint with the other tensors.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Checkpoint to write.")
@user_errors
def main(checkpoint: Path, extends: Path, output: Path) -> None:
    """Write what CHECKPOINT has and the checkpoint --extends has not, or has otherwise; it must lie beside OUTPUT."""
    if output.resolve().parent != extends.resolve().parent:
        raise HideNerfError(f"{output}: would not lie beside {extends}, which it extends; write it there.")
    save_checkpoint(fp16_weights(load_checkpoint(checkpoint)), output, extends)
    click.echo(f"Checkpoint written to {output}.")


if __name__ == "__main__":
    main()
