"""Refiner tuning: trains the refine network and the ID encoder alone, on cached outputs of the other networks."""

import copy
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from hidenerf.model.config import UNALIGNED, ModelConfig
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.drawing import PairDrawing
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, PairLayout
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import painted
from hidenerf.training.data.synthetic.people import make_pair
from hidenerf.training.evaluation.held_out import Progress
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.losses import pixel_weights, structure_loss
from hidenerf.training.loop.trainer import image_terms, learning_rate_factor, new_statistics, optimizer_of, update_ema

logger = logging.getLogger(__name__)

PEOPLE_AT_ONCE = 4
RECALIBRATION_BATCHES = 32
SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_SAVES = 600.0


class RefinerPairs(NamedTuple):
    """Inputs of the refine network for n pairs, and its targets.

    source_image, target: [n, 3, S, S] uint8.
    rendered: [n, K, R, R] float16.
    rendered_alpha: [n, 1, R, R] float16.
    mask, region: [n, 1, S, S] uint8, as in `Batch`.
    """

    source_image: Tensor
    rendered: Tensor
    rendered_alpha: Tensor
    target: Tensor
    mask: Tensor
    region: Tensor

    def chosen(self, index: Tensor) -> "RefinerPairs":
        """The pairs with the numbers `index` [B] as float32; uint8 becomes [0, 1]."""
        some = (values[index] for values in self)
        return RefinerPairs(*(v.float() / 255 if v.dtype == torch.uint8 else v.float() for v in some))


@torch.no_grad()
def refiner_pairs(model: HideNerf, people: int, seed: int, workers: int) -> RefinerPairs:
    """Make two pairs of each of several synthetic people: either picture is the source of the other.

    model: supplies the refine network's inputs.
    people: number of people.
    seed: of the people.
    workers: processes that draw the pairs.
    Errors: the model renders values that are not finite, or has an alignment.
    """
    if model.config.alignment != UNALIGNED:
        raise HideNerfError(
            f"The refine network of a model with the alignment '{model.config.alignment}' cannot be trained alone: "
            "where it samples the source is the other networks' doing; go on with hidenerf-train --initial."
        )
    sizes = model.config.image_size, model.config.secc_size
    mesh = load_head_mesh()
    layout = PairLayout(mesh, *sizes, DEFAULT_SECCS)
    pairs = [make_pair(mesh.face_model, number, seed) for number in range(people)]
    parts = [pairs[start : start + PEOPLE_AT_ONCE] for start in range(0, people, PEOPLE_AT_ONCE)]
    made, filled = _room_for_pairs(model.config, 2 * people), 0
    progress = Progress("pairs", 2 * people)
    with PairDrawing(*sizes, DEFAULT_SECCS, workers) as drawing:
        for rows in drawing.rows(parts):
            image_pairs = painted(layout, torch.device("cpu"), rows)
            for source in (0, 1):
                batch = image_pairs.batch(torch.arange(len(rows)), torch.full((len(rows),), source), DEFAULT_SECCS)
                for kept, values in zip(made, refiner_inputs(model, batch), strict=True):
                    kept[filled : filled + len(rows)] = values
                filled += len(rows)
            progress(filled)
    return made


def refiner_inputs(model: HideNerf, batch: Batch) -> RefinerPairs:
    """Run the model's other networks on a batch. Errors: they render values that are not finite."""
    planes = model.appearance(batch.source_image, batch.source_camera)
    deformation = model.deformation(batch.secc_driving, batch.secc_canonical, model.ray_points(batch.camera))
    rendered, alpha = model.renderer(deformation, batch.camera, planes)
    if not rendered.isfinite().all():
        raise HideNerfError("The checkpoint renders values that are not finite; its training went wrong: take another.")
    pictures = batch.source_image, batch.target, batch.mask, batch.region
    source_image, *truths = ((255 * one).round().to(torch.uint8) for one in pictures)
    return RefinerPairs(source_image, rendered.half(), alpha.half(), *truths)


def _room_for_pairs(config: ModelConfig, count: int) -> RefinerPairs:
    """Uninitialised pairs, n = count."""

    def room(channels: int, size: int, kind: torch.dtype = torch.uint8) -> Tensor:
        return torch.empty(count, channels, size, size, dtype=kind)

    whole, small = config.image_size, config.render_size
    rendered, alpha = (room(channels, small, torch.float16) for channels in (config.render_channels, 1))
    return RefinerPairs(room(3, whole), rendered, alpha, room(3, whole), room(1, whole), room(1, whole))


