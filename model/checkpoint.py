"""Checkpoints: one safetensors file with the model's config in its metadata."""

import importlib.resources
import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path

CHECKPOINT_FORMAT = "hidenerf-checkpoint"
CHECKPOINT_VERSION = "1"


def default_checkpoint_path() -> Path:
    """The shipped checkpoint of preset `demo`, trained on synthetic heads and portraits (`docs/training.md`)."""
    return Path(str(importlib.resources.files("hidenerf.model.data") / "demo.safetensors"))


def save_checkpoint(model: HideNerf, path: Path) -> None:
    """Write all weights and the config; the file appears whole or not at all."""
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
        "config": json.dumps(model.config.to_dict()),
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as partial:
        # safetensors' own writer reports a full disk as an error of the format.
        partial.write_bytes(safetensors.torch.save(tensors, metadata))


def load_checkpoint(path: Path) -> HideNerf:
    """The model with the weights in `path`, in evaluation mode.

    Errors: no such file, not a checkpoint of ours, and tensors that are missing, extra or of another shape than the
    config says, each named with both shapes.
    """
    if not path.is_file():
        raise HideNerfError(f"{path}: no such checkpoint; give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise HideNerfError(f"{path}: not a readable safetensors file ({error}); it may be damaged.") from None
    if metadata.get("format") != CHECKPOINT_FORMAT:
        raise HideNerfError(f"{path}: not a hidenerf checkpoint (no '{CHECKPOINT_FORMAT}' in its metadata).")
    if metadata.get("version") != CHECKPOINT_VERSION:
        raise HideNerfError(
            f"{path}: checkpoint of version {metadata.get('version')}, this hidenerf reads {CHECKPOINT_VERSION}."
        )
    try:
        values = json.loads(metadata.get("config", ""))
    except json.JSONDecodeError:
        raise HideNerfError(f"{path}: the config in the checkpoint's metadata is not JSON; save it again.") from None
    try:
        model = HideNerf(ModelConfig.from_dict(values))
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    problems = [f"{name} {shape} is missing" for name, shape in expected.items() if name not in found]
    problems += [f"{name} {shape} is not part of the model" for name, shape in found.items() if name not in expected]
    problems += [
        f"{name} is {found[name]} but the config needs {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise HideNerfError(f"{path}: the tensors do not fit the config: {shown}.")
    model.load_state_dict(tensors)
    return model.eval()
