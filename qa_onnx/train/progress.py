"""State of a run -> the status that is reported after each step: loss, speed and remaining time."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa_onnx.train.evaluations import Evaluations
    from qa_onnx.train.optimization import TrainingSchedule
    from qa_onnx.train.state import State

_STEPS = 50  # that the speed is averaged over


@dataclass(frozen=True, slots=True)
class Status:
    """Progress of a run after a step.

    Attributes:
        progress: 0 to 1.
        epoch: passes over the examples so far.
        steps: of the optimizer.
        loss: mean of the last 50 steps.
        examples_per_second: mean of the last 50 steps, excluding evaluations.
        to_go_s: estimated seconds to the end of the run; NaN: not known yet.
        f1: of the last evaluation; None before the first.
    """

    progress: float
    epoch: float
    steps: int
    loss: float
    examples_per_second: float
    to_go_s: float
    f1: float | None


class ProgressMeter:
    """Speed of a run, and its remaining time."""

    def __init__(self, state: State, schedule: TrainingSchedule, evaluations: Evaluations) -> None:
        self._state = state
        self._schedule = schedule
        self._evaluations = evaluations
        self._ends: deque[tuple[int, float]] = deque(maxlen=_STEPS)  # position and elapsed after each step
        self._speed = 0.0

    def pause(self) -> None:
        """Exclude the time up to the next step from the speed."""
        self._ends.clear()

    def after_step(self) -> Status:
        """Return the status after a step."""
        state, schedule = self._state, self._schedule
        self._ends.append((state.position, state.elapsed))
        examples, seconds = (last - first for first, last in zip(self._ends[0], self._ends[-1], strict=True))
        if seconds:
            self._speed = examples / seconds
        return Status(
            progress=schedule.progress(state),
            epoch=state.position / schedule.epoch_examples,
            steps=state.steps,
            loss=state.recent_loss(),
            examples_per_second=self._speed,
            to_go_s=self._remaining_s(),
            f1=state.evaluations[-1]["f1"] if state.evaluations else None,
        )

    def _remaining_s(self) -> float:
        state, total = self._state, self._schedule.total_examples
        if total is None:
            return max(0.0, 60 * (self._schedule.settings.minutes or 0.0) - state.elapsed)
        if not self._speed:
            return math.nan
        return (total - state.position) / self._speed + self._evaluations.remaining() * self._evaluations.seconds
