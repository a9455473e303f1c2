"""Reference of parity: the PyTorch model that a bundle was exported from."""

from pathlib import Path

from hidenerf.model.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint_path
from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of


def model_of(bundle: Bundle, checkpoint: Path | None) -> HideNerf:
    """The model rebuilt from the seed in the manifest, or loaded from `checkpoint`, which must be the bundle's own.

    Errors: a checkpoint that is needed, superfluous, missing or another one.
    """
    weights = bundle.manifest.checkpoint
    if weights.seed is not None:
        if checkpoint is not None:
            raise HideNerfError(
                f"{bundle.folder} has untrained weights from seed {weights.seed}; leave out --checkpoint."
            )
        return random_model(ModelConfig.from_dict(dict(bundle.manifest.model.config)), weights.seed)
    name, expected = weights.name or "a file", weights.sha256
    if checkpoint is None:
        shipped = (shipped_checkpoint_path(preset) for preset in SHIPPED)
        checkpoint = next((path for path in shipped if sha256_of(path) == expected), None)
    if checkpoint is None:
        raise HideNerfError(
            f"{bundle.folder} was exported from {name} (SHA-256 {expected}); give its path with --checkpoint."
        )
    if not checkpoint.is_file():
        raise HideNerfError(f"--checkpoint {checkpoint}: no such file; check the path.")
    found = sha256_of(checkpoint)
    if found != expected:
        raise HideNerfError(
            f"--checkpoint {checkpoint} has SHA-256 {found}, but {bundle.folder} was exported from {name} with "
            f"{expected}; give that file, or export this one."
        )
    return load_checkpoint(checkpoint)
