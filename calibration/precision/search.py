"""Search for the layer groups that become INT8: greedy by loss per saved FLOP, within a quality budget."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hidenerf.calibration.precision.frame_loss import FrameLoss
from hidenerf.calibration.precision.groups import LayerGroup

logger = logging.getLogger(__name__)

SEARCH_STEPS = 10


@dataclass(frozen=True)
class Sensitivity:
    """The loss of one group alone in INT8.

    method, loss: the range method with the least loss. losses: of every method tried, by its name.
    """

    group: LayerGroup
    method: str
    loss: FrameLoss
    losses: Mapping[str, FrameLoss]


@dataclass(frozen=True)
class Step:
    """One step of the search.

    loss: with `added` besides the groups kept before. kept: whether that was within the budget.
    """

    added: tuple[LayerGroup, ...]
    loss: FrameLoss
    kept: bool


def sensitivity(group: LayerGroup, losses: Mapping[str, FrameLoss]) -> Sensitivity:
    """The sensitivity of a group from its losses by range method; of equal losses the first is taken."""
    best = min(losses, key=lambda method: losses[method].mean_square)
    return Sensitivity(group, best, losses[best], losses)


def greedy_order(sensitivities: Sequence[Sensitivity], weights: Mapping[str, float]) -> list[LayerGroup]:
    """The groups in ascending order of loss (mean square) per FLOP that INT8 saves in a frame.

    weights: graph → runs per frame.
    """

    def price(found: Sensitivity) -> tuple[float, float, str]:
        saved = found.group.flops * weights[found.group.graph]
        return found.loss.mean_square / saved, -saved, found.group.name

    return [found.group for found in sorted(sensitivities, key=price)]


def greedy_search(
    order: Sequence[LayerGroup],
    min_psnr: float,
    measure: Callable[[Sequence[LayerGroup]], FrameLoss],
) -> list[Step]:
    """Add the groups in this order, a few at a time, since measuring takes the time.

    If the few take the worst frame below `min_psnr` dB, each is tried alone, and left out if it does so too.

    order: see `greedy_order`. min_psnr: the budget in dB. measure: groups in INT8 → loss.
    """
    kept: list[LayerGroup] = []
    steps: list[Step] = []

    def attempt(added: tuple[LayerGroup, ...]) -> bool:
        loss = measure([*kept, *added])
        within = loss.worst >= min_psnr
        if within or len(added) == 1:
            steps.append(Step(added, loss, within))
            logger.info(
                "%.2f dB on the worst frame with %s added: %s",
                *(loss.worst, ", ".join(group.name for group in added), "kept" if within else "left in FP16"),
            )
        if within:
            kept.extend(added)
        return within

    size = math.ceil(len(order) / SEARCH_STEPS)
    for start in range(0, len(order), size or 1):
        few = tuple(order[start : start + size])
        if not attempt(few) and len(few) > 1:
            for group in few:
                attempt((group,))
    return steps


def take_back(
    kept: Sequence[LayerGroup], min_psnr: float, measure: Callable[[Sequence[LayerGroup]], FrameLoss]
) -> tuple[list[LayerGroup], FrameLoss]:
    """Drop groups from the end of `kept` until the loss is within the budget; the rest and its loss.

    The loss is outside the budget if that of no group at all is. min_psnr: the budget in dB. measure: groups in INT8 →
    loss.
    """
    remaining = list(kept)
    loss = measure(remaining)
    while loss.worst < min_psnr and remaining:
        remaining.pop()
        loss = measure(remaining)
    return remaining, loss
