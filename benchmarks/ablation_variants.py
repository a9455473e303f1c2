"""Ablation variants: short equal training runs with one change each, the paper's ablations (§4.4) and some of ours."""

import dataclasses
import logging
import math
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SeccChoice
from hidenerf.training.data.synthetic.replay import PairReplay
from hidenerf.training.evaluation.expression_response import EXPRESSIONS, expression_responses
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.metrics import image_scores, rounded
from hidenerf.training.kernels.sampling import FastCameraToWorld
from hidenerf.training.loop.config import LossWeights, TrainingConfig
from hidenerf.training.loop.processes import Processes
from hidenerf.training.loop.trainer import RECALIBRATION_BATCHES, PairSource, PhaseClock, Trainer, recalibrate

logger = logging.getLogger(__name__)

FULL = "full"
# People of the contact sheet.
SHOWN = 6
# Largest number of pairs in the pool, and pairs to wait for before the first step.
CAPACITY, WARM_UP = 8192, 1024
# Runs with at least this many steps let cuDNN search for its fastest kernels, which takes half a minute.
STEPS_WORTH_A_SEARCH = 2000
SURFACE_WEIGHT = 10.0

# Values by name, one a person.
Figures = dict[str, list[float]]


class Variant(NamedTuple):
    """One variant of a preset.

    what: the change, in words.
    config: of the model.
    seccs: what the SECCs of its pairs show.
    source_camera: whether feature volumes are sampled through the source's camera (Eq. 1); otherwise through the
        canonical one.
    losses: loss weights of its training.
    """

    what: str
    config: ModelConfig
    seccs: SeccChoice = DEFAULT_SECCS
    source_camera: bool = True
    losses: LossWeights = LossWeights()


class Length(NamedTuple):
    """Length of a run and of its evaluation.

    steps: of training.
    batch_size: pairs in a batch.
    people: held-out people of the evaluation.
    seed: of weights, pairs and jitter.
    """

    steps: int
    batch_size: int
    people: int
    seed: int


def variants(preset: ModelConfig) -> dict[str, Variant]:
    """The preset without a change and all its variants, by name."""

    def sized(what: str, **changes: Any) -> Variant:
        return Variant(what, dataclasses.replace(preset, name=what, **changes))

    other = not DEFAULT_SECCS.own_expression
    expression = "the source's" if other else "no"
    return {
        FULL: Variant(f"preset {preset.name} as it is", preset),
        "w/o multi-scale": sized(
            "tri-plane of the finest scale alone",
            plane_sizes=preset.plane_sizes[-1:],
            volume_depths=preset.volume_depths[-1:],
            plane_samples=preset.plane_samples[-1:],
        ),
        "w/o camera-to-world": Variant(
            "planes in the source camera's frame: volumes are looked up through the canonical camera, not the source's",
            preset,
            source_camera=False,
        ),
        "w/o SECC": Variant(
            "both SECCs with the rotation and translation of their pictures",
            preset,
            seccs=DEFAULT_SECCS._replace(posed=True),
        ),
        f"{'source' if other else 'no'} expression in the canonical SECC": Variant(
            f"canonical SECC with {expression} expression",
            preset,
            seccs=DEFAULT_SECCS._replace(own_expression=other),
        ),
        "with the surface loss": Variant(
            "LED is told where the head's surface moves", preset, losses=LossWeights(surface=SURFACE_WEIGHT)
        ),
        "colours only": sized("the refiner sees colours and alpha, without rendered features", render_channels=3),
        "deep volumes": sized(
            "feature volumes of twice as many slices, looked up twice as often along each normal",
            volume_depths=tuple(2 * depth for depth in preset.volume_depths),
            plane_samples=tuple(2 * samples for samples in preset.plane_samples),
        ),
    }


class CanonicalView(FastCameraToWorld):
    """`CameraToWorld` through the canonical camera in place of the source's.

    size: r of the planes. samples: along each normal.
    """

    def __init__(self, size: int, samples: int) -> None:
        super().__init__(size, samples)
        self.view: Tensor
        self.register_buffer("view", torch.from_numpy(canonical_camera())[None], persistent=False)

    def forward(self, volume: Tensor, camera: Tensor) -> Tensor:
        """volume [B, C, D, H, W], camera [B, 25], of which only B is used → planes [B, 3, C, size, size]."""
        return super().forward(volume, self.view.expand_as(camera))


def ignore_source_camera(model: HideNerf, device: torch.device) -> None:
    """Replace the model's camera-to-world steps by `CanonicalView`; the model's state is unchanged."""
    steps = model.appearance.camera_to_world
    for index, step in enumerate(steps):
        if not isinstance(step, CameraToWorld):
            raise AssertionError("the model's camera-to-world steps are CameraToWorld modules")
        steps[index] = CanonicalView(step.size, step.samples).to(device)


