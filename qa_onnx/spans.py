"""Logits -> the n best token spans of each window, exactly, in NumPy.

A model gives two numbers for each token: S_i, how well an answer would start at token i, and E_j, how well one
would end at token j. The score of the span from i to j is S_i + E_j (Devlin et al. 2018, "BERT", section 4.2). A
span lies in the context, does not end before it starts, and has at most D tokens: i <= j < i + D.

A context of L tokens has about L x D spans, and none of them needs to be looked at one by one:

1. The best end for a start i is the maximum of E over the D tokens from i on. A sliding-window maximum finds it
   for all starts at once, and with it the score of the best span of each start.
2. The n best spans start at the n best of these starts: before a span that starts elsewhere come n spans
   that are at least as good, the best one of each of these starts. So only n x D spans are compared.

Scores are added in float64, where the sum of two float32 logits cannot overflow, and is exact except for extreme
ranges. Equal scores are ordered by start, then by end. Left out: probabilities (probabilities.py), and what a span
reads (answers.py).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx.windows import Window

Logits: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.int64]


class WindowLogits(NamedTuple):
    """A window and what the model gave for it.

    Attributes:
        window: T tokens: question, context and special tokens.
        start: float32 (T,) or longer, S; what lies beyond T belongs to padding.
        end: float32, E, likewise.
    """

    window: Window
    start: Logits
    end: Logits

    def without_padding(self) -> WindowLogits:
        """Return the window with the logits of its own T tokens."""
        length = len(self.window.input_ids)
        return WindowLogits(self.window, self.start[:length], self.end[:length])


def cut_at_blocks(row: WindowLogits) -> tuple[WindowLogits, ...]:
    """Return a window as narrower ones, each of which shows one block of the context; see tokens/blocks.py."""
    window, blocks = row.window, row.window.context.blocks
    begin, stop = window.token_offset, window.token_offset + window.last + 1 - window.first
    inside = blocks[bisect_right(blocks, begin) : bisect_left(blocks, stop)]
    if not inside:
        return (row,)
    shift = window.first - begin  # index in the context -> position in the window
    return tuple(
        row._replace(window=replace(window, token_offset=first, first=first + shift, last=next_first + shift - 1))
        for first, next_first in pairwise((begin, *inside, stop))
    )


class ContextLogits(NamedTuple):
    """The logits of the context tokens of B windows, without question, special tokens and padding.

    Attributes:
        first: int64 (B,), position of the first context token in its window.
        start: float32 (B, L); L is the length of the longest context, and a shorter one is filled up with -inf.
        end: float32 (B, L + D - 1), filled up in the same way, so that every start has D ends.
    """

    first: Positions
    start: Logits
    end: Logits

    @classmethod
    def of(cls, rows: Sequence[WindowLogits], *, max_answer_length: int) -> ContextLogits:
        """Copy the contexts out of the logits of B windows.

        Args:
            rows: the windows, at least one; T may differ. Their logits are finite: `Steps.run` checks that.
            max_answer_length: most tokens of a span.
        """
        bounds = [(row.window.first, row.window.last + 1) for row in rows]
        length = max(1, *(stop - begin for begin, stop in bounds))  # 1 where all contexts are empty
        width = min(max_answer_length, length)
        start = np.full((len(rows), length), -np.inf, np.float32)
        end = np.full((len(rows), length + width - 1), -np.inf, np.float32)
        for index, (row, (begin, stop)) in enumerate(zip(rows, bounds, strict=True)):
            start[index, : stop - begin] = row.start[begin:stop]
            end[index, : stop - begin] = row.end[begin:stop]
        return cls(np.array([begin for begin, _ in bounds]), start, end)

    @property
    def width(self) -> int:
        """Most tokens that a span can have, D."""
        return int(self.end.shape[1] - self.start.shape[1] + 1)


class Span(NamedTuple):
    """The tokens of a possible answer.

    Attributes:
        score: start logit + end logit.
        first: index of the first token, in its window or in the context.
        last: index of the last token, inclusive.
    """

    score: float
    first: int
    last: int


class ScoredWindow(NamedTuple):
    """A window that has run and was searched.

    Attributes:
        logits: the window and its logits.
        pieces: the same, cut where blocks of the text begin, in their order; see `cut_at_blocks`.
        best: float64 (L,), the score of the best span that starts at each token of the context; empty where
            answers may overlap.
        spans: its best spans, best first, in positions of the window; empty where answers may not overlap.
    """

    logits: WindowLogits
    pieces: tuple[WindowLogits, ...]
    best: Scores
    spans: tuple[Span, ...]

    @property
    def window(self) -> Window:
        """The window that was searched."""
        return self.logits.window


def best_of_starts(contexts: ContextLogits) -> Scores:
    """Return the score of the best span that starts at each context token: float64 (B, L), filled up with -inf."""
    return np.add(contexts.start, _sliding_max(contexts.end, contexts.width), dtype=np.float64)


def best_spans(contexts: ContextLogits, *, n_best: int) -> list[tuple[Span, ...]]:
    """Find the n best spans of each of B windows, or all that it has, best first, in positions of the window."""
    first, start, end = contexts
    width = contexts.width
    row = np.arange(len(first))[:, None]
    starts = np.sort(_largest(best_of_starts(contexts), n_best), axis=1)  # (B, n); by position, to order ties
    ends = starts[:, :, None] + np.arange(width)  # (B, n, D): all ends of the best starts
    scores = np.add(start[row, starts][:, :, None], end[row[:, :, None], ends], dtype=np.float64)

    flat = scores.reshape(len(first), -1)
    chosen = _largest(flat, n_best)
    columns = (
        flat[row, chosen],
        starts[row, chosen // width] + first[:, None],
        ends.reshape(len(first), -1)[row, chosen] + first[:, None],
    )
    return [
        tuple(span for span in map(Span._make, zip(*row, strict=True)) if span.score > -math.inf)
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def best_of(found: Iterable[tuple[Span, ...]], n_best: int) -> tuple[Span, ...]:
    """Return the n best spans of several lists, best first."""
    spans = sorted(chain.from_iterable(found), key=lambda span: (-span.score, span.first, span.last))
    return tuple(spans[:n_best])


def _largest(values: Scores, count: int) -> Positions:
    """Return the columns of the `count` largest values of each row, largest first; ties from left to right."""
    if count == 1:
        return np.asarray(values.argmax(axis=1)[:, None])
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def _sliding_max(values: Logits, width: int) -> Logits:
    """Return the maximum of values[:, i : i + width] for every i.

    Maxima of 2 neighbours give those of 4, these those of 8, and so on: log2(width) passes over the row.
    """
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values = np.maximum(values[:, :-step], values[:, step:])
        reach += step
    return values
