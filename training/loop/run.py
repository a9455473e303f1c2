"""Training run: makes the trainer and the source of image pairs from options, and trains for one session."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from hidenerf.model.config import ModelConfig
from hidenerf.model.growth import fill_absent
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.files import require_writable_parent
from hidenerf.training.data.clips.augmentation import ChangedPairs
from hidenerf.training.data.clips.pairs import ClipPairs, read_clips, shown_pairs
from hidenerf.training.data.mixed_pairs import MixedPairs
from hidenerf.training.data.synthetic.pair_rendering import held_out_pairs
from hidenerf.training.data.synthetic.portrait_reading import read_portrait_skins
from hidenerf.training.data.synthetic.replay import PairReplay
from hidenerf.training.kernels.triton_use import triton_errors, without_triton
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.feature_losses import load_identity, load_perceptual
from hidenerf.training.loop.processes import joined_processes
from hidenerf.training.loop.session import STATE_FOLDER, SessionOptions, train
from hidenerf.training.loop.state import load_state
from hidenerf.training.loop.trainer import PairSource, Trainer, require_identity_or_none

# Rows of the sample picture.
SHOWN_PAIRS = 6


@dataclass(frozen=True)
class PairOptions:
    """Options of the source of image pairs.

    clips: folder of prepared clips; None for synthetic pairs alone.
    synthetic_share: share of synthetic pairs, with clips.
    workers: processes that make pairs, for each GPU; None takes the GPU's share of the cores.
    capacity: largest number of pairs kept on the GPU.
    warm_up: number of pairs to wait for before the first step.
    skins: folder of prepared stills whose skin some synthetic heads get.
    skin_share: share of synthetic heads that get such a skin.
    augment: whether to augment real pairs, see `ChangedPairs`.
    """

    clips: Path | None
    synthetic_share: float
    workers: int | None
    capacity: int
    warm_up: int
    skins: Path | None = None
    skin_share: float = 0.0
    augment: bool = False


def run_session(
    output: Path,
    model_config: ModelConfig,
    config: TrainingConfig,
    pair_options: PairOptions,
    session: SessionOptions,
    *,
    resume: Path | None,
    start: HideNerf | None,
    grown_from: HideNerf | None = None,
    perceptual: Path | None,
    identity: Path | None,
    device: str | None,
    triton: bool,
) -> None:
    """Train for one session, in all processes that torchrun started.

    output: folder of the run.
    resume: folder of a saved run to continue; None starts a new one.
    start: model with the initial weights; None takes random ones.
    grown_from: the model that `start` was grown from, if it has new parts.
    perceptual: file of the perceptual loss's network, see `load_perceptual`; None takes `structure_loss`.
    identity: file of the identity loss's network, see `load_identity`; None leaves the loss out.
    device: "cuda" or "cpu"; None takes a GPU if there is one.
    triton: whether to use our Triton kernels on a GPU.
    Errors: one of the identity loss's file and weight without the other, no clips, the output cannot be written, a run
    of another model, a Triton kernel does not run.
    """
    require_identity_or_none(config.losses.identity, identity is not None)
    prepared = None if pair_options.clips is None else read_clips(pair_options.clips, model_config)
    require_writable_parent(output / STATE_FOLDER)

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    with joined_processes(device) as processes, ExitStack() as stack:
        stack.enter_context(triton_errors("train with --no-triton") if triton else without_triton())
        trainer = Trainer(
            model_config,
            config,
            processes,
            None if perceptual is None else load_perceptual(perceptual),
            start,
            None if identity is None else load_identity(identity),
        )
        if resume is not None:
            load_state(trainer, resume)
        # Each session and each rank draws pairs of its own.
        seed = config.seed + trainer.step + (processes.rank << 32)
        workers = pair_options.workers
        if workers is None:
            workers = max(1, ((os.cpu_count() or 1) - 2) // processes.count)
        skins = None
        if pair_options.skins is not None:
            skins = read_portrait_skins(pair_options.skins, model_config, pair_options.skin_share, workers)
        share = pair_options.synthetic_share
        kinds = 2 if share > 0 else 1
        room = (processes.device, pair_options.capacity // kinds, -(-workers // kinds), seed)

        def opened(source: PairReplay | ClipPairs) -> PairSource:
            stack.enter_context(source)
            source.warm_up(pair_options.warm_up)
            return source

        if prepared is None:
            shown = held_out_pairs(model_config, processes.device, range(SHOWN_PAIRS))
            pairs = opened(PairReplay(model_config, *room, skins=skins))
        else:
            shown = shown_pairs(prepared, model_config, processes.device, SHOWN_PAIRS)
            pairs = opened(ClipPairs(prepared, model_config, *room))
            if pair_options.augment:
                pairs = ChangedPairs(pairs, seed)
            if share > 0:
                pairs = MixedPairs(pairs, opened(PairReplay(model_config, *room, skins=skins)), share, seed)
        if grown_from is not None:
            first = pairs.sample(config.batch_size)
            for whole in (trainer.model, trainer.ema):
                fill_absent(whole, grown_from.to(processes.device), first.source_image, first.source_mask)
        train(trainer, pairs, shown, output, session)