def run_variant(
    variant: Variant, length: Length, workers: int, device: torch.device
) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """Train a variant and evaluate the EMA of its weights; returns its results and pictures.

    The results are JSON values, except for NaN: "people" has each score of each held-out person, NaN where it does not
    exist; "losses" has means over the last tenth of the steps. The pictures, by name, are "source", "target" and
    "frame" of the first people, [SHOWN, S, S, 3].
    workers: processes that draw pairs.
    device: to train on.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = length.steps >= STEPS_WORTH_A_SEARCH
    began = time.monotonic()
    settings = TrainingConfig(steps=length.steps, batch_size=length.batch_size, seed=length.seed, losses=variant.losses)
    trainer = Trainer(variant.config, settings, Processes(device))
    if not variant.source_camera:
        for model in (trainer.model, trainer.ema):
            ignore_source_camera(model, device)
    drawn = length.steps * length.batch_size
    capacity = max(4, min(CAPACITY, drawn))
    with PairReplay(variant.config, device, capacity, workers, length.seed, variant.seccs) as pairs:
        pairs.warm_up(min(WARM_UP, capacity))
        ready = time.monotonic()
        logger.info("ready after %.1f s", ready - began)
        result = train(trainer, pairs)
        batches = (pairs.sample(length.batch_size) for _ in range(min(RECALIBRATION_BATCHES, length.steps)))
        recalibrate(trainer.ema, batches, trainer.autocast())
        result["pairs_drawn_per_second"] = pairs.pairs_per_second
        trained = time.monotonic()
    people, pictures = evaluate(HeldOutEvaluation(trainer.ema, device, variant.seccs), length.people)
    done = time.monotonic()
    result |= {
        "what": variant.what,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "people": people,
        "seconds": {"preparation": ready - began, "training": trained - ready, "evaluation": done - trained},
    }
    return result, pictures


def train(trainer: Trainer, pairs: PairSource) -> dict[str, Any]:
    """Train for all steps of a run; returns losses and speeds as JSON values.

    Losses are means over the last tenth of the steps. Pairs a second, and the milliseconds of each phase of a step, are
    means from the second quarter on.
    """
    steps, batch_size = trainer.config.steps, trainer.config.batch_size
    clock = PhaseClock(trainer.processes.device)
    settled, last = steps // 4, steps - max(1, steps // 10)
    sums: dict[str, Tensor] = {}
    for step in range(steps):
        if step == settled:
            clock.take()
            since = time.monotonic()
        terms = trainer.train_step(pairs, clock)
        if step >= last:
            sums = {name: sums.get(name, 0) + value for name, value in terms.items()}
        if step % max(1, steps // 10) == 0:
            logger.info("step %d: %s", step, " ".join(f"{name} {float(value):.4f}" for name, value in terms.items()))
    phases = clock.take()
    return {
        "losses": {name: float(total) / (steps - last) for name, total in sums.items()},
        "skipped": float(trainer.skipped),
        "pairs_per_second": (steps - settled) * batch_size / (time.monotonic() - since),
        "milliseconds": phases,
    }


def evaluate(held_out: HeldOutEvaluation, people: int) -> tuple[Figures, dict[str, NDArray[np.uint8]]]:
    """Scores of held-out people by name, and pictures of the first ones as in `run_variant`.

    "NAME r" and "NAME gain" are those of `change_response` for the expression NAME, NaN where it is not visible.
    people: their number; a quarter of them is used for expressions.
    """
    figures: Figures = {}
    shown: dict[str, list[Tensor]] = {"source": [], "target": [], "frame": []}
    for _, batch in held_out.batches([held_out.person(index) for index in range(people)], "people"):
        output = held_out.output(batch)
        frame = output.frame.clamp(0, 1)
        for row in image_scores(frame, output.alpha, batch):
            for name, value in row.items():
                figures.setdefault(name, []).append(value)
        for name, values in (("source", batch.source_image), ("target", batch.target), ("frame", frame)):
            shown[name].append(values)
    for responses in expression_responses(held_out, EXPRESSIONS, max(1, people // 4)):
        for name in EXPRESSIONS:
            found = responses[name][:2] if name in responses else (math.nan, math.nan)
            for part, value in zip(("r", "gain"), found, strict=True):
                figures.setdefault(f"{name} {part}", []).append(value)
    return figures, {name: rounded(torch.cat(values)[:SHOWN]) for name, values in shown.items()}
