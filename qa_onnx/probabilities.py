"""Logits -> the sum over all spans that makes a score a probability, exactly, in pure NumPy.

An answer's probability is exp(its score) divided by the sum of exp(score) over every span of the context, as a
softmax has it. Since exp(S_i + E_j) = exp(S_i) exp(E_j), the sum over the spans that start at i is exp(S_i) times
a sliding-window sum of exp(E), so no span is looked at by itself.

Sums are taken in float64 and returned as logarithms, which neither overflow nor vanish.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qa_onnx.spans import in_context, longest_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx.spans import Positions, Scores, Values

_UNDERFLOW = 1e-250  # sums below it have lost terms
# Terms are added in an order that does not depend on the longest context, so that not even the last bit of a sum
# depends on what else was asked. Hence so many ends are in reach at least, those beyond L weightless; only where L
# and answers are longer may the last bit change.
_REACH = 512


def log_sum_exp_windows(
    start_logits: Sequence[Values] | Values,
    end_logits: Sequence[Values] | Values,
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
    length = longest_context(first, last)
    width = min(max_answer_length, max(length, _REACH))
    start, end = in_context(start_logits, end_logits, first, last, length=length, width=width)
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
