"""Searched windows of a context -> its answers in characters, best first: distinct ones, or spans that overlap.

Spans that overlap are forms of one answer: "1912", "in 1912", "1912 in Paris". The best span of all is the first
answer, and its group takes every span that shares a token with it. The best of the spans that are left is the
second answer, and so on; after the first one, punctuation alone is none. So no two answers overlap, each span
belongs to one group at most, and the shares of all groups and of "no answer" add up to 1 at most.

Only the score of the best span of each start has to be known to find them. Where its end is taken by a better
group, a shorter one is.

An answer is widened to whole words and letters; then the group takes all spans that share one of their tokens too.
With the option `overlapping` each span is an answer of its own, where it does not read as a better one does. Left
out: how windows are searched, and probabilities (answers.py).
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect, insort
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qa_onnx.probabilities import log_overlap_sum
from qa_onnx.spans import ContextLogits, Span, best_of, best_spans
from qa_onnx.tokens.boundaries import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.options import Options
    from qa_onnx.spans import ScoredWindow, Scores, WindowLogits
    from qa_onnx.tokens.encoding import EncodedContext

# Most spans of one example that are looked at and are no answers, and most that are searched for overlapping ones.
# They bound the work on long texts of little but blanks; others never reach them.
_MOST_REFUSED = 10_000
_SEARCH_LIMIT = 1 << 18


class Group(NamedTuple):
    """A distinct answer: its best span, and the weight of all of its spans.

    Attributes:
        span: the best one, in tokens of the context.
        tokens: first and last token, inclusive, of the context that it takes, those of widened words included.
        start: index of the first character of the answer.
        end: index after its last character.
        log_sum: logarithm of the sum of exp(score / temperature) over all spans of the group.
    """

    span: Span
    tokens: tuple[int, int]
    start: int
    end: int
    log_sum: float


class _Taken(NamedTuple):
    """What a group has taken of the context: tokens, both inclusive, and characters, half-open."""

    first: int
    last: int
    start: int
    end: int


@dataclass(slots=True)
class _GroupFinder:
    """Finds the groups of one context.

    Args:
        rows: the windows of the context, cut at its blocks, in the order of the text.
        best_of_start: float64 (N,), the score of the best span that starts at each token of the context. It is
            changed: a score may be too high after a span was refused, and is corrected when it is the highest.
        options: `max_answer_length` and `align_to_words` are read.
        temperature: divides scores before exp.
    """

    rows: Sequence[WindowLogits]
    best_of_start: Scores
    options: Options
    temperature: float
    _taken: list[_Taken] = field(default_factory=list)
    _refused: dict[int, list[int]] = field(default_factory=dict)  # last tokens of spans by their first

    def find(self) -> Iterator[Group]:
        """Yield the groups, best first; equal scores are ordered by start, then by end."""
        best_of_start, context, refused = self.best_of_start, self.rows[0].window.context, 0
        while len(best_of_start):
            first = int(best_of_start.argmax())
            if best_of_start[first] == -math.inf:
                return
            low, high = self._gap(first)
            span = self._best_span(first, high)
            if span.score < best_of_start[first]:  # out of date, since a better one was refused
                best_of_start[first] = span.score
                continue
            start, end = whole(
                context.text, *context.characters(*span[1:]), align_to_words=self.options.align_to_words
            )
            if not self._may_answer(first, start, end):
                if (refused := refused + 1) == _MOST_REFUSED:
                    return
                self._refused.setdefault(first, []).append(span.last)
                continue
            taken = _Taken(*_tokens(context, span, (low, high), (start, end)), start, end)
            insort(self._taken, taken)
            weight = log_overlap_sum(
                self.rows,
                taken[:2],
                (low, high),
                max_answer_length=self.options.max_answer_length,
                temperature=self.temperature,
            )
            yield Group(span, taken[:2], start, end, weight)
            best_of_start[taken.first : taken.last + 1] = -math.inf
            self._end_before(low, taken.first)

    def _gap(self, first: int) -> tuple[int, int]:
        """Return the tokens around one that is not taken, up to the next ones that are; both inclusive."""
        at = bisect(self._taken, (first,))
        low = self._taken[at - 1].last + 1 if at else 0
        high = self._taken[at].first - 1 if at < len(self._taken) else len(self.best_of_start) - 1
        return low, high

    def _end_before(self, low: int, stop: int) -> None:
        """Let the spans that start at the tokens from `low` on end before the token `stop`, which is taken."""
        low = max(low, stop - self.options.max_answer_length + 1)  # spans that start before it end anyhow
        scores = np.full(max(0, stop - low), -np.inf)
        for window, start, end in self.rows:
            shift = window.first - window.token_offset  # index in the context -> position in the window
            part = slice(max(low, window.token_offset) + shift, min(stop + shift, window.last + 1))
            if part.start < part.stop:
                highest_end = np.maximum.accumulate(end[part][::-1])[::-1]
                own = scores[part.start - shift - low : part.stop - shift - low]
                np.maximum(own, np.add(start[part], highest_end, dtype=np.float64), out=own)
        np.minimum(self.best_of_start[low:stop], scores, out=self.best_of_start[low:stop])

    def _best_span(self, first: int, high: int) -> Span:
        """Return the best span that starts at a token and ends at `high` at the latest; score -inf: none."""
        best, length = -math.inf, 0
        for window, start, end in self.rows:
            at = first + window.first - window.token_offset  # its position in the window
            stop = min(window.last, at + high - first, at + self.options.max_answer_length - 1)
            if not window.first <= at <= stop:
                continue
            scores = np.add(start[at], end[at : stop + 1], dtype=np.float64)
            refused = [last - first for last in self._refused.get(first, ()) if last - first < len(scores)]
            scores[refused] = -math.inf
            shortest = int(scores.argmax())
            if (scores[shortest], -shortest) > (best, -length):
                best, length = float(scores[shortest]), shortest
        return Span(best, first, first + length)

    def _may_answer(self, first: int, start: int, end: int) -> bool:
        """Whether characters can be an answer: not blank, of no group, and punctuation alone only as the best."""
        at = bisect(self._taken, (first,))
        if any(start < other.end and other.start < end for other in self._taken[max(0, at - 1) : at + 1]):
            return False
        characters = self.rows[0].window.context.text[start:end]
        return bool(characters) and (
            not self._taken or any(unicodedata.category(c)[0] in "LNS" for c in characters)
        )


def _tokens(
    context: EncodedContext, span: Span, gap: tuple[int, int], characters: tuple[int, int]
) -> tuple[int, int]:
    """Return the tokens, both inclusive, of a span and of the characters that it was widened to, within a gap."""
    _, first, last = span
    while first > gap[0] and context.characters(first - 1, first - 1)[1] > characters[0]:
        first -= 1
    while last < gap[1] and context.characters(last + 1, last + 1)[0] < characters[1]:
        last += 1
    return first, last


def find_groups(
    scored: Sequence[ScoredWindow], pieces: Sequence[WindowLogits], options: Options, *, temperature: float = 1.0
) -> Iterator[Group]:
    """Yield all distinct answers of one context, best first; see `answers.make_prediction`.

    Args:
        scored: the windows of the context.
        pieces: the same, see `pieces_of`.
        options: `max_answer_length` and `align_to_words` are read.
        temperature: divides scores before exp.
    """
    best_of_start = np.full(len(scored[0].window.context.ids), -np.inf)
    for part in scored:
        own = best_of_start[part.window.token_offset :][: part.window.last - part.window.first + 1]
        np.maximum(own, part.best[: len(own)], out=own)
    return _GroupFinder(pieces, best_of_start, options, temperature).find()


def pieces_of(scored: Sequence[ScoredWindow]) -> list[WindowLogits]:
    """Return the windows of one context, cut at its blocks, in the order of the text."""
    return sorted((piece for part in scored for piece in part.pieces), key=lambda row: row.window.token_offset)


def listed(options: Options) -> int:
    """Return the spans that a window is searched for: some more than answers, as parts of a word become one."""
    return options.n_best + options.n_best // 4 if options.align_to_words else options.n_best


def overlapping_answers(scored: Sequence[ScoredWindow], options: Options) -> dict[tuple[int, int], float]:
    """Return the characters, start and end, of the n best answers with their scores, best first.

    Different spans may read the same: the bytes of one emoji, a blank beside a word, parts of one word. The
    best of them stays. Where that leaves fewer than n answers, more spans are searched, up to `_SEARCH_LIMIT`.
    """
    context, count, done = scored[0].window.context, listed(options), 0
    best: dict[tuple[int, int], float] = {}
    while True:
        # A window with `count` spans may have more, which could rank before the last ones of other windows. So
        # only the first `count` of the ranking are sure to be the best, unless every window has listed all spans.
        complete = all(len(part.spans) < count for part in scored)
        for span in islice(_ranked(scored), done, None if complete else count):
            characters = context.characters(span.first, span.last)
            start, end = whole(context.text, *characters, align_to_words=options.align_to_words)
            if start < end:
                best.setdefault((start, end), span.score)
            if len(best) == options.n_best:
                return best
        if complete or count * len(scored) > _SEARCH_LIMIT:
            return best
        done, count = count, 2 * count
        length = options.max_answer_length
        more = (
            best_spans(ContextLogits.of(part.pieces, max_answer_length=length), n_best=count) for part in scored
        )
        scored = [part._replace(spans=best_of(spans, count)) for part, spans in zip(scored, more, strict=True)]


def _ranked(scored: Sequence[ScoredWindow]) -> Iterator[Span]:
    """Yield the distinct spans of all windows in tokens of the context, best first."""
    best: dict[tuple[int, int], float] = {}
    for part in scored:
        shift = part.window.token_offset - part.window.first  # position in the window -> index in the context
        for score, first, last in part.spans:
            tokens = (first + shift, last + shift)
            best[tokens] = max(score, best.get(tokens, score))
    for tokens, score in sorted(best.items(), key=lambda item: (-item[1], item[0])):
        yield Span(score, *tokens)
