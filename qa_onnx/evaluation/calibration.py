"""Probabilities and what was right -> how far the probabilities can be trusted.

An answer is right here when it stands where a right answer stands: their characters overlap. Its probability is
that of all spans at its place, so it says how likely the place is, and not whether the best of several forms, such
as "1912" and "in 1912", is the one that an annotator chose: exact match and F1 measure that. "No answer" is right
where there is none.

Left out: fitting a temperature (export/confidence.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.bundle.manifest import ReliabilityBin
from qa_onnx.evaluation import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qa_onnx.answers import Answer
    from qa_onnx.data.gold import Gold

_BINS = 10
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """What is left when only the most probable questions are answered.

    Attributes:
        coverage: share of the questions that is answered, 0 to 1.
        min_probability: of these; see `Options.min_probability`.
        f1: mean F1 of these, in per cent.
        right: share of these whose answer stands at a right place, 0 to 1.
    """

    coverage: float
    min_probability: float
    f1: float
    right: float


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How far the probabilities of a data set's answers can be trusted.

    Attributes:
        ece: expected calibration error in per cent.
        brier: mean squared distance of the probability and 1 (right) or 0 (wrong); 0 is best.
        bins: points of the reliability plot.
        coverage: the risk-coverage curve: F1 against the share of questions that is answered.
    """

    ece: float
    brier: float
    bins: tuple[ReliabilityBin, ...]
    coverage: tuple[CoveragePoint, ...]

    @classmethod
    def of(
        cls, probabilities: NDArray[np.float64], right: NDArray[np.bool_], f1: NDArray[np.float64]
    ) -> CalibrationReport:
        """Make a report of n questions.

        Args:
            probabilities: float64 (n,), of the chosen answers, or of "no answer" where that was chosen.
            right: bool (n,).
            f1: float64 (n,), 0 to 1.
        """
        points = bins(probabilities, right)
        return cls(
            expected_calibration_error(points),
            float(((probabilities - right) ** 2).mean()),
            points,
            _coverage(probabilities, right, f1),
        )


def is_right(answer: Answer, gold: Gold) -> bool:
    """Return whether an answer stands where a right one stands, or whether there is none, and rightly so.

    A right answer whose place is not known is found by its words: one of them has to be in the answer.
    """
    if not answer.text:
        return not gold.answers
    return any(
        start < answer.end and answer.start < start + len(text)
        if start >= 0
        else metrics.f1(answer.text, (text,), by_characters=metrics.is_unspaced(gold.context)) > 0
        for text, start in zip(gold.answers, gold.answer_starts, strict=True)
    )


def bins(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Return the points of the reliability plot: ten equal ranges of probability, without empty ones.

    Args:
        probabilities: float64 (n,).
        right: bool (n,).
    """
    numbers = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    members = [np.flatnonzero(numbers == number) for number in range(_BINS)]
    return tuple(
        ReliabilityBin(len(rows), float(probabilities[rows].mean()), float(right[rows].mean()))
        for rows in members
        if len(rows)
    )


def expected_calibration_error(points: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by size, in per cent.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    total = sum(item.n for item in points)
    return 100 * sum(item.n * abs(item.confidence - item.accuracy) for item in points) / total


def _coverage(
    probabilities: NDArray[np.float64], right: NDArray[np.bool_], f1: NDArray[np.float64]
) -> tuple[CoveragePoint, ...]:
    order = np.argsort(-probabilities, kind="stable")
    counts = dict.fromkeys(max(1, round(share * len(order))) for share in _COVERAGES)
    return tuple(
        CoveragePoint(
            count / len(order),
            float(probabilities[order[count - 1]]),
            100 * float(f1[order[:count]].mean()),
            float(right[order[:count]].mean()),
        )
        for count in counts
    )
