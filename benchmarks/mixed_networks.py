"""Make a checkpoint of two: some networks of one, the others of the other. Which network's training helped?

python benchmarks/mixed_networks.py BEFORE AFTER --take refiner,id_encoder [--share 0.6] -o MIXED.safetensors

With a share, the networks taken are means of both checkpoints' weights: where AFTER was trained from BEFORE, often
better than either.

The checkpoints must be of one config. `benchmarks/real_faces.py` scores the result.
"""

from pathlib import Path

import click
import torch

from hidenerf.commands.errors import user_errors
from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop.state import fp16_weights


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--take", required=True, help="Networks of AFTER, separated by commas; the others are BEFORE's.")
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, help="Share of AFTER in the networks taken (1).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Checkpoint to write.")
@user_errors()
def main(before: Path, after: Path, take: str, share: float, output: Path) -> None:
    """Write a checkpoint with some networks of AFTER and the others of BEFORE."""
    mixed, other = load_checkpoint(before), load_checkpoint(after)
    if mixed.config != other.config:
        raise HideNerfError(f"{after}: this checkpoint has another config than {before}; give two of one config.")
    networks = dict(mixed.named_children())
    for name in take.split(","):
        if name not in networks:
            raise HideNerfError(f"--take: there is no network {name}; the model has {', '.join(networks)}.")
        one, theirs = networks[name].state_dict(), getattr(other, name).state_dict()
        # Counters of batch norms are whole numbers.
        mean = {
            key: torch.lerp(one[key], new, share) if new.is_floating_point() else new for key, new in theirs.items()
        }
        networks[name].load_state_dict(mean)
    save_checkpoint(fp16_weights(mixed), output)


if __name__ == "__main__":
    main()
