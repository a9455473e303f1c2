"""Trainer: networks, EMA of the weights and optimisers of one training run, and the step that advances them."""

import contextlib
import copy
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import HideNerf, Output, random_model
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.kernels.norm import use_fused_norms
from hidenerf.training.kernels.sampling import use_fast_sampling
from hidenerf.training.kernels.volume import use_fast_volumes
from hidenerf.training.loop.config import LossWeights, TrainingConfig
from hidenerf.training.loop.cuda_graphs import Phases, RecordedPhases, Terms, run_phases
from hidenerf.training.loop.discriminator import Discriminator, discriminator_loss, generator_loss, r1_penalty
from hidenerf.training.loop.feature_losses import IdentityLoss, PerceptualLoss
from hidenerf.training.loop.losses import (
    absolute_error,
    alpha_cross_entropy,
    deformation_norm,
    pixel_weights,
    place_loss,
    resized,
    sharpness_loss,
    squared_error,
    still_loss,
    structure_loss,
    surface_loss,
)
from hidenerf.training.loop.network import Noise, training_forward
from hidenerf.training.loop.processes import Processes

RECALIBRATION_BATCHES = 16
# Eager steps of each kind before it is recorded as CUDA graphs.
STEPS_BEFORE_RECORDING = 3
DISCRIMINATOR_GRADIENT_CLIP = 10.0
# Share of the pairs for which LED also runs with the source's own expression, for `surface_loss`.
REST_SHARE = 0.25

# A loss of image, truth and weights by pixel.
ImageLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
# A loss term: name, weight, value.
WeightedTerm = tuple[str, float, Tensor]


class PairSource(Protocol):
    """A source of batches, such as `replay.PairReplay`."""

    def sample(self, batch_size: int) -> Batch:
        """A batch of so many pairs, on the source's device."""
        ...


class PhaseClock:
    """Measures the time of each phase of a step on the device, without synchronising host and device in each step."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []
        self._steps = 0

    def mark(self, phase: str) -> None:
        """Begin a phase. "data" begins a step; the time of "pause" is not counted."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((phase, event))
        else:
            self._marks.append((phase, time.perf_counter()))
        self._steps += phase == "data"

    def take(self) -> dict[str, float]:
        """Mean time of each phase a step since the last call, milliseconds; waits for the device."""
        self.mark("end")
        if self._cuda:
            torch.cuda.synchronize()
        spent: dict[str, float] = {}
        for (phase, begin), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
                duration = begin.elapsed_time(end)
            elif isinstance(begin, float) and isinstance(end, float):
                duration = 1e3 * (end - begin)
            if phase != "pause":
                spent[phase] = spent.get(phase, 0.0) + duration
        steps = max(self._steps, 1)
        self._marks, self._steps = [], 0
        return {phase: milliseconds / steps for phase, milliseconds in spent.items()}


class Discriminators:
    """The discriminators of refined and of rendered images, with their optimiser."""

    def __init__(self, model_config: ModelConfig, learning_rate: float, device: torch.device) -> None:
        self.networks = nn.ModuleDict(
            {
                "refined": Discriminator(model_config.image_size),
                "rendered": Discriminator(model_config.render_size),
            }
        ).to(device)
        self.optimizer = torch.optim.AdamW(
            self.networks.parameters(), learning_rate, (0.0, 0.99), weight_decay=0.0, fused=True
        )

    def logits(self, images: dict[str, Tensor], camera: Tensor) -> dict[str, Tensor]:
        """Logits [B] of images [B, 3, H, W], by network name. camera: [B, 25]."""
        return {name: self.networks[name](image, camera) for name, image in images.items()}


