"""The sum over all spans: equal to brute force, whatever overlaps, however far the logits lie apart."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.probabilities import Piece, log_sum_exp_spans, log_sum_exp_windows

if TYPE_CHECKING:
    from collections.abc import Sequence


def pieces_of(start: Sequence[float], end: Sequence[float], offsets: Sequence[int], room: int) -> list[Piece]:
    return [
        Piece(at, np.array(start[at : at + room], np.float64), np.array(end[at : at + room], np.float64))
        for at in offsets
    ]


def log_sum_exp_by_brute_force(pieces: Sequence[Piece], max_answer_length: int) -> float:
    best: dict[tuple[int, int], float] = {}
    for piece in pieces:
        for i, start in enumerate(piece.start.tolist()):
            for j, end in enumerate(piece.end[i : i + max_answer_length].tolist(), start=i):
                span = (i + piece.token_offset, j + piece.token_offset)
                best[span] = max(start + end, best.get(span, start + end))
    if not best:
        return -math.inf
    highest = max(best.values())
    return highest + math.log(math.fsum(math.exp(score - highest) for score in best.values()))


@st.composite
def overlapping_windows(draw: st.DrawFn) -> list[Piece]:
    """Windows as a long text is cut, each with logits of its own."""
    tokens, room = draw(st.integers(0, 14)), draw(st.integers(1, 8))
    doc_stride = draw(st.integers(0, room - 1))
    reach = draw(st.sampled_from([1.0, 10.0, 80.0, 1000.0]))
    value = st.floats(-reach, reach)
    pieces = []
    for at in range(0, max(1, tokens - doc_stride), room - doc_stride):
        length = min(room, tokens - at)
        start, end = (draw(st.lists(value, min_size=length, max_size=length)) for _ in range(2))
        pieces.append(Piece(at, np.array(start, np.float64), np.array(end, np.float64)))
    return pieces


@given(pieces=overlapping_windows(), max_answer_length=st.integers(1, 20))
def test_log_sum_exp_counts_each_distinct_span_once_with_its_best_score(
    pieces: list[Piece], max_answer_length: int
) -> None:
    expected = log_sum_exp_by_brute_force(pieces, max_answer_length)
    found = log_sum_exp_spans(pieces, max_answer_length=max_answer_length)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("max_answer_length", [1, 2, 3, 4, 5, 7, 8, 11, 30])
@pytest.mark.parametrize(
    ("offsets", "room"),
    [((0,), 10), ((0, 5), 5), ((0, 3, 6), 4), ((0, 2, 4), 6), ((0, 1, 2, 3), 7)],
    ids=["one window", "no overlap", "overlap", "three share tokens", "four share tokens"],
)
def test_with_all_logits_zero_the_sum_is_the_number_of_spans(
    offsets: tuple[int, ...], room: int, max_answer_length: int
) -> None:
    pieces = pieces_of([0.0] * 10, [0.0] * 10, offsets, room)
    distinct = {
        (i, j)
        for at in offsets
        for i in range(at, at + room)
        for j in range(i, min(i + max_answer_length, at + room))
    }
    total = math.exp(log_sum_exp_spans(pieces, max_answer_length=max_answer_length))
    assert total == pytest.approx(len(distinct), rel=1e-12)


@pytest.mark.parametrize("far", [80.0, 370.0, 400.0, 900.0, 1e5])
@pytest.mark.parametrize("offsets", [(0,), (0, 2, 4)])
def test_best_start_after_best_end_does_not_underflow(far: float, offsets: tuple[int, ...]) -> None:
    # Every start with the highest logit comes after every end with the highest: no span has both.
    start = [-far, -far + 1, -far, 0.0, -far, far, far, far]
    end = [far, far, far - 2, 0.5, -far, -far, -far, -far + 3]
    pieces = pieces_of(start, end, offsets, 8 if len(offsets) == 1 else 4)
    found = log_sum_exp_spans(pieces, max_answer_length=3)
    assert found == pytest.approx(log_sum_exp_by_brute_force(pieces, 3), rel=1e-12)


def test_small_terms_beside_large_ones_keep_their_share() -> None:
    # After a huge end logit has left the reach of a start, the ends that are left still count in full.
    start, end = [-700.0, 0.0, 700.0], [0.0, 0.0, -690.0]
    pieces = pieces_of(start, end, (0,), 3)
    found = log_sum_exp_spans(pieces, max_answer_length=1)
    assert found == pytest.approx(math.log(math.exp(10) + 1 + math.exp(-700)), rel=1e-12)


@pytest.mark.parametrize("pieces", [[], [Piece(0, np.empty(0), np.empty(0))]])
def test_the_sum_over_no_span_is_nothing(pieces: list[Piece]) -> None:
    assert log_sum_exp_spans(pieces, max_answer_length=5) == -math.inf


def test_an_answer_length_beyond_the_window_costs_no_memory() -> None:
    zeros = [0.0] * 6
    pieces = pieces_of(zeros, zeros, (0, 2), 4)
    tracemalloc.start()
    try:
        found = log_sum_exp_spans(pieces, max_answer_length=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(log_sum_exp_by_brute_force(pieces, 6))


@pytest.mark.parametrize("max_answer_length", [1, 7, 30, 100])
def test_no_bit_of_the_sum_depends_on_what_else_is_in_the_batch(max_answer_length: int) -> None:
    random = np.random.default_rng(0)
    rows, length = 40, 90
    start, end = (6 * random.normal(size=(2, rows, length))).astype(np.float32)
    last = random.integers(0, length, rows)
    first = np.minimum(random.integers(0, 20, rows), last)
    together = log_sum_exp_windows(start, end, first, last, max_answer_length=max_answer_length)
    for row in range(rows):
        part = slice(row, row + 1)
        tokens = slice(0, last[row] + 1)
        alone = log_sum_exp_windows(
            start[part, tokens], end[part, tokens], first[part], last[part], max_answer_length=max_answer_length
        )
        assert alone[0] == together[row]


def test_the_sums_of_a_batch_are_those_of_each_window() -> None:
    random = np.random.default_rng(0)
    start, end = (9 * random.normal(size=(2, 5, 30))).astype(np.float32)
    start[4], end[4] = -700, -700
    start[4, 29], end[4, 2] = 700, 700  # far apart, the wrong way round
    first, last = np.array([3, 7, 0, 12, 2]), np.array([28, 7, 29, 11, 29])
    found = log_sum_exp_windows(start, end, first, last, max_answer_length=6, temperature=1.7)
    for row in range(3):
        inside = slice(first[row], last[row] + 1)
        piece = Piece(0, *(logits[row, inside].astype(np.float64) / 1.7 for logits in (start, end)))
        assert found[row] == pytest.approx(log_sum_exp_by_brute_force([piece], 6), rel=1e-12)
    assert found[3] == -math.inf  # no span
    none = np.zeros((1, 3)), np.zeros((1, 3)), np.array([3]), np.array([2])
    assert log_sum_exp_windows(*none, max_answer_length=2) == -math.inf
    assert found[4] == -math.inf  # none that this way can add up
    piece = Piece(0, start[4, 2:].astype(np.float64) / 1.7, end[4, 2:].astype(np.float64) / 1.7)
    assert log_sum_exp_spans([piece], max_answer_length=6) == pytest.approx(
        log_sum_exp_by_brute_force([piece], 6), rel=1e-12
    )
