"""FairQueue: who is served next, and with whom."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.dynamic_batching.fair_queue import FairQueue
from qa_onnx.windows import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

BUDGET = 400
PADDING = 40
PATIENCE = 7
LENGTHS = st.lists(st.integers(3, 120), min_size=1, max_size=12)


def windows(*lengths: int) -> list[Window]:
    return [
        Window(
            example=0,
            context=None,  # type: ignore[arg-type]  # the queue reads lengths only
            token_offset=0,
            input_ids=np.zeros(length, np.int64),
            token_type_ids=np.zeros(length, np.int64),
            first=1,
            last=length - 2,
            cls=0,
        )
        for length in lengths
    ]


def queue_of(*requests: Sequence[int], budget: int = BUDGET) -> FairQueue:
    queue = FairQueue(budget, padding=PADDING)
    for number, lengths in enumerate(requests):
        queue.add(number, windows(*lengths))
    return queue


def take(queue: FairQueue) -> list[tuple[int, int]]:
    return [(place.number, place.index) for place in queue.take()]


def test_nothing_waits_at_first() -> None:
    queue = FairQueue(BUDGET, padding=PADDING)
    assert queue.take() == []
    assert (queue.windows, queue.tokens) == (0, 0)


def test_a_short_request_overtakes_a_long_one() -> None:
    queue = queue_of([100] * 50, budget=100)
    assert take(queue) == [(0, 0)]
    queue.add(1, windows(100))
    queue.add(2, windows(100, 100))
    assert [take(queue) for _ in range(4)] == [[(1, 0)], [(2, 0)], [(2, 1)], [(0, 1)]]


def test_equals_are_served_in_the_order_of_their_coming() -> None:
    queue = queue_of(*[[100]] * 9, budget=300)
    assert [take(queue) for _ in range(3)] == [[(n, 0), (n + 1, 0), (n + 2, 0)] for n in (0, 3, 6)]


def test_the_oldest_leads_after_seven_budgets_without_it() -> None:
    queue = queue_of([100] * 9, budget=100)
    served = []
    for number in range(1, 20):  # each time one window runs, a new request of one window comes
        queue.add(number, windows(100))
        served += take(queue)
    assert [at for at, (number, _) in enumerate(served) if number == 0] == [PATIENCE, 2 * PATIENCE + 1]


def test_windows_of_one_request_run_in_the_order_of_the_text() -> None:
    queue = queue_of([100] * 7, budget=300)
    assert [take(queue) for _ in range(3)] == [[(0, 0), (0, 1), (0, 2)], [(0, 3), (0, 4), (0, 5)], [(0, 6)]]


def test_windows_of_many_requests_share_a_batch_longest_first() -> None:
    queue = queue_of([90], [100, 95], [92])
    assert take(queue) == [(1, 0), (1, 1), (2, 0), (0, 0)]


def test_a_window_longer_than_the_budget_runs_alone() -> None:
    queue = queue_of([500], [500])
    assert [take(queue) for _ in range(3)] == [[(0, 0)], [(1, 0)], []]


def test_a_batch_is_of_like_lengths_rather_than_padded() -> None:
    queue = queue_of([50], [200], [48], [190, 190], [52])
    assert sorted(take(queue)) == [(0, 0), (2, 0), (4, 0)]
    assert take(queue) == [(1, 0), (3, 0)]


def test_one_that_does_not_fit_leaves_room_for_those_that_do() -> None:
    queue = queue_of([60], [60], [85], [30])  # with the 85, 50 tokens of padding; with the 30, 30
    assert sorted(take(queue)) == [(0, 0), (1, 0), (3, 0)]


def test_the_nearest_in_length_are_preferred_when_the_budget_is_short() -> None:
    queue = queue_of([100], [90], [99], [110], [101], [91])
    assert sorted(take(queue)) == [(0, 0), (2, 0), (4, 0)]


def test_what_is_discarded_does_not_run() -> None:
    queue = queue_of([100, 100], [100])
    queue.discard(0)
    queue.discard(7)
    assert (queue.windows, queue.tokens) == (1, 100)
    assert take(queue) == [(1, 0)]
    assert take(queue) == []


@settings(deadline=None)
@given(
    moves=st.lists(st.one_of(LENGTHS, st.just("take"), st.integers(0, 30)), max_size=60),
    budget=st.integers(1, 1000),
    padding=st.integers(0, 100),
)
def test_every_window_runs_once_or_is_discarded(
    moves: list[list[int] | str | int], budget: int, padding: int
) -> None:
    queue = FairQueue(budget, padding=padding)
    waiting: dict[int, set[int]] = {}
    sizes: dict[int, list[int]] = {}

    def check_a_batch() -> None:
        batch = queue.take()
        assert bool(batch) is bool(waiting)
        for place in batch:
            assert place.tokens == len(place.window.input_ids) == sizes[place.number][place.index]
            waiting[place.number].remove(place.index)
            if not waiting[place.number]:
                del waiting[place.number]
        lengths = [place.tokens for place in batch]
        assert lengths == sorted(lengths, reverse=True)
        if len(batch) > 1:
            assert lengths[0] * len(batch) <= min(budget, sum(lengths) + padding)
        left = [sizes[number][index] for number, indices in waiting.items() for index in indices]
        assert (queue.windows, queue.tokens) == (len(left), sum(left))

    for move in moves:
        if move == "take":
            check_a_batch()
        elif isinstance(move, int):
            queue.discard(move)
            waiting.pop(move, None)
        elif isinstance(move, list):
            number = len(sizes)
            sizes[number] = move
            waiting[number] = set(range(len(move)))
            queue.add(number, windows(*move))
    while waiting:
        check_a_batch()
    assert queue.take() == []


@settings(deadline=None, max_examples=25)
@given(
    old=LENGTHS,
    news=st.lists(st.lists(st.integers(30, 120), min_size=1, max_size=12), min_size=1, max_size=9),
    budget=st.integers(120, 250),
)
def test_nobody_waits_for_ever(old: list[int], news: list[list[int]], budget: int) -> None:
    """With one request more at each batch, the oldest still has one batch in each 7 budgets of tokens."""
    queue = queue_of(old, budget=budget)
    left = len(old)
    without = 0
    for number, lengths in enumerate(islice(cycle(news), 1000), 1):
        queue.add(number, windows(*lengths))
        batch = queue.take()
        without += batch[0].tokens * len(batch)
        served = sum(place.number == 0 for place in batch)
        left -= served
        without = 0 if served else without
        if not left:
            return
        assert without < (PATIENCE + 1) * budget
    raise AssertionError(f"{left} windows never ran")
