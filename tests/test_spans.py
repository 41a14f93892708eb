"""Spans: the banded search equals brute force over every span."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.spans import ContextLogits, Span, best_spans
from tests.test_probabilities import row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Few values, so that equal scores are common; and all that float32 has short of overflow.
TIED = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])
WIDE = st.floats(-(2.0**100), 2.0**100, width=32)
OUTSIDE = st.sampled_from([0.0, 99.0, -99.0])


class Row(NamedTuple):
    """Logits of a window whose context is the tokens from `first` to `last`."""

    start: list[float]
    end: list[float]
    first: int
    last: int


def every_span(row: Row, max_answer_length: int) -> list[Span]:
    """All spans of a row in the order that is promised: score down, then start, then end."""
    spans = [
        Span(row.start[i] + row.end[j], i, j)
        for i in range(row.first, row.last + 1)
        for j in range(i, min(i + max_answer_length, row.last + 1))
    ]
    return sorted(spans, key=lambda span: (-span.score, span.first, span.last))


def search(rows: Sequence[Row], max_answer_length: int, n_best: int) -> list[list[Span]]:
    found = [row_of(0, row.start, row.end) for row in rows]
    placed = [
        logits._replace(window=replace(logits.window, first=row.first, last=row.last))
        for row, logits in zip(rows, found, strict=True)
    ]
    contexts = ContextLogits.of(placed, max_answer_length=max_answer_length)
    return [list(spans) for spans in best_spans(contexts, n_best=n_best)]


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
        rows.append(Row(start, end, first, last))
    return rows


@given(rows=batches(), max_answer_length=st.integers(1, 20), n_best=st.integers(1, 100))
def test_n_best_spans_equal_brute_force(rows: list[Row], max_answer_length: int, n_best: int) -> None:
    expected = [every_span(row, max_answer_length)[:n_best] for row in rows]
    assert search(rows, max_answer_length, n_best) == expected


def test_scores_are_added_in_double_precision() -> None:
    tiny = float(np.float32(2**-30))
    [[span]] = search([Row([1.0], [tiny], 0, 0)], 1, 1)
    assert span.score == 1.0 + tiny != 1.0


def test_an_answer_length_beyond_the_window_costs_no_memory() -> None:
    zeros = [0.0] * 6
    tracemalloc.start()
    try:
        assert search([Row(zeros, zeros, 0, 5)], 1 << 20, 2) == [[(0.0, 0, 0), (0.0, 0, 1)]]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
