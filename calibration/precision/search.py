"""Which layer groups go INT8: greedily by loss per saved FLOP, under a budget of quality."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hidenerf.calibration.precision.frame_loss import FrameLoss
from hidenerf.calibration.precision.groups import LayerGroup

SEARCH_STEPS = 10


@dataclass(frozen=True)
class Sensitivity:
    """What one group alone loses in INT8, with the range method that loses least of those tried, by name."""

    group: LayerGroup
    method: str
    loss: FrameLoss
    losses: Mapping[str, FrameLoss]


@dataclass(frozen=True)
class Step:
    """The frames with `added` on top of what was kept before, and whether they were within the budget."""

    added: tuple[LayerGroup, ...]
    loss: FrameLoss
    kept: bool


def sensitivity(group: LayerGroup, losses: Mapping[str, FrameLoss]) -> Sensitivity:
    """A group's losses by range method; of methods that lose the same the first is taken."""
    best = min(losses, key=lambda method: losses[method].mean_square)
    return Sensitivity(group, best, losses[best], losses)


def greedy_order(sensitivities: Sequence[Sensitivity], weights: Mapping[str, float]) -> list[LayerGroup]:
    """The groups by loss (mean square) per FLOP that INT8 takes from a frame. weights: graph → runs per frame."""

    def price(found: Sensitivity) -> tuple[float, float, str]:
        saved = found.group.flops * weights[found.group.graph]
        return found.loss.mean_square / saved, -saved, found.group.name

    return [found.group for found in sorted(sensitivities, key=price)]


def greedy_search(
    order: Sequence[LayerGroup],
    min_psnr: float,
    measure: Callable[[Sequence[LayerGroup]], FrameLoss],
    report: Callable[[Step], None],
) -> list[Step]:
    """Add the groups in this order, a few at a time: measuring is what takes time.

    A few that take the worst frame below `min_psnr` dB are tried one by one, and those that do are left out.
    """
    kept: list[LayerGroup] = []
    steps: list[Step] = []

    def attempt(added: tuple[LayerGroup, ...]) -> bool:
        loss = measure([*kept, *added])
        within = loss.worst >= min_psnr
        if within or len(added) == 1:
            steps.append(Step(added, loss, within))
            report(steps[-1])
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
    """The longest beginning of `kept` whose frames, measured as a whole, are within the budget; and their loss.

    The loss is below the budget where not even the empty one is.
    """
    remaining = list(kept)
    loss = measure(remaining)
    while loss.worst < min_psnr and remaining:
        remaining.pop()
        loss = measure(remaining)
    return remaining, loss
