"""A reader and a data set -> Report: EM, F1 and their confidence intervals, end to end.

Scores are those of the official SQuAD script, for texts without blanks those of MLQA's (metrics.py). Left out:
recording them in a bundle (export/gate.py), and printing them (cli/eval.py).
"""

from __future__ import annotations

import bisect
import itertools
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import InputError
from qa_onnx.evaluation import metrics
from qa_onnx.evaluation.calibration import CalibrationReport, is_right
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qa_onnx.answers import Answer, Prediction
    from qa_onnx.data.squad import DataSet, Gold
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

_LOG = logging.getLogger(__name__)
_LOG_EVERY_S = 30.0

# Upper bounds of the groups of `Report.by_length`, in words of the context, or in characters without blanks.
LENGTHS = (50, 100, 150, 200, 300, 500, 1000)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one question, and its scores.

    Attributes:
        gold: the question and its right answers.
        answer: the reader's; falsy for "no answer".
        prediction: the best answer, whatever the null threshold says, and the score of "no answer".
        em: exact match, 0 or 1.
        f1: 0 to 1.
        by_characters: whether characters are the tokens of F1, as the context has no blanks between words.
    """

    gold: Gold
    answer: Answer
    prediction: Prediction
    em: float
    f1: float
    by_characters: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Mean scores of a group of questions, in per cent."""

    n: int
    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class NullThreshold:
    """The null thresholds with the highest F1 and EM on this data, and those scores in per cent."""

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
        f1_interval: 95 % bootstrap interval of f1.
        has_answer: scores of the questions that have an answer; None if there are none.
        no_answer: scores of the questions that have none; None if there are none.
        null_threshold: None if every question has an answer, or every context is blank.
        seconds: time to answer, excluding the time to compute metrics.
        calibration: how far the probabilities of the answers can be trusted.
        by_characters: number of questions whose F1 is that of characters; that of the others is of words.
        repairs: what was repaired in the file, by kind; see `Repairs`.
        outcomes: in the order of the data.
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
    calibration: CalibrationReport
    by_characters: int
    repairs: dict[str, int]
    outcomes: tuple[Outcome, ...]

    @property
    def questions_per_second(self) -> float:
        """Throughput end to end, excluding the time to compute metrics."""
        return self.n / self.seconds

    def with_null_threshold(self, threshold: float) -> Part:
        """Return the scores that the same predictions have with another null threshold."""
        part = _part(
            _outcome(outcome.gold, outcome.prediction, outcome.prediction.choose(threshold))
            for outcome in self.outcomes
        )
        assert part is not None
        return part

    def f1_change_interval(self, before: Report, *, seed: int = 0) -> tuple[float, float]:
        """Return the 95 % interval of the change of F1 since another evaluation of the same questions, in points.

        Paired bootstrap: every sample draws questions, and takes the scores of both evaluations for them. Where
        both err on the same questions, the interval is much narrower than those of the two F1.

        Args:
            before: what this evaluation is compared with.
            seed: of the bootstrap.

        Raises:
            InputError: they are not of the same questions.
        """
        if [outcome.gold for outcome in self.outcomes] != [outcome.gold for outcome in before.outcomes]:
            raise InputError(f"{self.data} and {before.data} are not the same questions")
        pairs = zip(self.outcomes, before.outcomes, strict=True)
        return _interval([now.f1 - then.f1 for now, then in pairs], seed)

    def by_length(self) -> list[tuple[str, Part]]:
        """Return scores by the length of the context in words, shortest first; empty groups are left out."""
        names = [f"{low + 1}-{high}" for low, high in itertools.pairwise((0, *LENGTHS))] + [f"{LENGTHS[-1] + 1}-"]
        groups: dict[str, list[Outcome]] = {name: [] for name in names}
        for outcome in self.outcomes:
            length = len(metrics.tokens(outcome.gold.context, by_characters=outcome.by_characters))
            groups[names[bisect.bisect_left(LENGTHS, length)]].append(outcome)
        return [(name, part) for name, outcomes in groups.items() if (part := _part(outcomes))]


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
        reader: answers the questions.
        data: questions with their right answers.
        options: replace the reader's own.
        seed: of the bootstrap.
        progress: called with the number of questions answered so far; None: the log says it now and then.

    Raises:
        InputError: the data set is empty, or the options do not fit the model.
        EngineError: the graph failed.
    """
    options = replace(reader.resolve(options), n_best=1)
    count = _logged(data) if progress is None else progress
    started = time.perf_counter()
    predictions = []
    examples = (Example(gold.question, gold.context, gold.id) for gold in data.golds)
    for prediction in reader.predict_iter(examples, options=options):
        predictions.append(prediction)
        count(len(predictions))
    seconds = time.perf_counter() - started
    outcomes = tuple(
        _outcome(gold, prediction, reader.choose(prediction, options=options))
        for gold, prediction in zip(data.golds, predictions, strict=True)
    )
    whole = _part(outcomes)
    if whole is None:
        raise InputError(f"{data.name} holds no questions")
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
        calibration=_calibration(outcomes),
        by_characters=sum(outcome.by_characters for outcome in outcomes),
        repairs=dict(data.repairs.counts),
        outcomes=outcomes,
    )


def _logged(data: DataSet) -> Callable[[int], None]:
    """Return what logs the number of answered questions, at most one line each `_LOG_EVERY_S` seconds."""
    logged = time.monotonic()

    def count(done: int) -> None:
        nonlocal logged
        if time.monotonic() - logged >= _LOG_EVERY_S:
            logged = time.monotonic()
            _LOG.info("%s of %s questions of %s are answered", f"{done:,}", f"{len(data.golds):,}", data.name)

    return count


def _outcome(gold: Gold, prediction: Prediction, answer: Answer) -> Outcome:
    by_characters = metrics.is_unspaced(gold.context)
    em, f1 = (
        score(answer.text, gold.answers, by_characters=by_characters)
        for score in (metrics.exact_match, metrics.f1)
    )
    return Outcome(gold, answer, prediction, em, f1, by_characters)


def _calibration(outcomes: tuple[Outcome, ...]) -> CalibrationReport:
    return CalibrationReport.of(
        np.array([outcome.answer.probability for outcome in outcomes]),
        np.array([is_right(outcome.answer, outcome.gold) for outcome in outcomes]),
        np.array([outcome.f1 for outcome in outcomes]),
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
    """Return the best thresholds; a question whose context has no span is "no answer" at any threshold."""
    scored = [outcome for outcome in outcomes if outcome.prediction.answers]
    if not scored:
        return None
    best = [outcome.prediction.answers[0] for outcome in scored]
    differences = np.array(
        [outcome.prediction.null_score - answer.score for outcome, answer in zip(scored, best, strict=True)]
    )
    results: list[float] = []
    for score in (metrics.f1, metrics.exact_match):

        def earned(text: str, outcome: Outcome, score: Callable[..., float] = score) -> float:
            return score(text, outcome.gold.answers, by_characters=outcome.by_characters)

        answered = np.array([earned(answer.text, outcome) for outcome, answer in zip(scored, best, strict=True)])
        withheld = np.array([earned("", outcome) for outcome in scored])
        threshold, mean = metrics.best_null_threshold(differences, answered, withheld)
        rest = sum(earned("", outcome) for outcome in outcomes if not outcome.prediction.answers)
        results += [100 * (mean * len(scored) + rest) / len(outcomes), threshold]
    return NullThreshold(*results)
