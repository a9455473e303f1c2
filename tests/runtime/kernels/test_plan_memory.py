"""Maps that live together do not overlap, and others may."""

from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.kernels.plan_memory import ALIGNMENT, Lifetime, lifetimes_of, place_maps
from tests.support.kernels.convolution_cases import CASES, prepare, prepare_concatenation

LIFETIMES = st.builds(
    lambda size, first, steps: Lifetime(size, first, first + steps),
    st.integers(1, 3000),
    st.integers(0, 8),
    st.integers(0, 4),
)


@given(st.lists(LIFETIMES, max_size=12))
def test_maps_of_one_time_do_not_overlap(lifetimes: list[Lifetime]) -> None:
    named = {str(index): one for index, one in enumerate(lifetimes)}
    offsets, size = place_maps(named)
    for name, one in named.items():
        assert offsets[name] % ALIGNMENT == 0
        assert offsets[name] + one.size <= size
        for other_name, other in named.items():
            if name != other_name and one.first <= other.last and other.first <= one.last:
                apart = offsets[name] + one.size <= offsets[other_name]
                assert apart or offsets[other_name] + other.size <= offsets[name]


def test_a_chain_needs_the_memory_of_two() -> None:
    chain = {str(step): Lifetime(1024, step, step + 1) for step in range(6)}
    assert place_maps(chain)[1] == 2048
    assert place_maps({}) == ({}, 0)


def test_a_map_lives_until_its_last_reader() -> None:
    plan = prepare(CASES["SPADE, enlarged"]).plan
    last = len(plan.steps) - 1
    found = lifetimes_of(plan)
    assert found["layer"] == found["second"] == (last, last)
    assert {found[name][1] for name in ("input 0", "sum 0", "gamma", "beta")} == {last}


def test_a_concatenation_lives_from_its_first_writer_to_its_last_reader() -> None:
    plan = prepare_concatenation().plan
    found = lifetimes_of(plan)
    assert found["all"] == (1, 5)
    assert found["alone"] == (2, 4)
    assert found.keys() == {"input", "alone", "all", "reader", "doubled"}
