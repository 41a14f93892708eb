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
    from collections.abc import Iterable, Sequence

Logits: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.int64]

_Values = TypeVar("_Values", Logits, Scores)

_UNDERFLOW = 1e-250  # sums below it have lost terms
# Terms are added in an order that does not depend on the longest context, so that not even the last bit of a sum
# depends on what else was asked. Hence so many ends are in reach at least, those beyond L weightless; only where L
# and answers are longer may the last bit change.
_REACH = 512


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
    rows, length = len(first), _longest(first, last)
    width = min(max_answer_length, length)
    start, end = _in_context(start_logits, end_logits, first, last, length=length, width=width)

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


def _longest(first: Positions, last: Positions) -> int:
    """Tokens of the longest context, L; 1 where all are empty."""
    return int((last - first).max()) + 1 or 1


def _in_context(
    start_logits: Sequence[_Values] | _Values,
    end_logits: Sequence[_Values] | _Values,
    first: Positions,
    last: Positions,
    *,
    length: int,
    width: int,
) -> tuple[_Values, _Values]:
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


def log_sum_exp_windows(
    start_logits: Sequence[_Values] | _Values,
    end_logits: Sequence[_Values] | _Values,
    first: Positions,
    last: Positions,
    *,
    max_answer_length: int,
    temperature: float = 1.0,
) -> Scores:
    """Log of the sum of exp(score / temperature) over all spans of each of B windows, by itself.

    The sum over i of exp(S_i) x (the sum of exp(E_j) in i's reach), without the T x D matrix of all scores.

    Args:
        start_logits: see `best_spans`; float64 are welcome.
        end_logits: likewise.
        first: likewise.
        last: likewise.
        max_answer_length: likewise.
        temperature: divides scores.

    Returns:
        float64 (B,); -inf where there is no span, and where best start and best end lie so far apart that all
        spans are as nothing beside their sum: `log_sum_exp_spans` scales by the best span instead.
    """
    length = _longest(first, last)
    width = min(max_answer_length, max(length, _REACH))
    start, end = _in_context(start_logits, end_logits, first, last, length=length, width=width)
    lowest = np.finfo(np.float32).min  # not -inf, where there is no span
    highest_start = start.max(axis=1, initial=lowest).astype(np.float64)
    highest_end = end.max(axis=1, initial=lowest).astype(np.float64)
    starts = np.exp((start - highest_start[:, None]) / temperature)
    ends = np.exp((end - highest_end[:, None]) / temperature)
    total = np.cumsum(starts * _sliding_sum(ends, width), axis=1)[:, -1]  # one after the other: see _REACH
    logarithm = (highest_start + highest_end) / temperature + np.log(np.maximum(total, _UNDERFLOW))
    return np.where(total > _UNDERFLOW, logarithm, -np.inf)


def _sliding_sum(values: Scores, width: int) -> Scores:
    """Sum of values[:, i : i + width] for every i, of sums of 1, 2, 4, ... values, each of two of the ones before.

    Not of differences of running totals, which would lose the small values.
    """
    count = values.shape[1] - width + 1
    total, done, reach = np.zeros((len(values), count)), 0, 1
    while True:
        if width & reach:
            total += values[:, done : done + count]
            done += reach
        if done == width:
            return total
        values = values[:, :-reach] + values[:, reach:]
        reach *= 2


class Piece(NamedTuple):
    """The context part of one window's logits, divided by the temperature.

    Attributes:
        token_offset: index, in the context's tokens, of the first one.
        start: float64 (L,).
        end: float64 (L,).
    """

    token_offset: int
    start: Scores
    end: Scores


def log_sum_exp_spans(pieces: Sequence[Piece], *, max_answer_length: int) -> float:
    """Log of the sum of exp(score) over all distinct spans of all windows of one context.

    This is the denominator of the answers' probabilities. A span that two windows show counts once, with the
    higher of its two scores.

    Args:
        pieces: one for each window, in the order of the text, overlapping as the windows do.
        max_answer_length: most tokens a span may have.

    Returns:
        The logarithm; -inf when there is no span at all.
    """
    pieces = [piece for piece in pieces if len(piece.start)]
    if not pieces:
        return float("-inf")
    width = min(max_answer_length, max(len(piece.end) for piece in pieces))
    if len(pieces) == 1:
        [piece] = pieces
        context = np.array([0]), np.array([len(piece.start) - 1])
        [total] = log_sum_exp_windows(piece.start[None], piece.end[None], *context, max_answer_length=width)
        if np.isfinite(total):
            return float(total)
    return _log_sum_many(pieces, width)


def _log_sum_many(pieces: Sequence[Piece], width: int) -> float:
    """The sum over overlapping windows, of products exp(S_i) exp(E_j): an exponential a token, not one a span."""
    highest_start = max(float(piece.start.max()) for piece in pieces)
    highest_end = max(float(piece.end.max()) for piece in pieces)
    offsets = [piece.token_offset for piece in pieces]
    products = (
        _band(np.exp(piece.start - highest_start), np.exp(piece.end - highest_end), width, np.multiply, 0.0)
        for piece in pieces
    )
    total = _sum_distinct(offsets, products)
    if total > _UNDERFLOW:
        return highest_start + highest_end + math.log(total)
    # Best start and best end lie so far apart that the products vanish: scale by the best span instead.
    scale = max(float(_scores(piece, width).max()) for piece in pieces)
    return scale + math.log(_sum_distinct(offsets, (np.exp(_scores(piece, width) - scale) for piece in pieces)))


def _scores(piece: Piece, width: int) -> Scores:
    return _band(piece.start, piece.end, width, np.add, -np.inf)


def _band(start: Scores, end: Scores, width: int, combine: np.ufunc, nothing: float) -> Scores:
    """A value for each span of a window: float64 (L, width), row i the spans that start at token i.

    Args:
        start: float64 (L,).
        end: float64 (L,).
        width: most tokens a span may have.
        combine: makes a span's value of its start's and its end's.
        nothing: the value of an end that is past the window.
    """
    padded = np.concatenate((end, np.full(width - 1, nothing)))
    one = padded.itemsize  # so row i of the view is padded[i : i + width]
    reach = np.ndarray((len(end), width), padded.dtype, padded, strides=(one, one))
    return np.asarray(combine(start[:, None], reach))


def _sum_distinct(offsets: Sequence[int], bands: Iterable[Scores]) -> float:
    """The sum of the values of all spans, the larger one of a span that two windows show.

    Rows before the next window's first token are final; the others wait for that window's view of them.
    """
    total = 0.0
    waiting: Scores | None = None
    for offset, next_offset, band in zip(offsets, [*offsets[1:], None], bands, strict=True):
        if waiting is not None:
            shared = band[: len(waiting)]
            np.maximum(shared, waiting, out=shared)
        final = len(band) if next_offset is None else next_offset - offset
        total += float(band[:final].sum())
        waiting = band[final:]
    return total
