"""Spans: the banded search equals brute force over every span."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.spans import ContextLogits, best_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

Span: TypeAlias = "tuple[float, int, int]"
Row: TypeAlias = "tuple[list[float], list[float], int, int]"

# Few values, so that equal scores are common; and all that float32 has short of overflow.
TIED = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])
WIDE = st.floats(-(2.0**100), 2.0**100, width=32)
OUTSIDE = st.sampled_from([0.0, 99.0, -99.0, math.inf, -math.inf, math.nan])


def every_span(row: Row, max_answer_length: int) -> list[Span]:
    """All spans of a row in the order that is promised: score down, then start, then end."""
    start, end, first, last = row
    spans = [
        (start[i] + end[j], i, j)
        for i in range(first, last + 1)
        for j in range(i, min(i + max_answer_length, last + 1))
    ]
    return sorted(spans, key=lambda span: (-span[0], *span[1:]))


def search(rows: Sequence[Row], max_answer_length: int, n_best: int) -> list[list[Span]]:
    starts, ends, first, last = zip(*rows, strict=True)
    contexts = ContextLogits.of(
        np.array(starts, np.float32),
        np.array(ends, np.float32),
        np.array(first, np.int64),
        np.array(last, np.int64),
        max_answer_length=max_answer_length,
    )
    table = best_spans(contexts, n_best=n_best)
    assert table.scores.dtype == np.float64
    return [list(spans) for spans in table.rows()]


@st.composite
def batches(draw: st.DrawFn) -> list[Row]:
    """Rows of one length whose contexts begin and end anywhere, or nowhere; what is outside must not count."""
    length = draw(st.integers(1, 12))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, length))
        last = draw(st.integers(first - 1, length - 1))
        value = draw(st.sampled_from([TIED, WIDE]))
        start, end = ([draw(value if first <= at <= last else OUTSIDE) for at in range(length)] for _ in range(2))
        rows.append((start, end, first, last))
    return rows


@given(rows=batches(), max_answer_length=st.integers(1, 20), n_best=st.integers(1, 100))
def test_n_best_spans_equal_brute_force(rows: list[Row], max_answer_length: int, n_best: int) -> None:
    expected = [every_span(row, max_answer_length)[:n_best] for row in rows]
    assert search(rows, max_answer_length, n_best) == expected


def test_equal_scores_are_ordered_by_start_then_by_end() -> None:
    zeros = [0.0] * 4
    assert search([(zeros, zeros, 1, 3)], 2, 5) == [
        [(0.0, 1, 1), (0.0, 1, 2), (0.0, 2, 2), (0.0, 2, 3), (0.0, 3, 3)]
    ]


def test_a_batch_gives_each_row_what_it_gives_alone() -> None:
    random = np.random.default_rng(1)
    rows: list[Row] = [
        (random.normal(size=30).tolist(), random.normal(size=30).tolist(), first, last)
        for first, last in ((4, 28), (9, 8), (2, 2), (0, 29))
    ]
    together = search(rows, 7, 9)
    assert together == [search([row], 7, 9)[0] for row in rows]
    assert [len(found) for found in together] == [9, 0, 1, 9]


@pytest.mark.parametrize(("first", "last"), [(3, 2), (0, -1), (5, 4)])
def test_an_empty_context_has_no_span(first: int, last: int) -> None:
    ones = [1.0] * 5
    assert search([(ones, ones, first, last)], 3, 4) == [[]]


def test_more_spans_than_there_are_gives_all_of_them() -> None:
    values = [1.0, 3.0, 2.0]
    row: Row = (values, values, 0, 2)
    assert search([row], 99, 1000) == [every_span(row, 99)]
    assert len(every_span(row, 99)) == 6


def test_scores_are_added_in_double_precision() -> None:
    tiny = float(np.float32(2**-30))
    [[(score, _, _)]] = search([([1.0], [tiny], 0, 0)], 1, 1)
    assert score == 1.0 + tiny != 1.0


def test_an_answer_length_beyond_the_window_costs_no_memory() -> None:
    zeros = [0.0] * 6
    tracemalloc.start()
    try:
        assert search([(zeros, zeros, 0, 5)], 1 << 20, 2) == [[(0.0, 0, 0), (0.0, 0, 1)]]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