class Trainer:
    """State of a training run. `train_step` advances it by one batch; `loop.state` saves and restores it.

    model_config: sizes of the model.
    config: of the run.
    processes: that train together; one device each.
    perceptual: perceptual loss; None takes `structure_loss`.
    initial: a model of these sizes with the initial weights; None takes random ones.
    identity: identity loss, exactly if its weight is above 0.
    Errors: the identity loss without its weight, or the weight without the loss.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainingConfig,
        processes: Processes,
        perceptual: PerceptualLoss | None = None,
        initial: HideNerf | None = None,
        identity: IdentityLoss | None = None,
    ) -> None:
        require_identity_or_none(config.losses.identity, identity is not None)
        self.config = config
        self.processes = processes
        device = processes.device
        model = random_model(model_config, config.seed) if initial is None else initial
        use_fast_sampling(model)
        use_fast_volumes(model)
        use_fused_norms(model)
        memory = torch.channels_last if device.type == "cuda" else torch.preserve_format
        self.model: HideNerf = model.to(device, memory_format=memory).eval()  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.model.requires_grad_(False)
        for network in named_networks(self.model, config.networks):
            network.train().requires_grad_(True)
        self.optimizer = optimizer_of((p for p in self.model.parameters() if p.requires_grad), config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.discriminators = (
                Discriminators(model_config, config.discriminator_learning_rate, device)
                if config.losses.adversarial > 0
                else None
            )
        self.perceptual = structure_loss if perceptual is None else perceptual.to(device)
        self.identity = None if identity is None else identity.to(device)
        generator = torch.Generator(device)
        generator.manual_seed(config.seed + processes.rank)
        self.noise = Noise(torch.zeros((), device=device), torch.zeros((), device=device), generator)
        self.step = 0
        self.seconds = 0.0
        self.skipped = torch.zeros((), device=device)
        self._recorder = _Recorder(self) if device.type == "cuda" else None

    @property
    def progress(self) -> float:
        """Share of the run that is over, in [0, 1]."""
        done = self.step / self.config.steps if self.config.steps else self.seconds / self.config.seconds
        return min(done, 1.0)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Context in which networks run in bfloat16 on a GPU; on a CPU they run in FP32."""
        kind = self.processes.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")

    def train_step(self, pairs: PairSource, clock: PhaseClock) -> dict[str, Tensor]:
        """Train on one batch; returns the loss terms by name, on the device, valid until the next step.

        If a gradient is not finite, that optimiser's step is skipped; `skipped` counts this for the generator. The host
        does not wait for the GPU.
        pairs: source of the batch.
        clock: measures the phases.
        """
        config, progress = self.config, self.progress
        clock.mark("data")
        batch = pairs.sample(config.batch_size)
        fade = min(1.0, (1.0 - progress) / config.fade) if config.fade > 0 else 1.0
        self.noise.jitter.fill_(config.jitter * fade)
        self.noise.perturbation.fill_(config.perturbation * fade)
        adversarial = self.discriminators is not None and progress >= config.adversarial_start
        penalty = adversarial and self.step % config.r1_interval == 0
        phases = functools.partial(self._phases, adversarial=adversarial, penalty=penalty)
        if self._recorder is None:
            terms = run_phases(phases, batch, clock.mark)
        else:
            terms = self._recorder.run(phases, (adversarial, penalty), batch, clock.mark)
        clock.mark("optimiser")
        rate = config.learning_rate * learning_rate_factor(config, progress)
        self.skipped += self._apply(self.optimizer, self.model, config.gradient_clip, rate)
        if adversarial and self.discriminators is not None:
            networks, optimizer = self.discriminators.networks, self.discriminators.optimizer
            self._apply(optimizer, networks, DISCRIMINATOR_GRADIENT_CLIP, config.discriminator_learning_rate)
        update_ema(self.ema, self.model, config, self.step)
        self.step += 1
        clock.mark("pause")
        return terms

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the generator, and of the discriminators if there are any."""
        others = self.discriminators.networks.parameters() if self.discriminators is not None else ()
        return [*self.model.parameters(), *others]

    def _phases(self, batch: Batch, terms: Terms, adversarial: bool, penalty: bool) -> Iterator[str]:
        """Phases of a step, for `run_phases`: set the parameters' gradients and add the loss terms to `terms`."""
        yield "forward"
        with self.autocast():
            at_rest = math.ceil(REST_SHARE * len(batch.camera)) if self.config.losses.surface > 0 else 0
            output, deformation_at_rest = training_forward(self.model, batch, self.noise, at_rest)
        # The losses read images and truths together, so both get the same memory format.
        shown = {"refined": output.frame, "rendered": output.rendered[:, :3]}
        images = {name: one.to(torch.float32, memory_format=torch.contiguous_format) for name, one in shown.items()}
        size = output.rendered.shape[-1]
        truths = {"refined": batch.target, "rendered": resized(batch.target, size)}
        total = self._loss(batch, output, deformation_at_rest, images, truths, terms)
        if adversarial:
            total = total + self._adversarial_loss(images, batch.camera, terms)
        yield "backward"
        for parameter in self.trained_parameters():
            parameter.grad = None
        total.backward()
        if adversarial:
            yield "discriminators"
            fakes = {name: image.detach() for name, image in images.items()}
            self._discriminator_loss(truths, fakes, batch.camera, penalty, terms).backward()

    def _loss(
        self,
        batch: Batch,
        output: Output,
        deformation_at_rest: Tensor,
        images: dict[str, Tensor],
        truths: dict[str, Tensor],
        terms: Terms,
    ) -> Tensor:
        """Weighted sum of the loss terms but the adversarial one; adds the terms to `terms`."""
        weights, size = self.config.losses, output.rendered.shape[-1]
        # Where the target is no truth, it counts as met.
        trusted = {"refined": batch.trusted, "rendered": resized(batch.trusted, size)}
        images = {name: truths[name] + trusted[name] * (one - truths[name]) for name, one in images.items()}
        weight = batch.trusted * pixel_weights(batch.mask, batch.region, weights.head, weights.region)
        per_pixel = {"refined": weight, "rendered": resized(weight, size)}
        weighted: list[WeightedTerm] = []
        for name, image in images.items():
            weighted += image_terms(name, image, truths[name], per_pixel[name], weights, self.perceptual)
        if self.identity is not None:
            with self.autocast():
                identity = self.identity(images["refined"], truths["refined"])
            weighted.append(("identity", weights.identity, identity))
        refined, rendered = output.alpha.float(), output.rendered_alpha.float()
        mask = resized(batch.mask, size)
        weighted.append(("alpha_refined", weights.alpha, (batch.trusted * (refined - batch.mask).abs()).mean()))
        weighted.append(("alpha_rendered", weights.alpha, alpha_cross_entropy(rendered, mask, trusted["rendered"])))
        weighted.append(("deformation", weights.deformation, deformation_norm(output.deformation)))
        if weights.surface > 0:
            some = slice(len(deformation_at_rest))
            surface = surface_loss(
                *(output.deformation[some], batch.camera[some], batch.surface[some]),
                *(deformation_at_rest, batch.source_camera[some], batch.source_surface[some]),
                per_pixel["rendered"][some],
            )
            weighted.append(("surface", weights.surface, surface))
        if weights.place > 0:
            found = output.place.float(), rendered, batch.source_surface, per_pixel["rendered"]
            weighted.append(("place", weights.place, place_loss(*found)))
        if weights.still > 0:
            still = still_loss(output.deformation, batch.secc_canonical, batch.secc_driving)
            weighted.append(("still", weights.still, still))
        terms.update({name: value.detach() for name, _, value in weighted})
        return torch.stack([factor * value for _, factor, value in weighted]).sum()

    def _adversarial_loss(self, images: dict[str, Tensor], camera: Tensor, terms: Terms) -> Tensor:
        """Weighted adversarial loss of the generator; adds its terms to `terms`."""
        assert self.discriminators is not None
        with _frozen(self.discriminators.networks), self.autocast():
            logits = self.discriminators.logits(images, camera)
        values = {f"adversarial_{name}": generator_loss(logit) for name, logit in logits.items()}
        terms.update({name: value.detach() for name, value in values.items()})
        return self.config.losses.adversarial * torch.stack(list(values.values())).sum()

    def _discriminator_loss(
        self, reals: dict[str, Tensor], fakes: dict[str, Tensor], camera: Tensor, penalty: bool, terms: Terms
    ) -> Tensor:
        """Loss of the discriminators; adds its terms to `terms`. penalty: whether to add R1."""
        assert self.discriminators is not None
        config, networks = self.config, self.discriminators.networks
        with self.autocast():
            of_fakes = self.discriminators.logits(fakes, camera)
            of_reals = self.discriminators.logits(reals, camera)
        values = {f"discriminator_{name}": discriminator_loss(of_reals[name], of_fakes[name]) for name in networks}
        terms.update({name: value.detach() for name, value in values.items()})
        total = torch.stack(list(values.values())).sum()
        if penalty:
            for name, image in reals.items():
                # Lazy regularisation: computed every r1_interval steps, so multiplied by r1_interval.
                gamma = config.r1_weight * image.shape[-1] ** 2 / len(image) * config.r1_interval
                total = total + gamma * r1_penalty(networks[name], image, camera)  # type: ignore[arg-type]
        return total

    def _apply(self, optimizer: torch.optim.AdamW, network: nn.Module, clip: float, rate: float) -> Tensor:
        """Step an optimiser, unless the gradients are not finite; returns 1 if they are not, else 0, on the device."""
        parameters = list(network.parameters())
        self.processes.average_gradients(parameters)
        norm = clip_grad_norm_(parameters, clip, foreach=True)
        broken = (~torch.isfinite(norm)).float()
        # As GradScaler does: the fused optimiser skips the step on the device, without synchronising with the host.
        optimizer.grad_scale, optimizer.found_inf = None, broken  # type: ignore[attr-defined]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return broken


