"""Reader over a data set -> Report: how well it answers, and how sure that figure is.

Text in, answer out: the same road as `Reader.predict`, scored as the official SQuAD script does (metrics.py).
Left out: writing it down in a bundle (export/receipt.py), and showing it (cli/eval.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.evaluation import metrics
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qa_onnx.answers import Answer, Prediction
    from qa_onnx.data.squad import DataSet, Gold
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

# Upper bounds, in words of the context, of the classes of `Report.by_length`.
LENGTHS = (50, 100, 150, 200, 300, 500, 1000)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question.

    Attributes:
        gold: the question and its right answers.
        answer: what the reader gave; falsy for "no answer".
        prediction: what it chose from.
        em: exact match, 0 or 1.
        f1: 0 to 1.
    """

    gold: Gold
    answer: Answer
    prediction: Prediction
    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class Part:
    """Mean scores of some questions, in per cent."""

    n: int
    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class NullThreshold:
    """The null threshold that would have been best on this data, and the F1 and EM it would have given."""

    best_f1: float
    best_f1_threshold: float
    best_em: float
    best_em_threshold: float


@dataclass(frozen=True, slots=True)
class Report:
    """How well a reader answers the questions of a data set.

    Attributes:
        data: the data set's name.
        sha256: of its file.
        n: how many questions.
        em: exact match in per cent.
        f1: in per cent.
        em_interval: 95 % bootstrap interval of em.
        f1_interval: likewise of f1.
        has_answer: the questions that have an answer; None if there are none.
        no_answer: the questions that have none; None if there are none.
        null_threshold: None where every question has an answer, or every context is blank.
        seconds: that answering took.
        outcomes: question by question, in the order of the data.
    """

    data: str
    sha256: str
    n: int
    em: float
    f1: float
    em_interval: tuple[float, float]
    f1_interval: tuple[float, float]
    has_answer: Part | None
    no_answer: Part | None
    null_threshold: NullThreshold | None
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def questions_per_second(self) -> float:
        """Text to answer, scoring apart."""
        return self.n / self.seconds

    def by_length(self) -> list[tuple[str, Part]]:
        """Scores by the length of the context in words, short to long; empty classes are left out."""
        bounds = (0, *LENGTHS)
        names = [f"{low + 1}-{high}" for low, high in zip(bounds, LENGTHS, strict=False)]
        classes = np.searchsorted(LENGTHS, [len(outcome.gold.context.split()) for outcome in self.outcomes])
        parts = (
            (name, _part(o for o, place in zip(self.outcomes, classes, strict=True) if place == number))
            for number, name in enumerate([*names, f"{LENGTHS[-1] + 1}-"])
        )
        return [(name, part) for name, part in parts if part]


def evaluate(
    reader: Reader,
    data: DataSet,
    *,
    options: Options | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Answer every question of a data set and score the answers.

    Args:
        reader: to ask.
        data: questions with their right answers.
        options: instead of the reader's own.
        seed: of the bootstrap.
        progress: is called with the number of questions done so far.

    Raises:
        InputError: the options do not fit the model.
        EngineError: the graph failed.
    """
    started = time.perf_counter()
    predictions = []
    examples = (Example(gold.question, gold.context, gold.id) for gold in data.golds)
    for prediction in reader.predict_iter(examples, options=options):
        predictions.append(prediction)
        if progress is not None:
            progress(len(predictions))
    seconds = time.perf_counter() - started
    outcomes = tuple(
        _outcome(gold, prediction, reader.choose(prediction, options=options))
        for gold, prediction in zip(data.golds, predictions, strict=True)
    )
    whole = _part(outcomes)
    assert whole, "a data set is never empty"
    return Report(
        data=data.name,
        sha256=data.sha256,
        n=whole.n,
        em=whole.em,
        f1=whole.f1,
        em_interval=_interval([outcome.em for outcome in outcomes], seed),
        f1_interval=_interval([outcome.f1 for outcome in outcomes], seed),
        has_answer=_part(outcome for outcome in outcomes if outcome.gold.answers),
        no_answer=_part(outcome for outcome in outcomes if not outcome.gold.answers),
        null_threshold=_null_threshold(outcomes) if data.has_unanswerable else None,
        seconds=seconds,
        outcomes=outcomes,
    )


def _outcome(gold: Gold, prediction: Prediction, answer: Answer) -> Outcome:
    return Outcome(
        gold,
        answer,
        prediction,
        metrics.exact_match(answer.text, gold.answers),
        metrics.f1(answer.text, gold.answers),
    )


def _part(outcomes: Iterable[Outcome]) -> Part | None:
    scores = np.array([(outcome.em, outcome.f1) for outcome in outcomes])
    if not len(scores):
        return None
    em, f1 = 100 * scores.mean(axis=0)
    return Part(len(scores), float(em), float(f1))


def _interval(values: list[float], seed: int) -> tuple[float, float]:
    low, high = metrics.bootstrap_interval(np.array(values), seed=seed)
    return 100 * low, 100 * high


def _null_threshold(outcomes: tuple[Outcome, ...]) -> NullThreshold | None:
    """The best thresholds; a context without any span has no difference, and always "no answer"."""
    open_ones = [outcome for outcome in outcomes if outcome.prediction.answers]
    if not open_ones:
        return None
    golds = [outcome.gold.answers for outcome in open_ones]
    best = [outcome.prediction.answers[0] for outcome in open_ones]
    differences = np.array(
        [outcome.prediction.null_score - answer.score for outcome, answer in zip(open_ones, best, strict=True)]
    )
    found = {}
    for name, score in (("f1", metrics.f1), ("em", metrics.exact_match)):
        answered = np.array([score(answer.text, gold) for answer, gold in zip(best, golds, strict=True)])
        withheld = np.array([score("", gold) for gold in golds])
        threshold, mean = metrics.best_null_threshold(differences, answered, withheld)
        closed = sum(score("", outcome.gold.answers) for outcome in outcomes if not outcome.prediction.answers)
        found[name] = (100 * (mean * len(open_ones) + closed) / len(outcomes), threshold)
    return NullThreshold(*found["f1"], *found["em"])
