"""Training state: a folder with a run's checkpoint so far and all that is needed to resume the run.

`checkpoint.safetensors` is a checkpoint with the EMA of the weights in FP16. `state-K.safetensors` hold the rest in
parts of at most 15.5 MiB: weights in FP32, the optimisers' moments in bfloat16. A resumed run continues as if it had
not been interrupted, up to the rounding of the moments.
"""

import copy
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_folder
from hidenerf.training.loop.trainer import Trainer

STATE_FORMAT = "hidenerf-training-state"
STATE_VERSION = "2"
CHECKPOINT_NAME = "checkpoint.safetensors"
# Largest size of a part, bytes.
PART_BYTES = 31 << 19

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(trainer: Trainer, folder: Path) -> None:
    """Save a run in a folder, whose earlier content is replaced atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    tensors |= _moments("optimizer", trainer.model, trainer.optimizer)
    if trainer.discriminators is not None:
        networks = trainer.discriminators.networks
        tensors |= {f"discriminators.{name}": tensor for name, tensor in networks.state_dict().items()}
        tensors |= _moments("discriminator_optimizer", networks, trainer.discriminators.optimizer)
    tensors["generator"] = trainer.noise.generator.get_state()
    run = {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "skipped": int(trainer.skipped),
        "optimizer_steps": _steps_of(trainer.optimizer),
        "discriminator_steps": _steps_of(trainer.discriminators.optimizer) if trainer.discriminators else 0,
        "config": trainer.config.to_dict(),
    }
    parts = _split({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()})
    with atomic_folder(folder) as partial:
        save_checkpoint(fp16_weights(trainer.ema), partial / CHECKPOINT_NAME)
        for index, part in enumerate(parts):
            metadata = {
                "format": STATE_FORMAT,
                "version": STATE_VERSION,
                "part": str(index),
                "parts": str(len(parts)),
                "run": json.dumps(run),
            }
            safetensors.torch.save_file(part, partial / f"state-{index}.safetensors", metadata)


def read_run(folder: Path) -> dict[str, Any]:
    """Metadata of a saved run: step, seconds, skipped, config, … Errors: the folder has no saved run."""
    run: dict[str, Any] = json.loads(_part_metadata(folder / "state-0.safetensors")["run"])
    return run


def load_state(trainer: Trainer, folder: Path) -> None:
    """Load a saved run into a trainer of the same model.

    If the run has no discriminators yet, the trainer's start untrained. If the trainer has none, the run's are ignored.
    Errors: no saved run, a damaged one, a run of another model.
    """
    first = _part_metadata(folder / "state-0.safetensors")
    run = json.loads(first["run"])
    tensors: dict[str, Tensor] = {}
    for index in range(int(first["parts"])):
        path = folder / f"state-{index}.safetensors"
        if _part_metadata(path)["run"] != first["run"]:
            raise HideNerfError(f"{path}: belongs to another moment of the run than part 0; copy the folder anew.")
        tensors |= safetensors.torch.load_file(path)
    ema = load_checkpoint(folder / CHECKPOINT_NAME)
    if ema.config != trainer.model.config:
        raise HideNerfError(
            f"{folder}: the run trains model '{ema.config.name}' with other sizes than '"
            f"{trainer.model.config.name}'; resume with the run's own preset."
        )
    trainer.model.load_state_dict(_below("model", tensors))
    trainer.ema.load_state_dict(ema.state_dict())
    _restore_moments("optimizer", trainer.model, trainer.optimizer, tensors, run["optimizer_steps"])
    if trainer.discriminators is not None and run["discriminator_steps"] > 0:
        networks = trainer.discriminators.networks
        networks.load_state_dict(_below("discriminators", tensors))
        optimizer = trainer.discriminators.optimizer
        _restore_moments("discriminator_optimizer", networks, optimizer, tensors, run["discriminator_steps"])
    trainer.step, trainer.seconds = run["step"], run["seconds"]
    trainer.skipped.fill_(run["skipped"])
    saved = tensors["generator"]
    if trainer.processes.rank == 0 and saved.shape == trainer.noise.generator.get_state().shape:
        trainer.noise.generator.set_state(saved)
    else:
        # On another rank or kind of device the saved state does not apply; new random numbers are as good.
        trainer.noise.generator.manual_seed(trainer.config.seed + (trainer.processes.rank << 32) + trainer.step)


def _part_metadata(path: Path) -> dict[str, str]:
    """Metadata of one part of a saved run. Errors: no such file, damage, another format or version."""
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file, so there is no run to resume; give the folder of a saved run.")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata: dict[str, str] = archive.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise HideNerfError(f"{path}: not a readable safetensors file ({error}); it may be damaged.") from None
    if metadata.get("format") != STATE_FORMAT or metadata.get("version") != STATE_VERSION:
        raise HideNerfError(f"{path}: not a saved run of this version of hidenerf-train; give the folder of one.")
    return metadata


def fp16_weights(model: HideNerf) -> HideNerf:
    """A copy of a model with FP16 weights; running statistics stay FP32, since variances may exceed FP16's range."""
    rounded = copy.deepcopy(model)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(torch.float16)
    return rounded


def _split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split tensors, in their order, into parts of at most PART_BYTES, or of a single larger tensor."""
    parts: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if parts[-1] and filled + tensor.nbytes > PART_BYTES:
            parts.append({})
            filled = 0
        parts[-1][name] = tensor
        filled += tensor.nbytes
    return parts


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _steps_of(optimizer: torch.optim.Optimizer) -> int:
    """Number of steps of an AdamW; it is the same for all its parameters."""
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)


def _moments(prefix: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An AdamW's moments by name, in bfloat16."""
    return {
        f"{prefix}.{kind}.{name}": optimizer.state[parameter][kind].to(torch.bfloat16)
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
        for kind in _MOMENTS
    }


def _restore_moments(
    prefix: str, network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], steps: int
) -> None:
    """Set an AdamW's moments from saved ones; missing ones become 0."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            # Fused AdamW requires moments in the weight's memory format, and the step count on the weight's device.
            state = {kind: torch.zeros_like(parameter, memory_format=torch.preserve_format) for kind in _MOMENTS}
            for kind, moment in state.items():
                name = f"{prefix}.{kind}.{names[parameter]}"
                if name in tensors:
                    moment.copy_(tensors[name])
            state["step"] = torch.tensor(float(steps), device=parameter.device)
            optimizer.state[parameter] = state
