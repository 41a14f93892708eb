"""Logits of all windows of a context -> spans -> Prediction -> Answer.

A long context has several overlapping windows. Their best spans become one ranking: a span that two windows show
counts once, with its better score. The model scored each window by itself, so comparing scores across windows is a
heuristic, the one of the BERT paper. For the same reason `probability` is one softmax over the spans of all
windows, and not one for each window.

An answer stands for all spans that overlap it (groups.py); with the option `overlapping`, for itself alone. Spans
across the borders of paragraphs, list items and table cells are none, unless the option `across_blocks` is set.
"No answer" has a score too, the null score: start logit + end logit of the [CLS] token.

Left out: where logits come from (steps.py), how spans are found (spans.py) and added up (probabilities.py), and
where words and letters end (tokens/boundaries.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from qa_onnx.errors import quoted
from qa_onnx.groups import find_groups, listed, overlapping_answers, pieces_of
from qa_onnx.options import check_bounds, check_type
from qa_onnx.probabilities import log_sum_of_context, share
from qa_onnx.spans import ContextLogits, ScoredWindow, best_of, best_of_starts, best_spans, cut_at_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.options import Options
    from qa_onnx.spans import Span, WindowLogits
    from qa_onnx.windows import CutExample

_COMPARED_AT_ONCE = 1 << 18  # spans: all of some twenty windows
# Windows that are searched at once: enough that NumPy's calls cost little beside their work, few enough that the
# arrays stay in the CPU's cache as long as n_best is not large.
_WINDOWS_AT_ONCE = 32

State: TypeAlias = Literal["answer", "unsure", "none"]


@dataclass(frozen=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        found = f"{quoted(self.text)}, {self.start}-{self.end}" if self.text else "none"
        unsure = ", unsure" if self.state == "unsure" else ""
        return f"{type(self).__name__}({found}, probability={self.probability:.3g}{unsure})"

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
        return {name: getattr(self, name) for name in self.__slots__ if name != "sure"}


@dataclass(frozen=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        best = f"best={self.answers[0]!r}, " if self.answers else ""
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        found = f"{len(self.answers)} answers, {best}null_probability={self.null_probability:.3g}{warned}"
        return f"{type(self).__name__}({found})"

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


def find_spans(rows: Sequence[WindowLogits], options: Options) -> Iterator[ScoredWindow]:
    """Find the best spans of windows of any examples, some windows at a time, in bounded memory.

    Args:
        rows: windows that have run.
        options: `max_answer_length`, `n_best`, `overlapping` and `across_blocks` are read.

    Yields:
        A `ScoredWindow` for each row, in their order.
    """
    longest = spans = max((len(row.window.input_ids) for row in rows), default=1)  # compared for each window
    if options.overlapping:
        spans = min(listed(options), longest) * min(options.max_answer_length, longest)
    at_once = max(1, min(_WINDOWS_AT_ONCE, _COMPARED_AT_ONCE // spans))
    for at in range(0, len(rows), at_once):
        yield from _find_together(rows[at : at + at_once], options)


def _find_together(rows: Sequence[WindowLogits], options: Options) -> Iterator[ScoredWindow]:
    pieces = [(row,) if options.across_blocks else cut_at_blocks(row) for row in rows]
    contexts = ContextLogits.of(list(chain(*pieces)), max_answer_length=options.max_answer_length)
    best = np.empty((len(contexts.start), 0))
    found: list[tuple[Span, ...]] = [()] * len(contexts.start)
    if options.overlapping:
        found = best_spans(contexts, n_best=listed(options))
    else:
        best = best_of_starts(contexts)
    stop = 0
    for row, parts in zip(rows, pieces, strict=True):
        at, stop = stop, stop + len(parts)
        if len(parts) == 1:
            yield ScoredWindow(row, parts, best[at], found[at])
            continue
        of_window = slice(at, stop)
        lengths = (part.window.last + 1 - part.window.first for part in parts)
        own = np.concatenate([scores[:length] for scores, length in zip(best[of_window], lengths, strict=True)])
        yield ScoredWindow(row, parts, own, best_of(found[of_window], listed(options)))


def make_prediction(
    example: CutExample, scored: Sequence[ScoredWindow], options: Options, *, temperature: float = 1.0
) -> Prediction:
    """Make one prediction of the windows of one example.

    Args:
        example: the example, cut into windows.
        scored: all of its windows, in the order of the text, as `find_spans` gives them for the same options.
        options: `max_answer_length`, `n_best`, `overlapping` and `align_to_words` are read.
        temperature: divides scores before the softmax; of the bundle's calibration.
    """
    rows = pieces_of(scored)
    null_score = min(float(start[window.cls]) + float(end[window.cls]) for window, start, end in rows)
    log_sum = log_sum_of_context(rows, max_answer_length=options.max_answer_length, temperature=temperature)
    if options.overlapping:
        best = overlapping_answers(scored, options)
        weights = [score / temperature for score in best.values()]
    else:
        groups = list(islice(find_groups(scored, rows, options, temperature=temperature), options.n_best))
        best = {(group.start, group.end): group.span.score for group in groups}
        weights = [group.log_sum for group in groups]
    shares = share([*weights, null_score / temperature], null_score, log_sum, temperature=temperature).tolist()
    text = scored[0].window.context.text
    answers = tuple(
        Answer(text[start:end], start, end, score, probability)
        for ((start, end), score), probability in zip(best.items(), shares[:-1], strict=True)
    )
    return Prediction(answers, null_score, shares[-1], example.warnings)
