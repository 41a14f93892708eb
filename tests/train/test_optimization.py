"""The order of examples and the schedule: functions of the position alone."""

from __future__ import annotations

import pytest

from qa_onnx.train import TrainSettings
from qa_onnx.train.optimization import TrainingSchedule, shuffled
from qa_onnx.train.state import State


def test_each_epoch_is_every_example_once_in_an_order_of_its_own() -> None:
    whole = shuffled(0, 30, epoch_examples=10, seed=1)
    epochs = [whole[at : at + 10] for at in range(0, 30, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert shuffled(0, 30, epoch_examples=10, seed=2) != whole
    assert [i for at in range(0, 30, 6) for i in shuffled(at, 6, epoch_examples=10, seed=1)] == whole


@pytest.mark.parametrize(
    ("warmup", "progress", "expected"),
    [(0.1, 0.0, 0.0), (0.1, 0.05, 0.5), (0.1, 0.1, 1.0), (0.1, 0.55, 0.5), (0.1, 1.0, 0.0), (0.0, 0.0, 1.0)],
)
def test_the_rate_rises_and_falls_linearly(warmup: float, progress: float, expected: float) -> None:
    assert TrainingSchedule(TrainSettings(warmup=warmup), 100).rate(progress) == pytest.approx(expected)


def test_progress_is_by_examples_or_by_the_clock() -> None:
    by_epochs = TrainingSchedule(TrainSettings(epochs=1.5), 100)
    by_clock = TrainingSchedule(TrainSettings(minutes=2), 100)
    assert by_epochs.total_examples == 150
    assert by_epochs.progress(State({}, position=50, elapsed=9e9), examples=25) == 0.5
    assert by_clock.progress(State({}, position=9999, elapsed=20), seconds=10) == 0.25
    assert by_clock.progress(State({}, elapsed=9999)) == 1.0
