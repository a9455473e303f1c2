"""Checkpoints: a safetensors file with the model's config in its metadata.

A checkpoint can extend another: it then holds the tensors that the other lacks or has otherwise.
"""

import importlib.resources
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path, sha256_of

CHECKPOINT_FORMAT = "hidenerf-checkpoint"
CHECKPOINT_VERSION = "1"


# Presets whose trained weights are shipped.
SHIPPED = ("demo", "demo512")

Tensors = dict[str, Tensor]


def shipped_checkpoint_path(preset: str) -> Path:
    """The shipped checkpoint of a preset in SHIPPED (`docs/training.md`)."""
    return Path(str(importlib.resources.files("hidenerf.model.data") / f"{preset}.safetensors"))


def default_checkpoint_path() -> Path:
    """The shipped checkpoint of preset `demo`."""
    return shipped_checkpoint_path("demo")


def save_checkpoint(model: HideNerf, path: Path, extends: Path | None = None) -> None:
    """Write all weights and the config; the file appears whole or not at all.

    extends: a checkpoint with tensors of this model; the file holds the other ones alone, and is read together with
        that checkpoint, which must lie beside it. None: the file is whole by itself.
    """
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
        "config": json.dumps(model.config.to_dict()),
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if extends is not None:
        metadata["extends"] = json.dumps({"name": extends.name, "sha256": sha256_of(extends)})
        there, _ = _read(extends)
        tensors = {name: t for name, t in tensors.items() if name not in there or not _same(t, there[name])}
    with atomic_path(path) as partial:
        # safetensors' own writer reports a full disk as an error of the format.
        partial.write_bytes(safetensors.torch.save(tensors, metadata))


def load_checkpoint(path: Path) -> HideNerf:
    """The model with the weights in `path`, in evaluation mode.

    Errors: no such file, not a checkpoint of ours, one that it extends is not beside it, and tensors that are missing,
    extra or of another shape than the config says, each named with both shapes.
    """
    tensors, metadata = _read(path)
    if "extends" in metadata:
        tensors = _extended(path, metadata["extends"]) | tensors
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


def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """A checkpoint's tensors and metadata. Errors: no such file, not a checkpoint of ours."""
    if not path.is_file():
        raise HideNerfError(f"{path}: no such checkpoint; give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata: dict[str, str] = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise HideNerfError(f"{path}: not a readable safetensors file ({error}); it may be damaged.") from None
    if metadata.get("format") != CHECKPOINT_FORMAT:
        raise HideNerfError(f"{path}: not a hidenerf checkpoint (no '{CHECKPOINT_FORMAT}' in its metadata).")
    if metadata.get("version") != CHECKPOINT_VERSION:
        raise HideNerfError(
            f"{path}: checkpoint of version {metadata.get('version')}, this hidenerf reads {CHECKPOINT_VERSION}."
        )
    return tensors, metadata


def _extended(path: Path, entry: str) -> Tensors:
    """The tensors of the checkpoint beside `path` that its metadata's entry `extends` names.

    Errors: an entry that names none, no such file, another file, one that extends another checkpoint itself.
    """
    try:
        extends = json.loads(entry)
        name, expected = str(extends["name"]), str(extends["sha256"])
    except (ValueError, TypeError, KeyError):
        raise HideNerfError(
            f"{path}: the metadata's entry 'extends' is {entry!r}; save the checkpoint again."
        ) from None
    # The name alone: a checkpoint never opens files elsewhere.
    beside = path.parent / Path(name).name
    if not beside.is_file():
        raise HideNerfError(f"{path}: extends {beside.name}, which is not beside it; copy that checkpoint there.")
    if sha256_of(beside) != expected:
        raise HideNerfError(
            f"{path}: extends another {beside.name} than lies beside it; copy the one it was made with."
        )
    tensors, metadata = _read(beside)
    if "extends" in metadata:
        raise HideNerfError(
            f"{path}: extends {beside.name}, which extends a checkpoint itself; save one of them whole."
        )
    return tensors


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
