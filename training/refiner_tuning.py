"""python -m hidenerf.training.refiner_tuning CHECKPOINT OUT.safetensors: train the refine network and the ID encoder
alone, on what the other networks make of synthetic pairs once. A CPU can do it."""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import require_writable_parent
from hidenerf.training.config import TrainingConfig, read_config
from hidenerf.training.drawing import PairDrawing
from hidenerf.training.geometry import DEFAULT_SECCS, PairLayout
from hidenerf.training.heads import load_head_mesh
from hidenerf.training.losses import pixel_weights, structure_loss
from hidenerf.training.pair_rendering import painted
from hidenerf.training.people import make_pair
from hidenerf.training.state import half_weights
from hidenerf.training.trainer import learning_rate_factor, new_statistics, optimizer_of, picture_terms
from hidenerf.training.trial import Progress, Say

PEOPLE_AT_ONCE = 4
RECALIBRATION_BATCHES = 32
SECONDS_BETWEEN_LINES = 30.0


class RefinerPairs(NamedTuple):
    """What the refine network gets for n pairs, and what it should draw.

    source_image, target [n, 3, S, S], mask, region [n, 1, S, S]: uint8. rendered [n, K, R, R], rendered_alpha
    [n, 1, R, R]: float16.
    """

    source_image: Tensor
    rendered: Tensor
    rendered_alpha: Tensor
    target: Tensor
    mask: Tensor
    region: Tensor

    def chosen(self, index: Tensor) -> "RefinerPairs":
        """The pairs `index` [B] as float32, pictures in [0, 1]."""
        some = (values[index] for values in self)
        return RefinerPairs(*(v.float() / 255 if v.dtype == torch.uint8 else v.float() for v in some))


@torch.no_grad()
def refiner_pairs(model: HideNerf, people: int, seed: int, processes: int, say: Say) -> RefinerPairs:
    """Two pairs of each of so many people that this seed draws, either picture the source of the other."""
    sizes = model.config.image_size, model.config.secc_size
    mesh = load_head_mesh()
    layout = PairLayout(mesh, *sizes, DEFAULT_SECCS)
    pairs = [make_pair(mesh.face_model, number, seed) for number in range(people)]
    parts = [pairs[start : start + PEOPLE_AT_ONCE] for start in range(0, people, PEOPLE_AT_ONCE)]
    progress, made = Progress(say, "pairs", 2 * people), []
    with PairDrawing(*sizes, DEFAULT_SECCS, processes) as drawing:
        for rows in drawing.rows(parts):
            twosomes = painted(layout, torch.device("cpu"), rows)
            for source in (0, 1):
                batch = twosomes.batch(torch.arange(len(rows)), torch.full((len(rows),), source), DEFAULT_SECCS)
                planes = model.appearance(batch.source_image, batch.source_camera)
                points = model.ray_points(batch.camera)
                deformation = model.deformation(batch.secc_driving, batch.secc_canonical, points)
                rendered, alpha = model.renderer(deformation, batch.camera, planes)
                pictures = batch.source_image, batch.target, batch.mask, batch.region
                source_image, *truths = ((255 * one).round().to(torch.uint8) for one in pictures)
                made.append(RefinerPairs(source_image, rendered.half(), alpha.half(), *truths))
            progress(sum(len(some.target) for some in made))
    return RefinerPairs(*(torch.cat(values) for values in zip(*made, strict=True)))


