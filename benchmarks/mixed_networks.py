"""Make a checkpoint of two: some networks of one, the others of the other. Which network's training helped?

python benchmarks/mixed_networks.py BEFORE AFTER --take refiner,id_encoder -o MIXED.safetensors

The checkpoints must be of one config. `benchmarks/real_faces.py` scores the result.
"""

from pathlib import Path

import click

from hidenerf.commands.errors import user_errors
from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop.state import fp16_weights


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--take", required=True, help="Networks of AFTER, separated by commas; the others are BEFORE's.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Checkpoint to write.")
@user_errors()
def main(before: Path, after: Path, take: str, output: Path) -> None:
    """Write a checkpoint with some networks of AFTER and the others of BEFORE."""
    mixed, other = load_checkpoint(before), load_checkpoint(after)
    if mixed.config != other.config:
        raise HideNerfError(f"{after}: this checkpoint has another config than {before}; give two of one config.")
    networks = dict(mixed.named_children())
    for name in take.split(","):
        if name not in networks:
            raise HideNerfError(f"--take: there is no network {name}; the model has {', '.join(networks)}.")
        networks[name].load_state_dict(getattr(other, name).state_dict())
    save_checkpoint(fp16_weights(mixed), output)


if __name__ == "__main__":
    main()
