import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidenerf.runtime.streaming import prefetch


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.integers()), max_size=40), st.integers(1, 5))
def test_every_item_in_order(items: list[int | None], depth: int) -> None:
    with prefetch(items, depth) as ahead:
        assert list(ahead) == items


def test_runs_ahead_but_no_further_than_depth() -> None:
    started = []

    def count() -> Iterator[int]:
        for index in range(100):
            started.append(index)
            yield index

    with prefetch(count(), depth=3) as ahead:
        assert next(ahead) == 0
        deadline = time.monotonic() + 60
        while len(started) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.15)
        # One taken, three waiting, one made that waits for room.
        assert started == [0, 1, 2, 3, 4]


def test_works_in_another_thread_while_the_consumer_works() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for index, event in enumerate(made):
            event.set()
            yield index

    with prefetch(items()) as ahead:
        for index in ahead:
            # The consumer has not asked for the next item yet.
            assert index == 4 or made[index + 1].wait(60)


def test_error_is_raised_where_items_are_consumed_after_those_before_it() -> None:
    def fails() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("third")

    got = []

    def consume() -> None:
        with prefetch(fails()) as ahead:
            for item in ahead:
                got.append(item)

    with pytest.raises(ZeroDivisionError, match="third"):
        consume()
    assert got == [1, 2]


def test_keyboard_interrupt_passes_through() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), prefetch(fails()) as ahead:
        list(ahead)


class Endless:
    """Yields for ever, and says when it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> "Endless":
        return self

    def __next__(self) -> int:
        return 1

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("drop_oldest", [False, True])
def test_leaving_early_stops_the_thread_and_closes_the_source(drop_oldest: bool) -> None:
    threads = threading.active_count()
    source = Endless()
    with prefetch(source, depth=2, drop_oldest=drop_oldest) as ahead:
        assert next(ahead) == 1
    assert source.closed.is_set()
    assert threading.active_count() == threads


def test_error_in_the_block_also_stops_the_thread() -> None:
    threads = threading.active_count()
    source = Endless()
    with pytest.raises(ZeroDivisionError), prefetch(source):
        raise ZeroDivisionError
    assert source.closed.is_set()
    assert threading.active_count() == threads


def test_source_is_closed_when_it_ends_by_itself() -> None:
    closed = threading.Event()

    def three() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            closed.set()

    with prefetch(three()) as ahead:
        assert list(ahead) == [0, 1, 2]
    assert closed.is_set()


def test_live_input_loses_its_oldest_and_keeps_its_newest() -> None:
    done = threading.Event()

    def live() -> Iterator[int]:
        yield from range(20)
        done.set()

    with prefetch(live(), depth=1, drop_oldest=True) as ahead:
        first = next(ahead)
        assert done.wait(60)
        rest = list(ahead)
    assert [first, *rest][-1] == 19
    assert len(rest) <= 1


def test_live_input_hands_over_the_newest_of_a_deeper_queue() -> None:
    done = threading.Event()

    def live() -> Iterator[int]:
        yield from range(10)
        done.set()

    with prefetch(live(), depth=3, drop_oldest=True) as ahead:
        assert done.wait(60)
        got = list(ahead)
    assert got == sorted(got)
    assert got[-1] == 9
    assert len(got) <= 4


def test_live_input_never_waits_for_the_consumer() -> None:
    """A camera whose pictures are not taken fills its own buffer, and lags."""
    done = threading.Event()

    def live() -> Iterator[int]:
        yield from range(20)
        done.set()

    with prefetch(live(), depth=1, drop_oldest=True):
        assert done.wait(60)
