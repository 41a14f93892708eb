"""Held-out questions -> a temperature and a null threshold, checked on other questions.

A model is rarely as often right as it is confident. Dividing its scores by one number, the temperature, before the
softmax keeps the order of the answers and calibrates their probabilities (Guo et al. 2017, "On Calibration of
Modern Neural Networks"). The temperature minimizes the negative log-likelihood that the answers, each with the
probability of all of its forms, stand at a right place.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.bundle.manifest import Confidence
from qa_onnx.data import squad
from qa_onnx.evaluation.calibration import bins, expected_calibration_error, is_right
from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.groups import find_groups, pieces_of
from qa_onnx.probabilities import log_overlap_sum, log_sum_of_context, share
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qa_onnx.data.gold import DataSet
    from qa_onnx.evaluation.evaluate import Outcome, Report
    from qa_onnx.reader import Reader
    from qa_onnx.spans import WindowLogits

_LOG = logging.getLogger(__name__)

_FITTED = 2000  # questions to fit to: a tenth of them without an answer are enough for a null threshold
_LEAST = 50  # questions with an answer, and as many without: fewer do not tell where a null threshold should be
_LOWEST, _HIGHEST = 0.25, 8.0  # temperatures
_STEPS = 24  # of the golden-section search, which leave 1/100,000 of the range


@dataclass(frozen=True, slots=True)
class _Scored:
    """A question: tokens of the answer's place (None: "no answer"), logits, and whether the answer is right."""

    tokens: tuple[int, int] | None
    null_score: float
    rows: tuple[WindowLogits, ...]
    right: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted temperature and null threshold, and the calibration that they give on other questions."""

    temperature: float
    null_threshold: float | None
    confidence: Confidence


def sample(calibration: DataSet, seed: int) -> DataSet:
    """Return the questions to fit to: a random sample, or all if there are few."""
    return replace(calibration, golds=squad.sample(calibration.golds, _FITTED, seed))


def too_few(calibration: DataSet) -> str | None:
    """Return why no null threshold can be fitted to these questions; None if it can."""
    total = len(calibration.golds)
    answerable = sum(bool(gold.answers) for gold in calibration.golds)
    if min(answerable, total - answerable) >= _LEAST:
        return None
    return (
        f"{calibration.name} has {answerable:,} questions with an answer and {total - answerable:,} without one "
        f"to fit to, and a null threshold needs {_LEAST} of each kind: none is fitted, so that the bundle always "
        "answers; give more questions with --calibration-data"
    )


def fit(reader: Reader, calibration: DataSet, checked: Report) -> Fit:
    """Fit a temperature and, if there are not too few questions of a kind, a null threshold.

    The temperature stays 1 if the fitted one makes the probabilities worse on the other questions.

    Args:
        reader: with temperature 1.
        calibration: questions to fit to, not of the training data.
        checked: the reader's evaluation on other questions, to check on.
    """
    width = reader.options.max_answer_length
    report = evaluate(reader, calibration)
    best = None if too_few(calibration) else report.null_threshold
    threshold = best.best_f1_threshold if best else None
    temperature = _fit_temperature(_score(reader, report.outcomes, threshold), width)
    if temperature in (_LOWEST, _HIGHEST):
        _LOG.warning(
            "the temperature fitted to %s is at its bound, %g: the model is right on too many or too few of these "
            "%d questions to tell; calibrate on more of them, and on none that it was trained on",
            *(calibration.name, temperature, len(calibration.golds)),
        )
    scored = _score(reader, checked.outcomes, threshold)
    right = np.array([item.right for item in scored])
    before, after = (bins(_probabilities(scored, value, width), right) for value in (1.0, temperature))
    if expected_calibration_error(after) > expected_calibration_error(before):
        _LOG.info(
            "a temperature of %.3f, fitted to %s, makes the expected calibration error on %s %.2f %%: 1 is kept",
            *(temperature, calibration.name, checked.data, expected_calibration_error(after)),
        )
        temperature, after = 1.0, before
    return Fit(
        temperature,
        threshold,
        Confidence(
            fitted_on=calibration.name,
            fitted_n=len(calibration.golds),
            checked_on=checked.data,
            checked_n=checked.n,
            ece_before=expected_calibration_error(before),
            ece_after=expected_calibration_error(after),
            before=before,
            after=after,
        ),
    )


def _score(reader: Reader, outcomes: Sequence[Outcome], threshold: float | None) -> list[_Scored]:
    """Return what the probability of each question's answer is made of, answered with the threshold."""
    examples = [Example(outcome.gold.question, outcome.gold.context) for outcome in outcomes]
    rows: list[list[WindowLogits]] = [[] for _ in outcomes]
    for row in reader.logits(examples):
        rows[row.window.example].append(row)
    found = []
    for outcome, windows in zip(outcomes, rows, strict=True):
        answer = outcome.prediction.choose(threshold)
        scored = list(reader.steps.search(windows, reader.options))
        pieces = tuple(pieces_of(scored))
        tokens = next(find_groups(scored, pieces, reader.options)).tokens if answer else None
        found.append(_Scored(tokens, outcome.prediction.null_score, pieces, is_right(answer, outcome.gold)))
    return found


def _probabilities(scored: Sequence[_Scored], temperature: float, width: int) -> NDArray[np.float64]:
    """Return the value of `Answer.probability` at a temperature: float64 (n,)."""
    values = np.empty(len(scored))
    for row, item in enumerate(scored):
        part = item.null_score / temperature
        if item.tokens:
            part = log_overlap_sum(item.rows, item.tokens, max_answer_length=width, temperature=temperature)
        spans = log_sum_of_context(item.rows, max_answer_length=width, temperature=temperature)
        values[row] = share(part, item.null_score, spans, temperature=temperature)
    return values


def _fit_temperature(scored: Sequence[_Scored], width: int) -> float:
    """Find the temperature with the least negative log-likelihood, by golden-section search over its logarithm."""
    right = np.array([item.right for item in scored])

    def loss(logarithm: float) -> float:
        probability = _probabilities(scored, float(np.exp(logarithm)), width).clip(1e-9, 1 - 1e-9)
        return float(-np.where(right, np.log(probability), np.log1p(-probability)).mean())

    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    left, right_end = high - ratio * (high - low), low + ratio * (high - low)
    losses = [loss(left), loss(right_end)]
    for _ in range(_STEPS):
        if losses[0] < losses[1]:
            high, right_end = right_end, left
            left = high - ratio * (high - low)
            losses = [loss(left), losses[0]]
        else:
            low, left = left, right_end
            right_end = low + ratio * (high - low)
            losses = [losses[1], loss(right_end)]
    found = float(np.exp((low + high) / 2))
    return next((bound for bound in (_LOWEST, _HIGHEST) if math.isclose(found, bound, rel_tol=1e-3)), found)
