"""The PyTorch model that a bundle was exported from."""

from pathlib import Path

from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.runtime.bundle import EXPORT_AGAIN, Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of


def model_of(bundle: Bundle, checkpoint: Path | None) -> HideNerf:
    """The model rebuilt from the seed in the manifest, or loaded from `checkpoint`, which must be the bundle's own.

    Errors: a checkpoint that is needed, superfluous, missing or another one.
    """
    entry = bundle.manifest["checkpoint"]
    if not isinstance(entry, dict) or entry.keys().isdisjoint(("sha256", "random_init")):
        raise HideNerfError(f"{bundle.folder}: the manifest does not say which weights these are; {EXPORT_AGAIN}.")
    if "random_init" in entry:
        if checkpoint is not None:
            raise HideNerfError(
                f"{bundle.folder} has untrained weights from seed {entry['random_init']}; leave out --checkpoint."
            )
        return random_model(ModelConfig.from_dict(bundle.manifest["model"]), entry["random_init"])
    name, wanted = entry.get("name", "a file"), entry["sha256"]
    if checkpoint is None and sha256_of(default_checkpoint_path()) == wanted:
        checkpoint = default_checkpoint_path()
    if checkpoint is None:
        raise HideNerfError(
            f"{bundle.folder} was exported from {name} (SHA-256 {wanted}); give its path with --checkpoint."
        )
    if not checkpoint.is_file():
        raise HideNerfError(f"--checkpoint {checkpoint}: no such file; check the path.")
    found = sha256_of(checkpoint)
    if found != wanted:
        raise HideNerfError(
            f"--checkpoint {checkpoint} has SHA-256 {found}, but {bundle.folder} was exported from {name} with "
            f"{wanted}; give that file, or export this one."
        )
    return load_checkpoint(checkpoint)
