"""Logits of all windows of a context -> spans -> Prediction -> Answer.

A long context has several overlapping windows. Their best spans become one ranking: a span that two windows show
counts once, with its better score. The model scored each window by itself, so comparing scores across windows is a
heuristic, the one of the BERT paper. For the same reason `probability` is one softmax over the spans of all
windows, and not one for each window.

An answer stands for all spans that overlap it (groups.py); with the option `overlapping`, for itself alone.
"No answer" has a score too, the null score: start logit + end logit of the [CLS] token.

Left out: where logits come from (steps.py), how spans are found (spans.py) and added up (probabilities.py), and
where words and letters end (tokens/boundaries.py).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import islice, repeat
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from qa_onnx.groups import GroupFinder
from qa_onnx.options import check_bounds, check_type
from qa_onnx.probabilities import log_span_sum, log_span_sums, share
from qa_onnx.spans import ContextLogits, Span, WindowLogits, best_of_starts, best_spans
from qa_onnx.tokens.boundaries import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qa_onnx.options import Options
    from qa_onnx.spans import Scores
    from qa_onnx.windows import CutExample, Window

# Most spans that are compared at once, and most that are searched for the distinct answers of one example: all
# spans of some twenty windows. It bounds the memory of long texts of little but blanks; others never reach it.
_SEARCH_LIMIT = 1 << 18
# Windows that are searched at once: enough that NumPy's calls cost little beside their work, few enough that the
# arrays stay in the CPU's cache as long as n_best is not large.
_WINDOWS_AT_ONCE = 32

State: TypeAlias = Literal["answer", "unsure", "none"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A piece of the context, or none, which is falsy: `if answer:`.

    Attributes:
        text: `context[start:end]`, letters with all of their marks; empty when there is no answer.
        start: index of its first character (code point).
        end: index after its last character.
        score: start logit + end logit; of "no answer": the null score.
        probability: share of all spans that overlap it, or, with `Options.overlapping`, of itself alone, among all
            spans of the context and "no answer", 0 to 1.
        sure: False where the probability is below `Options.min_probability`; such an answer is falsy, too.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float
    sure: bool = True

    def __bool__(self) -> bool:
        return self.state == "answer"

    @property
    def state(self) -> State:
        """What became of the question.

        "none": the context is blank, or "no answer" passes the null threshold. "unsure": there is an answer, but
        it is less probable than it has to be. "answer": the text is one.
        """
        if not self.text:
            return "none"
        return "answer" if self.sure else "unsure"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON, without `sure`."""
        values = asdict(self)
        del values["sure"]
        return values


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answers of a model for one example, and the score of "no answer".

    Attributes:
        answers: the n best answers, best first, none of which overlap; with `Options.overlapping` the n best that
            read differently. Fewer where the context has fewer.
        null_score: score of "no answer": the lowest of the windows' start logit + end logit of [CLS].
        null_probability: its share. With those of all answers it sums to 1 at most.
        warnings: what the user should know, such as a question that was cut.
    """

    answers: tuple[Answer, ...]
    null_score: float
    null_probability: float
    warnings: tuple[str, ...] = ()

    def choose(self, null_threshold: float | None, *, min_probability: float = 0.0) -> Answer:
        """Decide between the best answer and none, as SQuAD 2.0's null_score_diff_threshold does.

        Args:
            null_threshold: there is no answer when null score - best score is greater; None: there is one
                whenever the context holds any text.
            min_probability: the answer is not sure, and falsy, when its probability is less.

        Raises:
            InputError: a value is not a number, or out of range.
        """
        check_type("null_threshold", null_threshold, (int, float, NoneType), "a number, or None")
        check_bounds("min_probability", min_probability)
        best = self.answers[0] if self.answers else None
        if best is None or (null_threshold is not None and self.null_score - best.score > null_threshold):
            return Answer("", 0, 0, self.null_score, self.null_probability)
        return best if best.probability >= min_probability else replace(best, sure=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self) | {"answers": [answer.to_dict() for answer in self.answers]}


class ScoredWindow(NamedTuple):
    """A window that has run and was searched.

    Attributes:
        logits: the window and its logits.
        best: float64 (L,), the score of the best span that starts at each token of the context; empty where
            answers may overlap.
        spans: its best spans, best first, in positions of the window; empty where answers may not overlap.
        log_sum: logarithm of the sum of exp(score / temperature) over all of its spans; -inf where it has none, or
            where the sum was not needed.
    """

    logits: WindowLogits
    best: Scores
    spans: tuple[Span, ...]
    log_sum: float = -math.inf

    @property
    def window(self) -> Window:
        """The window that was searched."""
        return self.logits.window


def search(rows: Sequence[WindowLogits], options: Options, *, temperature: float = 1.0) -> Iterator[ScoredWindow]:
    """Find the best spans of windows of any examples, some windows at a time, in bounded memory.

    Args:
        rows: windows that have run.
        options: `max_answer_length`, `n_best` and `overlapping` are read.
        temperature: see `merge`.

    Yields:
        A `ScoredWindow` for each row, in their order.

    Raises:
        EngineError: a logit is infinite or not a number.
    """
    longest = max((len(row.window.input_ids) for row in rows), default=1)
    count = _listed(options)
    spans = min(count, longest) * min(options.max_answer_length, longest)  # compared for each window
    at_once = max(1, min(_WINDOWS_AT_ONCE, _SEARCH_LIMIT // spans))
    for at in range(0, len(rows), at_once):
        some = rows[at : at + at_once]
        contexts = ContextLogits.of(some, max_answer_length=options.max_answer_length)
        log_sums = [-math.inf] * len(some)
        if any(row.window.holds_whole_context for row in some):  # of several, `merge` counts shared spans once
            log_sums = log_span_sums(contexts, temperature=temperature).tolist()
        if options.overlapping:
            best: Iterable[Scores] = repeat(np.empty(0))
            found: Iterable[tuple[Span, ...]] = best_spans(contexts, n_best=count)
        else:
            best, found = best_of_starts(contexts), repeat(())
        yield from map(ScoredWindow, some, best, found, log_sums)


def merge(
    example: CutExample, scored: Sequence[ScoredWindow], options: Options, *, temperature: float = 1.0
) -> Prediction:
    """Make one prediction of the windows of one example.

    Args:
        example: the example, cut into windows.
        scored: all of its windows, in the order of the text, as `search` gives them for the same options.
        options: `max_answer_length`, `n_best`, `overlapping` and `align_to_words` are read.
        temperature: divides scores before the softmax; from the bundle's calibration, and the same as in `search`.
    """
    rows = [part.logits for part in scored]
    null_score = min(float(start[window.cls]) + float(end[window.cls]) for window, start, end in rows)
    log_sum = scored[0].log_sum if len(scored) == 1 else -math.inf
    if log_sum == -math.inf:
        log_sum = log_span_sum(rows, max_answer_length=options.max_answer_length, temperature=temperature)
    if options.overlapping:
        best = _best_characters(scored, options)
        weights = [score / temperature for score in best.values()]
    else:
        finder = GroupFinder(rows, _best_of_context(scored), options, temperature)
        groups = list(islice(finder.find(), options.n_best))
        best = {(group.start, group.end): group.span.score for group in groups}
        weights = [group.log_sum for group in groups]
    shares = share([*weights, null_score / temperature], null_score, log_sum, temperature=temperature).tolist()
    text = scored[0].window.context.text
    answers = tuple(
        Answer(text[start:end], start, end, score, probability)
        for ((start, end), score), probability in zip(best.items(), shares[:-1], strict=True)
    )
    return Prediction(answers, null_score, shares[-1], example.warnings)


def _best_of_context(scored: Sequence[ScoredWindow]) -> Scores:
    """Return the score of the best span that starts at each of the N tokens of the context: float64 (N,)."""
    best = np.full(len(scored[0].window.context.ids), -np.inf)
    for part in scored:
        own = best[part.window.token_offset :][: part.window.last - part.window.first + 1]
        np.maximum(own, part.best[: len(own)], out=own)
    return best


def _listed(options: Options) -> int:
    """Return the spans that a window is searched for: some more than answers, as parts of a word become one."""
    return options.n_best + options.n_best // 4 if options.align_to_words else options.n_best


def _best_characters(scored: Sequence[ScoredWindow], options: Options) -> dict[tuple[int, int], float]:
    """Return the characters, start and end, of the n best answers with their scores, best first.

    Different spans may read the same: the bytes of one emoji, a blank beside a word, parts of one word. The
    best of them stays. Where that leaves fewer than n answers, more spans are searched, up to `_SEARCH_LIMIT`.
    """
    context, count, done = scored[0].window.context, _listed(options), 0
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
            best_spans(ContextLogits.of([part.logits], max_answer_length=length), n_best=count) for part in scored
        )
        scored = [part._replace(spans=spans) for part, [spans] in zip(scored, more, strict=True)]


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
