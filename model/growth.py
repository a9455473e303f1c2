"""A model with parts that a checkpoint lacks, begun with what the checkpoint has."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.config import UNALIGNED, ModelConfig
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.model.refinement import AlignedSpade, ConstantNorm, Spade
from hidenerf.runtime.errors import HideNerfError

# Layers that get more inputs or outputs with an alignment; the new ones stand last.
_WIDENED = ("refiner.stem.0.weight", "refiner.head.weight", "refiner.head.bias")


def grown(model: HideNerf, config: ModelConfig, seed: int = 0) -> tuple[HideNerf, str]:
    """A model of `config` with the weights of `model`, in evaluation mode, and one line on what is new in it.

    The configs may differ in their alignment (and name), and by an enlarger. New inputs of a layer start with weights
    of 0, so that the model draws at first what `model` draws but for SPADE's maps, which are sampled elsewhere. With an
    enlarger it draws that at twice the side, with the source's own pixels of that size.
    """
    if _sizes_that_must_agree(model.config) != _sizes_that_must_agree(config):
        raise HideNerfError(
            f"The weights are of a model '{model.config.name}' of other sizes than '{config.name}'; choose the preset "
            "it was trained with."
        )
    whole = random_model(config, seed)
    old, new = model.state_dict(), whole.state_dict()
    added = []
    for name, tensor in new.items():
        if name not in old:
            added.append(name)
        elif old[name].shape == tensor.shape:
            tensor.copy_(old[name])
        elif name in _WIDENED and old[name].ndim == tensor.ndim:
            # Inputs start unseen; a new output keeps its own start.
            part = tuple(slice(min(sizes)) for sizes in zip(tensor.shape, old[name].shape, strict=True))
            if tensor.ndim > 1:
                tensor[:, part[1].stop :] = 0
            tensor[part] = old[name][part]
            added.append(f"{name} {list(old[name].shape)} → {list(tensor.shape)}")
        else:
            raise HideNerfError(f"{name}: {list(old[name].shape)} in the weights, {list(tensor.shape)} in the model.")
    left = sorted(old.keys() - new.keys())
    whole.load_state_dict(new)
    said = [f"new: {', '.join(added)}"] if added else []
    said += [f"left out: {', '.join(left)}"] if left else []
    return whole.eval(), "; ".join(said) or "nothing new"


def _sizes_that_must_agree(config: ModelConfig) -> dict[str, Any]:
    others = "name", "alignment", "aligned_scales", "image_size", "enlarger_width"
    sizes = {name: value for name, value in config.to_dict().items() if name not in others}
    return sizes | {"working_size": config.working_size}


@torch.no_grad()
def fill_absent(whole: HideNerf, model: HideNerf, pictures: Tensor, masks: Tensor) -> None:
    """Set the constants of a model that `grown` has just made to the means of the old model's maps.

    Over the heads of these source pictures [n, 3, S, S], whose masks are [n, 1, S, S].
    """
    if model.config.alignment != UNALIGNED:
        return
    maps = model.id_encoder(pictures)
    for old_block, block, feature in zip(model.refiner.blocks, whole.refiner.blocks, reversed(maps), strict=True):
        weight = F.interpolate(masks, size=feature.shape[-2:], mode="area")
        total = weight.sum().clamp_min(1.0)
        for old, new in zip(old_block.spades, block.spades, strict=True):  # type: ignore[arg-type]
            if isinstance(new, (AlignedSpade, ConstantNorm)) and isinstance(old, Spade):
                shared = old.shared(feature)
                for row, layer in enumerate((old.gamma, old.beta)):
                    new.absent[row] = (layer(shared) * weight).sum((0, 2, 3)) / total
