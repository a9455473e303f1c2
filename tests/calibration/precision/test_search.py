"""The search on losses that add up by hand: the mean square is the sum of the groups' own."""

import math
from collections.abc import Sequence

import pytest

from hidenerf.calibration.precision.frame_loss import FrameLoss
from hidenerf.calibration.precision.groups import LayerGroup
from hidenerf.calibration.precision.search import Sensitivity, greedy_order, greedy_search, sensitivity, take_back
from tests.support.convolutions import layer

SQUARES = {"a": 0.1, "b": 0.4, "c": 5.0, "d": 0.2}
GROUPS = {name: LayerGroup("led", name, (layer(name, size),)) for name, size in zip("abcd", (1, 4, 10, 1), strict=True)}
PER_FRAME = {"led": 1.0, "source_encoder": 0.01}


def loss_of(square: float) -> FrameLoss:
    decibels = math.inf if square == 0.0 else 10.0 * math.log10(255.0**2 / square)
    return FrameLoss(decibels, decibels, square)


def measure(groups: Sequence[LayerGroup]) -> FrameLoss:
    return loss_of(sum(SQUARES[group.module] for group in groups))


def test_a_group_takes_the_method_that_loses_least_and_of_equals_the_first() -> None:
    losses = {"max": loss_of(2.0), "percentile": loss_of(1.0), "entropy": loss_of(1.0)}
    assert sensitivity(GROUPS["a"], losses).method == "percentile"
    assert sensitivity(GROUPS["a"], losses).loss == losses["percentile"]


def sensitivities() -> list[Sensitivity]:
    return [sensitivity(group, {"max": measure([group])}) for group in GROUPS.values()]


def test_the_order_is_by_loss_per_saved_flop() -> None:
    # Per FLOP (2, 32, 200, 2): a 0.05, b 0.0125, c 0.025, d 0.1.
    assert [group.module for group in greedy_order(sensitivities(), PER_FRAME)] == ["b", "c", "a", "d"]


def test_a_graph_that_runs_once_per_source_saves_less() -> None:
    encoder = LayerGroup("source_encoder", "e", (layer("e", 4),))
    found = [*sensitivities(), sensitivity(encoder, {"max": loss_of(0.4)})]
    assert [group.module for group in greedy_order(found, PER_FRAME)] == ["b", "c", "a", "d", "e"]


@pytest.mark.parametrize(
    ("allowed", "kept"), [(6.0, "bcad"), (5.5, "bca"), (1.0, "bad"), (0.45, "b"), (0.35, "ad"), (0.05, "")]
)
def test_groups_are_added_while_the_budget_holds(allowed: float, kept: str) -> None:
    order = greedy_order(sensitivities(), PER_FRAME)
    steps = greedy_search(order, loss_of(allowed).worst, measure)
    assert [group.module for step in steps if step.kept for group in step.added] == list(kept)
    assert sorted(group.module for step in steps for group in step.added) == list("abcd")


def test_many_groups_are_added_a_few_at_a_time_and_one_by_one_where_the_few_are_too_many() -> None:
    groups = [LayerGroup("led", str(i), (layer(str(i)),)) for i in range(20)]
    measured: list[int] = []

    def count(chosen: Sequence[LayerGroup]) -> FrameLoss:
        measured.append(len(chosen))
        return loss_of(100.0 if any(group.module == "7" for group in chosen) else 0.01)

    steps = greedy_search(groups, 40.0, count)
    assert [len(step.added) for step in steps] == [2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2]
    assert [step.added[0].module for step in steps if not step.kept] == ["7"]
    assert len(measured) == 12


def test_taking_back_ends_as_soon_as_the_whole_holds() -> None:
    order = [GROUPS[name] for name in "bad"]
    kept, loss = take_back(order, loss_of(0.55).worst, measure)
    assert [group.module for group in kept] == ["b", "a"]
    assert loss.mean_square == pytest.approx(0.5)
    assert take_back(order, 100.0, measure)[0] == []
