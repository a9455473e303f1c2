"""Memory of maps that live only during some steps of a launch plan: maps that never live together share it."""

from collections.abc import Mapping
from dataclasses import dataclass

from hidenerf.runtime.launch_plan import LaunchPlan, reads_and_writes

# Device memory's own alignment.
ALIGNMENT = 256


@dataclass(frozen=True)
class Lifetime:
    """A map's bytes, the step that writes it, and the last step that reads it."""

    size: int
    first: int
    last: int


def place_maps(lifetimes: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets of maps in one block of memory, and the block's size; the largest map is placed first."""
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[str, int] = {}
    for name, one in sorted(lifetimes.items(), key=lambda item: (-item[1].size, item[0])):
        offset = 0
        for begin, end, other in sorted(placed, key=lambda entry: entry[0]):
            if one.first <= other.last and other.first <= one.last and begin < offset + one.size and offset < end:
                offset = end
        offsets[name] = offset
        placed.append((offset, offset + -(-one.size // ALIGNMENT) * ALIGNMENT, one))
    return offsets, max((end for _, end, _ in placed), default=0)


def lifetimes_of(plan: LaunchPlan) -> dict[str, tuple[int, int]]:
    """Of every map with memory of its own, the first step that writes it and the last that reads it."""
    found: dict[str, tuple[int, int]] = {}
    for index, step in enumerate(plan.steps):
        for names in reads_and_writes(step):
            for name in map(plan.whole, names):
                found[name] = (found.get(name, (index, index))[0], index)
    return found
