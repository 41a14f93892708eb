"""Logits -> n-best token spans, exactly, in pure NumPy.

The span of the BERT paper (Devlin et al. 2018, section 4.2) is the (i, j), i <= j, of the context with the
highest S_i + E_j. With at most D tokens an answer, i <= j < i + D.

The best end for a start i is the maximum of E over the D tokens from i on, so a sliding-window maximum finds
the best span of every start at once, without the T x T matrix of all sums. The n best spans start at the n
best starts: each of these alone gives a span at least as good as any span that starts elsewhere.

Sums are taken in float64, where the sum of two float32 logits is exact but for extreme ranges; equal scores
are ordered by start, then by end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

Logits: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.int64]

Values = TypeVar("Values", Logits, Scores)


class SpanTable(NamedTuple):
    """The n best spans of B windows, best first.

    Attributes:
        scores: float64 (B, n), start logit + end logit; -inf where a window has fewer than n spans.
        starts: int64 (B, n), position in the window of the first token.
        ends: int64 (B, n), position of the last token, inclusive.
    """

    scores: Scores
    starts: Positions
    ends: Positions

    def rows(self) -> list[tuple[tuple[float, int, int], ...]]:
        """The spans of each window, as many as there are, each (score, start, end)."""
        return [
            tuple(span for span in zip(*row, strict=True) if span[0] > -math.inf)
            for row in zip(*(column.tolist() for column in self), strict=True)
        ]


def require_finite(*logits: Logits) -> None:
    """Refuse logits that no span can be found in.

    Args:
        logits: float32 (T,) each, without those of padding, which may be anything.

    Raises:
        EngineError: one is infinite or not a number.
    """
    if not np.isfinite(np.concatenate(logits)).all():
        raise EngineError(
            "the graph returned logits that are infinite or not a number: its precision overflows on this "
            "text; use a bundle of another precision, such as fp32"
        )


def best_spans(
    start_logits: Sequence[Logits] | Logits,
    end_logits: Sequence[Logits] | Logits,
    first: Positions,
    last: Positions,
    *,
    max_answer_length: int,
    n_best: int,
) -> SpanTable:
    """Find the n best spans of each of B windows.

    Args:
        start_logits: float32 (T,) of each window, finite in the context; T may differ.
        end_logits: likewise.
        first: int64 (B,), position of each window's first context token.
        last: int64 (B,), position of the last one, inclusive; `first - 1` for an empty context.
        max_answer_length: most tokens a span may have, D.
        n_best: n.
    """
    rows, length = len(first), longest_context(first, last)
    width = min(max_answer_length, length)
    start, end = in_context(start_logits, end_logits, first, last, length=length, width=width)

    best_of_start = np.add(start, _sliding_max(end, width), dtype=np.float64)
    # Ascending, so that the flat order of the candidates below is by start, then by end.
    row = np.arange(rows)[:, None]
    starts = np.sort(_largest(best_of_start, n_best), axis=1)
    ends = starts[:, :, None] + np.arange(width)
    scores = np.add(start[row, starts][:, :, None], end[row[:, :, None], ends], dtype=np.float64)

    flat = scores.reshape(rows, -1)
    chosen = _largest(flat, n_best)
    in_window = first[:, None]
    return SpanTable(
        flat[row, chosen],
        starts[row, chosen // width] + in_window,
        ends.reshape(rows, -1)[row, chosen] + in_window,
    )


def longest_context(first: Positions, last: Positions) -> int:
    """Tokens of the longest context, L; 1 where all are empty."""
    return int((last - first).max()) + 1 or 1


def in_context(
    start_logits: Sequence[Values] | Values,
    end_logits: Sequence[Values] | Values,
    first: Positions,
    last: Positions,
    *,
    length: int,
    width: int,
) -> tuple[Values, Values]:
    """The contexts alone, (B, L) and (B, L + width - 1), with -inf beyond: every start has `width` ends."""
    start = np.full((len(first), length), -np.inf, start_logits[0].dtype)
    end = np.full((len(first), length + width - 1), -np.inf, end_logits[0].dtype)
    for row, (here, after) in enumerate(zip(first.tolist(), (last + 1).tolist(), strict=True)):
        start[row, : after - here] = start_logits[row][here:after]
        end[row, : after - here] = end_logits[row][here:after]
    return start, end


def _largest(values: Scores, count: int) -> Positions:
    """Columns of the `count` largest values of each row, largest first; equal ones from left to right."""
    if count == 1:
        return np.asarray(values.argmax(axis=1)[:, None])
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def _sliding_max(values: Logits, width: int) -> Logits:
    """Maximum of values[:, i : i + width] for every i, in log2(width) passes: each doubles the reach."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values = np.maximum(values[:, :-step], values[:, step:])
        reach += step
    return values