class RefinerTuning:
    """A model whose refine network and ID encoder learn from pairs; its other networks stay as they are.

    config: steps, batch_size, learning_rate and its schedule, weight_decay, gradient_clip, average, seed and the losses
    of the refined picture; the rest concerns the other networks.
    """

    def __init__(self, model: HideNerf, pairs: RefinerPairs, config: TrainingConfig) -> None:
        self._pairs, self._config = pairs, config
        self._networks: nn.ModuleDict = _refining(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average_model = copy.deepcopy(model).requires_grad_(False)
        self._average = _refining(self._average_model)
        self._optimizer = optimizer_of(self._networks.parameters(), config)
        self._draws = torch.Generator().manual_seed(config.seed)
        self._networks.train()
        self.done = 0

    def step(self) -> dict[str, float]:
        """One batch, one step; the value of each term of the loss."""
        config = self._config
        pairs = self._drawn(self._draws)
        frame, alpha = _refined(self._networks, pairs)
        weight = pixel_weights(pairs.mask, pairs.region, config.losses.head, config.losses.region)
        terms = picture_terms("refined", frame, pairs.target, weight, config.losses, structure_loss)
        terms.append(("alpha_refined", config.losses.alpha, (alpha - pairs.mask).abs().mean()))
        self._optimizer.zero_grad()
        torch.stack([factor * value for _, factor, value in terms]).sum().backward()
        if not clip_grad_norm_(self._networks.parameters(), config.gradient_clip).isfinite():
            raise HideNerfError(f"Step {self.done + 1}: the gradient is not finite; give a lower learning_rate.")
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(config, self.done / config.steps)
        self._optimizer.step()
        update = get_ema_multi_avg_fn(min(config.average, (1 + self.done) / (10 + self.done)))
        update(list(self._average.parameters()), list(self._networks.parameters()), self.done)
        self.done += 1
        return {name: value.item() for name, _, value in terms}

    @torch.no_grad()
    def tuned(self) -> HideNerf:
        """The model with the average of its weights over the steps so far."""
        draws = torch.Generator().manual_seed(self._config.seed)
        with new_statistics(self._average):
            for _ in range(RECALIBRATION_BATCHES):
                _refined(self._average, self._drawn(draws))
        return self._average_model

    def _drawn(self, draws: torch.Generator) -> RefinerPairs:
        index = torch.randint(len(self._pairs.target), (self._config.batch_size,), generator=draws)
        return self._pairs.chosen(index)


def _refining(model: HideNerf) -> nn.ModuleDict:
    return nn.ModuleDict({"refiner": model.refiner, "id_encoder": model.id_encoder})


def _refined(networks: nn.ModuleDict, pairs: RefinerPairs) -> tuple[Tensor, Tensor]:
    """Frame [B, 3, S, S] and its alpha [B, 1, S, S], float32; convolutions run in bfloat16, as on a GPU."""
    with torch.autocast("cpu", torch.bfloat16):
        source_image = pairs.source_image.contiguous(memory_format=torch.channels_last)
        frame, alpha = networks["refiner"](pairs.rendered, pairs.rendered_alpha, networks["id_encoder"](source_image))
    return frame.float().contiguous(), alpha.float().contiguous()


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="JSON with entries of TrainingConfig.")
@click.option("--steps", type=click.IntRange(1), default=1500, help="Steps of training.")
@click.option("--people", type=click.IntRange(1), default=640, help="Synthetic people, two pairs each.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Processes that draw pairs.")
@user_errors
def main(checkpoint: Path, output: Path, config_path: Path | None, steps: int, people: int, processes: int) -> None:
    """Train the refine network and the ID encoder of CHECKPOINT alone, on the CPU, and write the checkpoint OUTPUT."""
    if output.suffix.lower() != ".safetensors":
        raise HideNerfError(f"{output}: a checkpoint is a .safetensors file; give a name that ends so.")
    values = {} if config_path is None else read_config(config_path)
    config = TrainingConfig.from_dict({"batch_size": 8, **values, "seconds": 0.0, "steps": steps})
    model = load_checkpoint(checkpoint)
    require_writable_parent(output)
    tuning = RefinerTuning(model, refiner_pairs(model, people, config.seed, processes, click.echo), config)
    try:
        for line in tuning_lines(tuning, config.steps):
            click.echo(line)
    finally:
        # Also after Ctrl-C: what has been learned is kept.
        if tuning.done > 0:
            save_checkpoint(half_weights(tuning.tuned()), output)


def tuning_lines(tuning: RefinerTuning, steps: int) -> Iterator[str]:
    """Make all steps; every half minute and at the end, a line with the means of the terms since the last one."""
    told, since = time.monotonic(), []
    while tuning.done < steps:
        since.append(tuning.step())
        if time.monotonic() - told >= SECONDS_BETWEEN_LINES or tuning.done == steps:
            means = {name: sum(terms[name] for terms in since) / len(since) for name in since[0]}
            pace = (time.monotonic() - told) / len(since)
            yield f"step {tuning.done} of {steps}, {pace:.2f} s each | " + " ".join(
                f"{name} {mean:.4f}" for name, mean in means.items()
            )
            told, since = time.monotonic(), []


if __name__ == "__main__":
    main()
