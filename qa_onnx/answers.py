"""Logits of all windows -> spans -> Prediction -> Answer.

A span that two windows show counts once, with its better score. Scores are compared across the windows of a
context as they are: a heuristic, since each window was scored by itself, and the reason why `probability`
is one softmax over the spans of all windows, and not one for each window.

Left out: where logits come from (reader.py), and how spans are found (spans.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from qa_onnx.probabilities import Piece, log_sum_exp_spans, log_sum_exp_windows
from qa_onnx.spans import best_spans, require_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.options import Options
    from qa_onnx.spans import Logits
    from qa_onnx.tokens.context_cache import EncodedContext
    from qa_onnx.windows import CutExample, Window

# Spans that are looked at at once, and in search of an example's distinct answers. All of some twenty windows, so
# the latter is only felt on long texts of little but blanks; it bounds the memory that such a text can take.
_SEARCH_LIMIT = 1 << 18
# Windows whose spans are searched at once: enough that NumPy's calls cost little beside their work, and few enough
# that it stays in the cache where n_best is not large.
_TOGETHER = 32

Row: TypeAlias = "tuple[Window, Logits, Logits]"


@dataclass(frozen=True, slots=True)
class Answer:
    """A piece of the context, or none: `if answer:` tells.

    Attributes:
        text: `context[start:end]`; empty when there is no answer.
        start: index of its first character (code point).
        end: index after its last character.
        score: start logit + end logit; of "no answer": the null score.
        probability: share among all spans of the context and "no answer", 0 to 1.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float

    def __bool__(self) -> bool:
        return bool(self.text)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model makes of one example.

    Attributes:
        answers: the n best distinct answers, best first; fewer where the context has fewer.
        null_score: score of "no answer": the minimum over the windows of [CLS]'s start + end logit.
        null_probability: its share. With those of all possible answers it sums to 1.
        warnings: what the user should know, such as a question that was cut.
    """

    answers: tuple[Answer, ...]
    null_score: float
    null_probability: float
    warnings: tuple[str, ...] = ()

    def choose(self, null_threshold: float | None) -> Answer:
        """Decide between the best answer and none, as SQuAD 2.0's null_score_diff_threshold does.

        Args:
            null_threshold: there is no answer when null score - best score is greater; None: there is one
                whenever the context holds any text.
        """
        best = self.answers[0] if self.answers else None
        if best and (null_threshold is None or self.null_score - best.score <= null_threshold):
            return best
        return Answer("", 0, 0, self.null_score, self.null_probability)


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window with its logits and its best spans.

    Attributes:
        window: the window.
        start_logits: float32 (T,).
        end_logits: float32 (T,).
        spans: (score, position of the first token, of the last token), best first.
        log_sum: logarithm of the sum of exp(score / temperature) over all of its spans; -inf: none, or not known.
    """

    window: Window
    start_logits: Logits
    end_logits: Logits
    spans: tuple[tuple[float, int, int], ...]
    log_sum: float = -math.inf


