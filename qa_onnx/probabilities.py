"""Logits -> the sum over all spans that turns a score into a probability, exactly, in NumPy.

The probability of an answer is its share among all that the model could have answered, as a softmax has it, at the
temperature T of the bundle's calibration:

    probability = exp(score / T) / (span sum + exp(null score / T)),    span sum = the sum of exp((S_i + E_j) / T)

over every span (i, j) of the context; the null score is that of "no answer". Since exp(S_i + E_j) is
exp(S_i) exp(E_j), the spans that start at token i add up to exp(S_i) times the sum of exp(E_j) over the D ends
that i can have. That is a sliding-window sum, with one exponential for each token and not for each span.

Before exp, the highest start logit and the highest end logit are subtracted, so that nothing overflows, and added
again after log: sums are returned as logarithms. They are taken in float64. Left out: which answers are listed
(answers.py).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike

    from qa_onnx.spans import Logits, Scores, WindowLogits

_UNDERFLOW = 1e-250  # sums below it have lost terms


class _ContextPart(NamedTuple):
    """The context tokens of one window: index of the first one, and float32 (L,) logits."""

    offset: int
    start: Logits
    end: Logits


def log_sum_of_context(rows: Sequence[WindowLogits], *, max_answer_length: int, temperature: float = 1.0) -> float:
    """Return the logarithm of the sum of exp(score / temperature) over all distinct spans of one context.

    A span that several windows show counts once, with its highest score.

    Args:
        rows: the windows of the context, in the order of the text.
        max_answer_length: most tokens that a span may have.
        temperature: divides scores.

    Returns:
        The logarithm; -inf when there is no span at all.
    """
    parts = []
    for window, start, end in rows:
        if window.first <= window.last:
            context = slice(window.first, window.last + 1)
            parts.append(_ContextPart(window.token_offset, start[context], end[context]))
    if not parts:
        return -math.inf
    highest_start = max([float(part.start.max()) for part in parts])
    highest_end = max([float(part.end.max()) for part in parts])
    width = min(max_answer_length, max([len(part.end) for part in parts]))
    shares = [
        (_exp(part.start, highest_start, temperature), _exp(part.end, highest_end, temperature)) for part in parts
    ]
    offsets = [part.offset for part in parts]
    if len(parts) == 1:  # no span counts twice, so each start takes the sum of its ends
        [(starts, ends)] = shares
        total = float(starts @ np.convolve(ends, _ones(width))[width - 1 :])
    else:
        total = _sum_distinct(offsets, (_band(*part, width, np.multiply, 0.0) for part in shares))
    if total > _UNDERFLOW:
        return (highest_start + highest_end) / temperature + math.log(total)
    # No span holds both the best start and the best end, and exp underflows: scale by the best span instead.

    def scores() -> Iterator[Scores]:
        for part in parts:
            start, end = (side.astype(np.float64) / temperature for side in (part.start, part.end))
            yield _band(start, end, width, np.add, -np.inf)

    highest = max(float(band.max()) for band in scores())
    return highest + math.log(_sum_distinct(offsets, (np.exp(band - highest) for band in scores())))


def log_overlap_sum(
    rows: Sequence[WindowLogits],
    taken: tuple[int, int],
    gap: tuple[int, int] | None = None,
    *,
    max_answer_length: int,
    temperature: float = 1.0,
) -> float:
    """Return the logarithm of the sum of exp(score / temperature) over the distinct spans at one place.

    Args:
        rows: see `log_sum_of_context`.
        taken: first and last token of the place; the spans have at least one of its tokens.
        gap: first and last token that they may have; it holds the place. None: all of the context.
        max_answer_length: most tokens that a span may have.
        temperature: divides scores.

    Returns:
        The logarithm; -inf where no window shows such a span.
    """
    first, last = taken
    longest = min(max_answer_length, max(len(row.window.input_ids) for row in rows))
    low, high = max(0, first - longest + 1), last + longest - 1
    if gap is not None:
        low, high = max(low, gap[0]), min(high, gap[1])
    scores = np.full((last - low + 1, high - first + 1), -np.inf)  # of spans by start and end
    for window, start, end in rows:
        shift = window.first - window.token_offset  # index in the context -> position in the window
        starts = slice(max(low, window.token_offset), min(last, window.last - shift) + 1)
        ends = slice(max(first, window.token_offset), min(high, window.last - shift) + 1)
        if starts.start < starts.stop and ends.start < ends.stop:
            part = scores[starts.start - low : starts.stop - low, ends.start - first : ends.stop - first]
            own = np.add(
                start[starts.start + shift : starts.stop + shift, None],
                end[ends.start + shift : ends.stop + shift],
                dtype=np.float64,
            )
            np.maximum(part, own, out=part)
    scores += _allowed(first - low, *scores.shape, longest)
    highest = float(scores.max())
    if highest == -math.inf:
        return -math.inf
    scores -= highest
    scores /= temperature
    return highest / temperature + math.log(np.exp(scores, out=scores).sum())


@lru_cache(maxsize=128)
def _allowed(offset: int, starts: int, ends: int, longest: int) -> Scores:
    """Return 0 for spans of 1 to `longest` tokens and -inf for others: float64 (starts, ends).

    Args:
        offset: tokens from the first start to the first end.
        starts: how many starts.
        ends: how many ends.
        longest: tokens of a span.
    """
    tokens = offset + 1 + np.arange(ends) - np.arange(starts)[:, None]
    return np.where((tokens >= 1) & (tokens <= longest), 0.0, -np.inf)


@lru_cache(maxsize=8)
def _ones(count: int) -> Scores:
    return np.ones(count)


def _exp(logits: Logits, highest: float, temperature: float) -> Scores:
    """Return exp((logits - highest) / temperature) in float64."""
    scaled: Scores = np.subtract(logits, highest, dtype=np.float64)
    scaled /= temperature
    return np.exp(scaled, out=scaled)


def _band(start: Scores, end: Scores, width: int, combine: np.ufunc, nothing: float) -> Scores:
    """Return a value for each span of a window: float64 (L, width), row i the spans that start at token i.

    `combine` makes it of a start value and an end value; `nothing` is the end value of tokens beyond the window.
    """
    padded = np.concatenate((end, np.full(width - 1, nothing)))
    # Row i of this view is padded[i : i + width]; `sliding_window_view` makes the same one in five times the time.
    view = np.ndarray((len(end), width), padded.dtype, padded, strides=(padded.itemsize, padded.itemsize))
    return np.asarray(combine(start[:, None], view))


def _sum_distinct(offsets: Sequence[int], bands: Iterable[Scores]) -> float:
    """Add up the values of all spans; one that two windows show counts once, with the larger value.

    Rows before the first token of the next window are final. The others wait, to be compared with that window's.
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


def share(log_part: ArrayLike, null_score: ArrayLike, log_total: ArrayLike, *, temperature: float) -> Scores:
    """Return the share of some spans among all spans of their context and "no answer"; arguments broadcast.

    Rounding of large scores can make the exponent positive, and the result much more than 1; such a one is 1.

    Args:
        log_part: logarithm of the sum of exp(score / temperature) over these spans.
        null_score: of "no answer".
        log_total: that of all spans of the context, at the same temperature.
        temperature: divides scores before the softmax.
    """
    exponent = np.asarray(log_part) - np.logaddexp(log_total, np.asarray(null_score) / temperature)
    return np.asarray(np.exp(np.minimum(exponent, 0.0)))
