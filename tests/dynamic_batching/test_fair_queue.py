"""FairQueue: who is served next, and with whom."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
import pytest
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


@pytest.mark.parametrize(
    ("requests", "budget", "expected"),
    [
        ([], BUDGET, []),
        ([[100]] * 6, 300, ["00 10 20", "30 40 50"]),  # equals are served in the order of their coming
        ([[100] * 7], 300, ["00 01 02", "03 04 05", "06"]),  # and windows in the order of the text
        ([[90], [100, 95], [92]], BUDGET, ["10 11 20 00"]),  # of many requests in a batch, the longest first
        ([[500], [500]], BUDGET, ["00", "10"]),  # one that is longer than the budget runs alone
        ([[50], [200], [48], [190, 190], [52]], BUDGET, ["40 00 20", "10 30", "31"]),  # like lengths, not padding
        # One that does not fit leaves room for those that do: with the 85, 50 tokens of padding; with the 30, 30.
        ([[60], [60], [85], [30]], BUDGET, ["00 10 30", "20"]),
        # Where the budget is short, those nearest in length go first.
        ([[100], [90], [99], [110], [101], [91]], BUDGET, ["40 00 20", "30 50 10"]),
    ],
)
def test_batches_are_filled_by_age_length_and_budget(
    requests: list[list[int]], budget: int, expected: list[str]
) -> None:
    """Each window is written as the digits of its request and its place there."""
    queue = queue_of(*requests, budget=budget)
    batches = iter(lambda: " ".join(f"{number}{index}" for number, index in take(queue)), "")
    assert list(batches) == expected
    assert (queue.windows, queue.tokens) == (0, 0)


def test_a_short_request_overtakes_a_long_one() -> None:
    queue = queue_of([100] * 50, budget=100)
    assert take(queue) == [(0, 0)]
    queue.add(1, windows(100))
    queue.add(2, windows(100, 100))
    assert [take(queue) for _ in range(4)] == [[(1, 0)], [(2, 0)], [(2, 1)], [(0, 1)]]


def test_the_oldest_leads_after_seven_budgets_without_it() -> None:
    queue = queue_of([100] * 9, budget=100)
    served = []
    for number in range(1, 20):  # each time one window runs, a new request of one window comes
        queue.add(number, windows(100))
        served += take(queue)
    assert [at for at, (number, _) in enumerate(served) if number == 0] == [PATIENCE, 2 * PATIENCE + 1]


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