def search(rows: Sequence[Row], options: Options, *, temperature: float = 1.0) -> Iterator[ScoredWindow]:
    """Find the best spans of windows, `_TOGETHER` at a time or as many as memory allows.

    Args:
        rows: each window with its start_logits and end_logits, float32 (T,), padded or not.
        options: `max_answer_length` and `n_best` are read.
        temperature: see `merge`.

    Yields:
        What was found, in the order of the rows.

    Raises:
        EngineError: a logit is not a number.
    """
    longest = max((len(window.input_ids) for window, _, _ in rows), default=1)
    spans = min(options.n_best, longest) * min(options.max_answer_length, longest)  # looked at for a window
    together = max(1, min(_TOGETHER, _SEARCH_LIMIT // spans))
    for at in range(0, len(rows), together):
        yield from _search(rows[at : at + together], options, temperature)


def _search(rows: Sequence[Row], options: Options, temperature: float) -> Iterator[ScoredWindow]:
    windows = [window for window, _, _ in rows]
    start_logits, end_logits = [start for _, start, _ in rows], [end for _, _, end in rows]
    require_finite(*(logits[: len(window.input_ids)] for window, *both in rows for logits in both))
    first = np.array([window.first for window in windows])
    last = np.array([window.last for window in windows])
    width = options.max_answer_length
    table = best_spans(start_logits, end_logits, first, last, max_answer_length=width, n_best=options.n_best)
    log_sums = [-math.inf] * len(windows)
    if any(window.shows_all for window in windows):  # else `merge` has no use for them
        log_sums = log_sum_exp_windows(
            start_logits, end_logits, first, last, max_answer_length=width, temperature=temperature
        ).tolist()
    for row in zip(windows, start_logits, end_logits, table.rows(), log_sums, strict=True):
        yield ScoredWindow(*row)


def merge(
    example: CutExample, scored: Sequence[ScoredWindow], options: Options, *, temperature: float = 1.0
) -> Prediction:
    """Make one prediction of the windows of one example.

    Args:
        example: as it was cut.
        scored: all of its windows, in the order of the text, each with its `options.n_best` best spans.
        options: `max_answer_length`, `n_best` and `align_to_words` are read.
        temperature: what the bundle's calibration divides scores by before the softmax; that of `search`.
    """
    null_score = min(float(s.start_logits[s.window.cls]) + float(s.end_logits[s.window.cls]) for s in scored)
    log_sum = scored[0].log_sum if len(scored) == 1 else -math.inf
    if log_sum == -math.inf:
        pieces = [_piece(s, temperature) for s in scored]
        log_sum = log_sum_exp_spans(pieces, max_answer_length=options.max_answer_length)
    log_total = float(np.logaddexp(log_sum, null_score / temperature))

    def probability(score: float) -> float:
        return float(np.exp(min(0.0, score / temperature - log_total)))  # rounding may pass 1, and by far

    text = scored[0].window.context.text
    answers = tuple(
        Answer(text[start:end], start, end, score, probability(score))
        for (start, end), score in _best_characters(scored, options).items()
    )
    return Prediction(answers, null_score, probability(null_score), example.warnings)


def _piece(scored: ScoredWindow, temperature: float) -> Piece:
    window = scored.window
    part = slice(window.first, window.last + 1)
    return Piece(
        window.token_offset,
        scored.start_logits[part].astype(np.float64) / temperature,
        scored.end_logits[part].astype(np.float64) / temperature,
    )


def _best_characters(scored: Sequence[ScoredWindow], options: Options) -> dict[tuple[int, int], float]:
    """Characters and score of the n best answers, best first.

    Different tokens may read the same (the bytes of one emoji, a blank beside a word, parts of an aligned word),
    and the best of them stays. Where that leaves fewer than n answers, more spans are searched, up to
    `_SEARCH_LIMIT`.
    """
    context, count = scored[0].window.context, options.n_best
    while True:
        # Of the spans of all windows, only the first `count` are surely the best: a window that has given all
        # of its `count` may hold better ones than what another has given beyond.
        complete = all(len(part.spans) < count for part in scored)
        best: dict[tuple[int, int], float] = {}
        for score, *span in islice(_ranked(scored), None if complete else count):
            start, end = _trim(context, *(context.words(*span) if options.align_to_words else span))
            if start < end:
                best.setdefault((start, end), score)
        if complete or len(best) >= options.n_best or count * len(scored) > _SEARCH_LIMIT:
            return dict(islice(best.items(), options.n_best))
        count *= 4
        scored = [_search_again(part, count, options.max_answer_length) for part in scored]


def _search_again(scored: ScoredWindow, n_best: int, max_answer_length: int) -> ScoredWindow:
    table = best_spans(
        scored.start_logits[None],
        scored.end_logits[None],
        np.array([scored.window.first]),
        np.array([scored.window.last]),
        max_answer_length=max_answer_length,
        n_best=n_best,
    )
    return replace(scored, spans=table.rows()[0])


def _ranked(scored: Sequence[ScoredWindow]) -> Iterator[tuple[float, int, int]]:
    """The windows' spans as tokens of the context, each once, best first."""
    best: dict[tuple[int, int], float] = {}
    for part in scored:
        shift = part.window.token_offset - part.window.first
        for score, start, end in part.spans:
            span = (start + shift, end + shift)
            best[span] = max(score, best.get(span, score))
    for span, score in sorted(best.items(), key=lambda item: (-item[1], item[0])):
        yield score, *span


def _trim(context: EncodedContext, first: int, last: int) -> tuple[int, int]:
    """Characters of a token span, without blanks at its edges."""
    start, end = context.characters(first, last)
    text = context.text[start:end]
    return start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))
