"""How far probabilities can be trusted: expected calibration error, Brier score and risk against coverage."""

from __future__ import annotations

import numpy as np
import pytest

from qa_onnx import Answer
from qa_onnx.bundle.manifest import ReliabilityBin
from qa_onnx.data.gold import Gold
from qa_onnx.evaluation.calibration import CalibrationReport, bins, expected_calibration_error, is_right


def test_expected_calibration_error_is_the_weighted_distance() -> None:
    points = (ReliabilityBin(30, 0.9, 0.6), ReliabilityBin(10, 0.2, 0.3))
    assert expected_calibration_error(points) == pytest.approx(100 * (30 * 0.3 + 10 * 0.1) / 40)


def test_bins_are_tenths_and_1_is_in_the_last() -> None:
    values = np.array([0.0, 0.05, 0.1, 0.95, 1.0])
    found = bins(values, np.array([True, False, True, True, True]))
    assert found == (ReliabilityBin(2, 0.025, 0.5), ReliabilityBin(1, 0.1, 1.0), ReliabilityBin(2, 0.975, 1.0))


def test_the_report_of_few_questions_by_hand() -> None:
    report = CalibrationReport.of(
        np.array([0.9, 0.5, 0.7, 0.1]), np.array([True, False, True, False]), np.array([1.0, 0.2, 0.4, 0.0])
    )
    assert report.brier == pytest.approx((0.01 + 0.25 + 0.09 + 0.01) / 4)
    assert report.ece == pytest.approx(100 * (0.1 + 0.5 + 0.3 + 0.1) / 4)
    points = {
        point.coverage: (point.min_probability, round(point.f1, 6), point.right) for point in report.coverage
    }
    assert points == {1.0: (0.1, 40.0, 0.5), 0.75: (0.5, 53.333333, pytest.approx(2 / 3)), 0.5: (0.7, 70.0, 1.0)}


@pytest.mark.parametrize(
    ("start", "end", "golds", "right"),
    [
        (10, 14, (("1912", 10),), True),
        (7, 14, (("1912", 10),), True),
        (13, 20, (("1912", 10),), True),
        (14, 20, (("1912", 10),), False),
        (0, 4, (("1912", 10), ("1912", 0)), True),
        (0, 4, (("1912", 10),), False),  # the same text elsewhere
        (10, 14, (("in 1912", -1),), True),  # a place that is not known
        (10, 14, (("in 1913", -1),), False),
        (0, 0, (), True),
        (0, 0, (("1912", 10),), False),
        (10, 14, (), False),
    ],
)
def test_an_answer_is_right_where_it_overlaps_a_right_one(
    start: int, end: int, golds: tuple[tuple[str, int], ...], right: bool
) -> None:
    text = "1912"[: end - start] if end else ""
    context = "1912 or in 1912 or later"
    gold = Gold("1", "When?", context, tuple(text for text, _ in golds), tuple(place for _, place in golds))
    assert is_right(Answer(text, start, end, 1.0, 0.5), gold) is right
