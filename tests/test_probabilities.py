"""The sum over all spans: equal to brute force, whatever overlaps, however far the logits lie apart."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Window
from qa_onnx.probabilities import log_sum_of_context
from qa_onnx.spans import WindowLogits

if TYPE_CHECKING:
    from collections.abc import Sequence


def row_of(offset: int, start: Sequence[float], end: Sequence[float]) -> WindowLogits:
    """A window that shows nothing but so many tokens of a context."""
    ids = np.zeros(len(start), np.int64)
    window = Window(
        example=0,
        context=None,  # type: ignore[arg-type]  # not read
        token_offset=offset,
        input_ids=ids,
        token_type_ids=ids,
        first=0,
        last=len(ids) - 1,
        cls=0,
    )
    return WindowLogits(window, np.array(start, np.float32), np.array(end, np.float32))


def rows_of(start: Sequence[float], end: Sequence[float], offsets: Sequence[int], room: int) -> list[WindowLogits]:
    return [row_of(at, start[at : at + room], end[at : at + room]) for at in offsets]


def brute_force(rows: Sequence[WindowLogits], max_answer_length: int, temperature: float = 1.0) -> float:
    best: dict[tuple[int, int], float] = {}
    for row in rows:
        for i, start in enumerate(row.start.tolist()):
            for j, end in enumerate(row.end[i : i + max_answer_length].tolist(), start=i):
                span, score = (i + row.window.token_offset, j + row.window.token_offset), start + end
                best[span] = max(score / temperature, best.get(span, score / temperature))
    if not best:
        return -math.inf
    highest = max(best.values())
    return highest + math.log(math.fsum(math.exp(score - highest) for score in best.values()))


@st.composite
def overlapping_windows(draw: st.DrawFn) -> list[WindowLogits]:
    """Windows as a long text is cut, each with logits of its own."""
    tokens, room = draw(st.integers(0, 14)), draw(st.integers(1, 8))
    doc_stride = draw(st.integers(0, room - 1))
    reach = draw(st.sampled_from([1.0, 10.0, 80.0, 1000.0]))
    value = st.floats(-reach, reach, width=32)
    rows = []
    for at in range(0, max(1, tokens - doc_stride), room - doc_stride):
        length = min(room, tokens - at)
        start, end = (draw(st.lists(value, min_size=length, max_size=length)) for _ in range(2))
        rows.append(row_of(at, start, end))
    return rows


@given(
    rows=overlapping_windows(),
    max_answer_length=st.integers(1, 20),
    temperature=st.sampled_from([1.0, 0.3, 4.0]),
)
def test_each_distinct_span_counts_once_with_its_best_score(
    rows: list[WindowLogits], max_answer_length: int, temperature: float
) -> None:
    expected = brute_force(rows, max_answer_length, temperature)
    found = log_sum_of_context(rows, max_answer_length=max_answer_length, temperature=temperature)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("far", [80.0, 370.0, 400.0, 900.0, 1e5])
@pytest.mark.parametrize("offsets", [(0,), (0, 2, 4)])
def test_best_start_after_best_end_does_not_underflow(far: float, offsets: tuple[int, ...]) -> None:
    # Every start with the highest logit comes after every end with the highest: no span has both.
    start = [-far, -far + 1, -far, 0.0, -far, far, far, far]
    end = [far, far, far - 2, 0.5, -far, -far, -far, -far + 3]
    rows = rows_of(start, end, offsets, 8 if len(offsets) == 1 else 4)
    assert log_sum_of_context(rows, max_answer_length=3) == pytest.approx(brute_force(rows, 3), rel=1e-12)


def test_small_terms_beside_large_ones_keep_their_share() -> None:
    # After a huge end logit has left the reach of a start, the ends that are left still count in full.
    rows = [row_of(0, [-700.0, 0.0, 700.0], [0.0, 0.0, -690.0])]
    found = log_sum_of_context(rows, max_answer_length=1)
    assert found == pytest.approx(math.log(math.exp(10) + 1 + math.exp(-700)), rel=1e-12)


@pytest.mark.parametrize("rows", [[], [row_of(0, [], [])]])
def test_the_sum_over_no_span_is_nothing(rows: list[WindowLogits]) -> None:
    assert log_sum_of_context(rows, max_answer_length=5) == -math.inf


def test_an_answer_length_beyond_the_window_costs_no_memory() -> None:
    rows = rows_of([0.0] * 6, [0.0] * 6, (0, 2), 4)
    tracemalloc.start()
    try:
        found = log_sum_of_context(rows, max_answer_length=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(brute_force(rows, 6))