class _Recorder:
    """Runs each kind of step eagerly STEPS_BEFORE_RECORDING times, then records it as CUDA graphs and replays them."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._runs: dict[object, int] = {}
        self._recorded: dict[object, RecordedPhases] = {}
        self._stream = torch.cuda.Stream(trainer.processes.device)

    def run(self, phases: Phases, kind: object, batch: Batch, mark: Callable[[str], None]) -> Terms:
        """Run the phases on a batch. kind: of the step; steps of a kind share graphs. mark: see `run_phases`."""
        if kind in self._recorded:
            return self._recorded[kind](batch, mark)
        self._runs[kind] = self._runs.get(kind, 0) + 1
        if self._runs[kind] <= STEPS_BEFORE_RECORDING:
            # PyTorch requires that work has run on a side stream before it is captured.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                terms = run_phases(phases, batch, mark)
            torch.cuda.current_stream().wait_stream(self._stream)
            return terms
        trainer = self._trainer
        recorded = RecordedPhases(phases, batch, trainer.trained_parameters(), trainer.noise.generator)
        self._recorded[kind] = recorded
        return recorded(batch, mark)


def image_terms(
    name: str, image: Tensor, truth: Tensor, weight: Tensor, weights: LossWeights, perceptual: ImageLoss
) -> list[WeightedTerm]:
    """Loss terms of one image.

    name: "refined" or "rendered", in the terms' names.
    image, truth: [B, 3, H, W] float32 in [0, 1].
    weight: [B, 1, H, W], by pixel.
    weights: of the terms.
    perceptual: `structure_loss` or a network's.
    """
    arguments = image, truth, weight
    terms = [
        (f"mse_{name}", weights.mse, squared_error(*arguments)),
        (f"absolute_{name}", weights.absolute, absolute_error(*arguments)),
    ]
    bf16 = isinstance(perceptual, PerceptualLoss) and image.is_cuda
    with torch.autocast("cuda", torch.bfloat16) if bf16 else contextlib.nullcontext():
        terms.append((f"perceptual_{name}", weights.perceptual, perceptual(*arguments)))
    if name == "refined" and weights.sharpness > 0:
        terms.append((f"sharpness_{name}", weights.sharpness, sharpness_loss(*arguments)))
    return terms


def require_identity_or_none(weight: float, given: bool) -> None:
    """Raise `HideNerfError` if the identity loss has a weight but no network, or a network but no weight.

    weight: `LossWeights.identity`.
    given: whether there is a network.
    """
    if weight > 0 and not given:
        raise HideNerfError(
            f"Training config: the weight losses.identity is {weight:g}, but there is no network for that loss; "
            "give --identity FILE or set the weight to 0."
        )
    if given and weight == 0:
        raise HideNerfError(
            "--identity: the weight of that loss is 0; set losses.identity above 0 with --config, or drop the option."
        )


def named_networks(model: HideNerf, names: str) -> list[nn.Module]:
    """The networks that `TrainingConfig.networks` names; the whole model for "".

    Errors: the model has no such network.
    """
    chosen = []
    for name in (part.strip() for part in names.split(",")) if names else ("",):
        try:
            chosen.append(model.get_submodule(name))
        except AttributeError:
            known = ", ".join(child for child, _ in model.named_children())
            raise HideNerfError(
                f"Training config: networks names {name!r}, which the model has not; choose among {known}."
            ) from None
    return chosen


def update_ema(ema: nn.Module, network: nn.Module, config: TrainingConfig, step: int) -> None:
    """Update the EMA with the network's weights. step: from 0; the decay rises with it up to config.ema_decay."""
    update = get_ema_multi_avg_fn(min(config.ema_decay, (1 + step) / (10 + step)))
    update(list(ema.parameters()), list(network.parameters()), step)


