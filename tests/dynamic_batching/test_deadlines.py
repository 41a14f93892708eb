"""Deadlines: each due once, in order, and nothing kept of those that left."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.dynamic_batching.deadlines import Deadlines


def test_the_earliest_is_next_and_equals_keep_their_order() -> None:
    deadlines = Deadlines()
    assert deadlines.next() == math.inf
    for number, at in enumerate([3.0, 1.0, math.inf, 2.0, 1.0]):
        deadlines.add(number, at)
    found = []
    while deadlines.next() < math.inf:
        found.append((deadlines.next(), deadlines.pop()))
    assert found == [(1.0, 1), (1.0, 4), (2.0, 3), (3.0, 0)]


def test_a_request_that_left_is_not_due() -> None:
    deadlines = Deadlines()
    deadlines.add(1, 1.0)
    deadlines.add(2, 2.0)
    deadlines.drop(1)
    deadlines.drop(7)
    assert deadlines.next() == 2.0
    assert deadlines.pop() == 2


def test_what_left_does_not_pile_up() -> None:
    deadlines = Deadlines()
    for number in range(5000):
        deadlines.add(number, 1e9 + number)
        deadlines.drop(number)
    assert len(deadlines) < 1100


@settings(deadline=None)
@given(
    moves=st.lists(
        st.one_of(st.floats(0, 9), st.just(math.inf), st.integers(0, 40).map(lambda number: (number,))),
        max_size=60,
    )
)
def test_all_that_stay_are_due_once(moves: list[float | tuple[int]]) -> None:
    deadlines = Deadlines()
    expected: dict[int, float] = {}
    for number, move in enumerate(moves):
        if isinstance(move, tuple):
            deadlines.drop(move[0])
            expected.pop(move[0], None)
        else:
            deadlines.add(number, move)
            expected[number] = move
    due = []
    while (at := deadlines.next()) < math.inf:
        due.append((at, deadlines.pop()))
    assert due == sorted((at, number) for number, at in expected.items() if at < math.inf)
