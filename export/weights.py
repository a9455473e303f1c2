"""The weights of an export: those of a checkpoint, or untrained ones from a seed."""

from dataclasses import dataclass
from pathlib import Path

from hidenerf.model.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint_path
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
    """The model to export: of a checkpoint, or of a preset: its shipped weights, or untrained ones.

    checkpoint: a .safetensors file. seed: of untrained weights, from 0 to 2^63 - 1; None takes the shipped ones, and
    DEFAULT_SEED for a preset without. preset: a name of `PRESETS`, DEFAULT_PRESET if neither is given.
    Errors: a checkpoint together with a seed or a preset, a seed out of range, a file that is no checkpoint.
    """
    if checkpoint is not None and (seed is not None or preset is not None):
        raise HideNerfError("A checkpoint has its own weights and sizes; leave out --random-init and --preset.")
    preset = preset or DEFAULT_PRESET
    if checkpoint is None and seed is None and preset in SHIPPED:
        checkpoint = shipped_checkpoint_path(preset)
    if checkpoint is not None:
        return Weights(load_checkpoint(checkpoint), checkpoint, None)
    seed = DEFAULT_SEED if seed is None else seed
    if not 0 <= seed < 2**63:
        raise HideNerfError(f"--random-init {seed}: the seed must be between 0 and 2^63 - 1.")
    return Weights(random_model(PRESETS[preset], seed), None, seed)
