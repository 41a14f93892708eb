"""The order of examples, the schedule and the clock: functions of the position alone."""

from __future__ import annotations

import pytest

from qa_onnx.batches import by_length
from qa_onnx.train import TrainSettings
from qa_onnx.train.order import Order
from qa_onnx.train.schedule import TrainingClock, progress, rate, total_examples


def test_each_epoch_is_every_example_once_in_an_order_of_its_own() -> None:
    order = Order(10, seed=1)
    epochs = [order.take(10 * epoch, 10) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert Order(10, seed=2).take(0, 10) != epochs[0]


def test_it_goes_on_from_any_position() -> None:
    whole = Order(7, seed=3).take(0, 40)
    assert [index for at in range(0, 40, 8) for index in Order(7, seed=3).take(at, 8)] == whole


def test_parts_of_a_step_hold_each_row_once_within_the_budget() -> None:
    lengths = [5, 90, 7, 30, 30, 31, 200, 8]
    groups = list(by_length(lengths, batch_tokens=100))
    assert sorted(index for group in groups for index in group) == list(range(8))
    assert groups[0] == [6]  # longer than the budget: alone
    assert all(len(group) * lengths[group[0]] <= 100 for group in groups[1:])
    assert [lengths[index] for group in groups for index in group] == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    ("at", "expected"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0), (1.2, 0.0)]
)
def test_the_rate_rises_and_falls_in_lines(at: float, expected: float) -> None:
    assert rate(at, 0.1) == pytest.approx(expected)


def test_without_warm_up_it_starts_at_its_peak() -> None:
    assert rate(0.0, 0.0) == 1.0


def test_progress_is_by_examples_or_by_the_clock() -> None:
    by_epochs, by_clock = TrainSettings(epochs=1.5), TrainSettings(minutes=2)
    assert total_examples(by_epochs, 100) == 150
    assert total_examples(by_clock, 100) is None
    assert progress(by_epochs, 100, position=75, elapsed=9e9) == 0.5
    assert progress(by_clock, 100, position=9999, elapsed=30) == 0.25
    assert progress(by_clock, 100, position=0, elapsed=9999) == 1.0


def test_the_clock_goes_on_where_it_stopped() -> None:
    times = iter([100.0, 107.0])
    assert TrainingClock(50.0, now=lambda: next(times)).elapsed() == 57.0