class RefinerTuning:
    """Trains the refine network and the ID encoder of a model; its other networks do not change.

    model: changed by `step`.
    pairs: to train on.
    config: only steps, batch_size, learning_rate and its schedule, weight_decay, gradient_clip, ema_decay, seed and the
        losses of the refined image are used.
    """

    def __init__(self, model: HideNerf, pairs: RefinerPairs, config: TrainingConfig) -> None:
        self._pairs, self._config = pairs, config
        self.steps = config.steps
        self._networks: nn.ModuleDict = _refining(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ema_model = copy.deepcopy(model).requires_grad_(False)
        self._ema = _refining(self._ema_model)
        self._originals = [weight.clone() for weight in self._ema.parameters()]
        self._optimizer = optimizer_of(self._networks.parameters(), config)
        self._draws = torch.Generator().manual_seed(config.seed)
        self._networks.train()
        self.done = 0

    def step(self) -> dict[str, float]:
        """Train on one batch; returns the loss terms by name. Errors: the gradient is not finite."""
        config = self._config
        pairs = self._drawn(self._draws)
        frame, alpha = _refined(self._networks, pairs)
        weight = pixel_weights(pairs.mask, pairs.region, config.losses.head, config.losses.region)
        terms = image_terms("refined", frame, pairs.target, weight, config.losses, structure_loss)
        terms.append(("alpha_refined", config.losses.alpha, (alpha - pairs.mask).abs().mean()))
        self._optimizer.zero_grad()
        torch.stack([factor * value for _, factor, value in terms]).sum().backward()
        if not clip_grad_norm_(self._networks.parameters(), config.gradient_clip).isfinite():
            raise HideNerfError(
                f"Step {self.done + 1}: the gradient is not finite; give a learning_rate below "
                f"{config.learning_rate:g} in the config."
            )
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(config, self.done / config.steps)
        self._optimizer.step()
        update_ema(self._ema, self._networks, config, self.done)
        self.done += 1
        return {name: value.item() for name, _, value in terms}

    @torch.no_grad()
    def tuned(self, original_share: float) -> HideNerf:
        """A copy of the model with interpolated weights: those before tuning and their EMA so far.

        Interpolation keeps more of what the network learned from other pairs (Wortsman et al. 2022, WiSE-FT).
        original_share: weight of those before tuning, in [0, 1].
        """
        model = copy.deepcopy(self._ema_model)
        networks = _refining(model)
        for weight, original in zip(networks.parameters(), self._originals, strict=True):
            weight.lerp_(original, original_share)
        draws = torch.Generator().manual_seed(self._config.seed)
        with new_statistics(networks):
            for _ in range(RECALIBRATION_BATCHES):
                _refined(networks, self._drawn(draws))
        return model

    def _drawn(self, draws: torch.Generator) -> RefinerPairs:
        """A random batch."""
        index = torch.randint(len(self._pairs.target), (self._config.batch_size,), generator=draws)
        return self._pairs.chosen(index)


def _refining(model: HideNerf) -> nn.ModuleDict:
    """The networks of a model that are trained."""
    return nn.ModuleDict({"refiner": model.refiner, "id_encoder": model.id_encoder})


def _refined(networks: nn.ModuleDict, pairs: RefinerPairs) -> tuple[Tensor, Tensor]:
    """Frame [B, 3, S, S] and its alpha [B, 1, S, S], float32; convolutions run in bfloat16, as on a GPU."""
    with torch.autocast("cpu", torch.bfloat16):
        source_image = pairs.source_image.contiguous(memory_format=torch.channels_last)
        frame, alpha = networks["refiner"](pairs.rendered, pairs.rendered_alpha, networks["id_encoder"](source_image))
    return frame.float().contiguous(), alpha.float().contiguous()


def train_refiner(tuning: RefinerTuning, save: Callable[[], None]) -> None:
    """Train for all steps; log the means of the loss terms every 30 seconds and at the end.

    save: called every ten minutes, at the end and on Ctrl-C, if a step was made.
    """
    steps = tuning.steps
    sums: dict[str, float] = defaultdict(float)
    first, logged, saved = 0, time.monotonic(), time.monotonic()

    def save_step() -> None:
        logger.info(f"saving step {tuning.done} …")
        save()
        logger.info(f"saved step {tuning.done}")

    try:
        while tuning.done < steps:
            for name, value in tuning.step().items():
                sums[name] += value
            now, count = time.monotonic(), tuning.done - first
            if now - logged >= SECONDS_BETWEEN_LINES or tuning.done == steps:
                means = " ".join(f"{name} {total / count:.4f}" for name, total in sums.items())
                logger.info(f"step {tuning.done} of {steps}, {(now - logged) / count:.2f} s each | {means}")
                sums.clear()
                first, logged = tuning.done, now
            if now - saved >= SECONDS_BETWEEN_SAVES and tuning.done < steps:
                save_step()
                saved = logged = time.monotonic()
    except KeyboardInterrupt:
        if tuning.done > 0:
            save_step()
        raise
    save_step()
