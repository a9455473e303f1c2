"""The weights of an export: those of a checkpoint, or untrained ones from a seed."""

from dataclasses import dataclass
from pathlib import Path

from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
from hidenerf.model.config import PRESETS
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.runtime.errors import HideNerfError

DEFAULT_PRESET = "demo"
DEFAULT_SEED = 0


@dataclass(frozen=True)
class Weights:
    """A model, and where its weights come from: the file `checkpoint`, or else `seed`."""

    model: HideNerf
    checkpoint: Path | None
    seed: int | None


def load_weights(checkpoint: Path | None, seed: int | None, preset: str | None) -> Weights:
    """The model to export: of a checkpoint, untrained if `seed` or `preset` is given, else of the shipped checkpoint.

    checkpoint: a .safetensors file. seed: of untrained weights, from 0 to 2^63 - 1, 0 if only `preset` is given.
    preset: a name of `PRESETS`, the sizes of untrained weights, `demo` if only `seed` is given.
    Errors: a checkpoint together with a seed or a preset, a seed out of range, a file that is no checkpoint.
    """
    untrained = seed is not None or preset is not None
    if checkpoint is not None and untrained:
        raise HideNerfError("A checkpoint has its own weights and sizes; leave out --random-init and --preset.")
    if not untrained:
        path = checkpoint or default_checkpoint_path()
        return Weights(load_checkpoint(path), path, None)
    seed = DEFAULT_SEED if seed is None else seed
    if not 0 <= seed < 2**63:
        raise HideNerfError(f"--random-init {seed}: the seed must be between 0 and 2^63 - 1.")
    return Weights(random_model(PRESETS[preset or DEFAULT_PRESET], seed), None, seed)
