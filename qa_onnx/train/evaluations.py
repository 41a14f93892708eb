"""A model in training + held-out questions -> EM and F1, computed as `qa-onnx eval` does; and the best weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.export.parity import RunnerSession, torch_runner
from qa_onnx.reader import Reader
from qa_onnx.session import RUN_OVERHEAD
from qa_onnx.train.state import save_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.data.squad import DataSet
    from qa_onnx.options import Options
    from qa_onnx.spans import Logits
    from qa_onnx.train.base import Base, TorchDevice
    from qa_onnx.train.job import TrainingJob
    from qa_onnx.train.optimization import TrainingSchedule
    from qa_onnx.train.state import State

_LOG = logging.getLogger(__name__)

_MAX_SHARE = 0.25  # of the remaining time that an evaluation before the last may take


def score(base: Base, device: TorchDevice, data: DataSet, options: Options) -> dict[str, Any]:
    """Answer all questions of a data set with a model in training, and leave it in evaluation mode.

    Returns:
        em: exact match, in per cent; with unanswerable questions, at the best null threshold.
        f1: likewise.
        has_answer_f1: F1 of the answerable questions if the model always answers; None: there are none.
        n: number of questions.

    Raises:
        EngineError: the model's logits are not finite.
    """
    runner = torch_runner(base.model.eval())

    def run(inputs: Mapping[str, NDArray[np.int64]]) -> tuple[Logits, Logits]:
        with device.autocast():
            return runner(inputs)

    session = RunnerSession(base.inputs, run, RUN_OVERHEAD[device.device], device.device != "cpu")
    reader = Reader(session=session, windower=base.windower, pad_id=base.pad_id, options=options)
    report = evaluate(reader, data)
    best = report.null_threshold
    return {
        "em": report.em if best is None else best.best_em,
        "f1": report.f1 if best is None else best.best_f1,
        "has_answer_f1": report.has_answer.f1 if report.has_answer else None,
        "n": report.n,
    }


class Evaluations:
    """The evaluations of a run: when one is due, its scores, and the weights of the best, a file of `folder`."""

    def __init__(self, job: TrainingJob, state: State, schedule: TrainingSchedule, folder: Path) -> None:
        self._job, self._state, self._schedule, self._folder = job, state, schedule, folder
        self.seconds = 0.0  # of the last evaluation

    def are_due(self) -> bool:
        """Return whether it is time for an evaluation."""
        evaluations, minutes = self._state.evaluations, self._job.settings.minutes
        last = evaluations[-1]["mark"] if evaluations else 0
        if self._job.questions.held_out is None or self._mark() <= last:
            return False
        if minutes is None or self._schedule.progress(self._state) >= 1:
            return True
        return self.seconds <= _MAX_SHARE * (60 * minutes - self._state.elapsed)

    def run(self, elapsed: Callable[[], float]) -> None:
        """Evaluate the model, and save its weights if they are the best so far; `elapsed` is the run's clock."""
        job, state = self._job, self._state
        assert job.questions.held_out is not None
        started = elapsed()
        result = score(job.base, job.device, job.questions.held_out, job.settings.options())
        job.base.model.train()
        is_best = all(
            result["f1"] >= earlier["f1"] for earlier in state.evaluations
        )  # of equals, what learned more
        if is_best:
            state.best = f"best-{state.steps}.safetensors"
            save_weights(self._folder / state.best, job.base.model)
        state.elapsed = elapsed()
        self.seconds = state.elapsed - started
        state.evaluations.append(
            {
                **result,
                "mark": self._mark(),  # by the clock, the evaluation itself made progress
                "best": is_best,
                "steps": state.steps,
                "position": state.position,
                "elapsed": state.elapsed,
            }
        )
        _LOG.info(
            "%3.0f %%: F1 %.2f, EM %.2f on %d questions%s; loss %.3f, step %d",
            *(100 * self._schedule.progress(state), result["f1"], result["em"], result["n"]),
            *(", the best so far" if is_best else "", state.recent_loss(), state.steps),
        )

    def are_out_of_patience(self) -> bool:
        """Return whether none of the last `patience` evaluations was better than those before them."""
        patience, evaluations = self._job.settings.patience, self._state.evaluations
        if patience is None or len(evaluations) <= patience:
            return False
        f1 = [evaluation["f1"] for evaluation in evaluations]
        return bool(max(f1[-patience:]) <= max(f1[:-patience]))

    def remaining(self) -> int:
        """Return the number of evaluations to come."""
        return self._job.settings.evaluations - self._mark() if self._job.questions.held_out else 0

    def _mark(self) -> int:
        """Return how many of the evaluation times, evenly spaced over the run, have passed."""
        return int(self._schedule.progress(self._state) * self._job.settings.evaluations + 1e-9)