@torch.no_grad()
def recalibrate(
    model: HideNerf,
    batches: Iterable[Batch],
    autocast: contextlib.AbstractContextManager[object],
    networks: str = "",
) -> None:
    """Recompute the running statistics of the trained networks' batch norms as plain means over batches.

    The EMA of the weights makes no forward passes in training, so it has no statistics of its own.
    model: the EMA.
    autocast: context of the forward passes.
    networks: see `TrainingConfig`.
    """
    with new_statistics(*named_networks(model, networks)):
        for batch in batches:
            with autocast:
                training_forward(model, batch, None)


@contextlib.contextmanager
def new_statistics(*networks: nn.Module) -> Iterator[None]:
    """Context in which forward passes recompute all batch norms' running statistics; ends in evaluation mode."""
    norms = [module for network in networks for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for network in networks:
        network.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for network in networks:
            network.eval()


def learning_rate_factor(config: TrainingConfig, progress: float) -> float:
    """Factor on the learning rate: a linear rise, then the schedule. progress: of the run, in [0, 1]."""
    rise = min(1.0, (progress + 1e-3) / config.warm_up) if config.warm_up > 0 else 1.0
    if config.schedule == "constant":
        return rise
    fall = 0.5 * (1.0 + math.cos(math.pi * progress))
    return rise * (config.final_share + (1.0 - config.final_share) * fall)


def optimizer_of(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on the weights of layers, not on biases and norms."""
    trained = list(parameters)
    weights = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, config.learning_rate, (0.9, 0.99), fused=True)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Context in which gradients pass through a network but are not computed for its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
