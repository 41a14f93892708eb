"""TrainingJob -> trained weights: AdamW under a schedule, with evaluations, saves and an exact resume.

Not transformers' Trainer: this loop groups windows by length within a step, its schedule can follow the clock,
and its state is one file without pickles, replaced atomically, from which a run resumes bit for bit in the middle
of an epoch. Left out: several GPUs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from qa_onnx import batches
from qa_onnx.errors import TrainError
from qa_onnx.train.callback import Status
from qa_onnx.train.evaluations import Evaluations
from qa_onnx.train.loss import span_loss
from qa_onnx.train.optimization import TrainingSchedule, make_optimizer, peak_learning_rate, shuffled
from qa_onnx.train.state import RECENT, restore, save_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.train.callback import TrainingCallback
    from qa_onnx.train.job import TrainingJob
    from qa_onnx.train.state import State
    from qa_onnx.train.teacher import TeacherLogits


class Trainer:
    """The training loop of one run.

    Args:
        job: the model, whose weights are trained in place, its data, device and settings.
        folder: where the state is saved.
        state: of the run; if it has taken a step, weights and optimizer are restored from `folder`.
        teacher_logits: of the job's teacher, for its features; None: there is no teacher.
        callback: is called after each step and the evaluation that is due then.
        clock: seconds; another one for tests.
    """

    def __init__(
        self,
        job: TrainingJob,
        *,
        folder: Path,
        state: State,
        teacher_logits: TeacherLogits | None = None,
        callback: TrainingCallback | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job, self._folder, self._state, self._teacher_logits = job, folder, state, teacher_logits
        self._callback, self._clock = callback, clock
        self._peak = peak_learning_rate(job.base, job.settings)
        self._schedule = TrainingSchedule(job.settings, len(job.features))
        self._evaluations = Evaluations(job, state, self._schedule, folder)
        self._step_s = 1.0  # of the last step; before the first, a guess
        self._speed = 0.0  # examples per second, evaluations excluded
        self._ends: deque[tuple[int, float]] = deque(maxlen=RECENT)  # position and elapsed after each step

    def run(self) -> None:
        """Train to the end of the run; the random state of the process is left as it was.

        Raises:
            TrainError: the loss is not finite, or the state cannot be read or written.
            EngineError: an evaluation gave logits that are not finite.
        """
        import torch

        job, state, model = self._job, self._state, self._job.base.model
        with torch.random.fork_rng():
            torch.manual_seed(job.settings.seed)
            model.to(job.device.device)
            optimizer = make_optimizer(model, job.settings)
            if state.steps:
                restore(self._folder, model, optimizer)
            state.threads = torch.get_num_threads()
            started = self._clock() - state.elapsed
            saved = self._clock()
            model.train()
            while not state.done:
                self._step(optimizer)
                elapsed = self._clock() - started
                self._step_s, state.elapsed = elapsed - state.elapsed, elapsed
                self._measure_speed()
                evaluate = self._evaluations.are_due()
                if evaluate:
                    self._evaluations.run(lambda: self._clock() - started)
                    self._ends.clear()
                if self._callback is not None:
                    self._callback(self._status(optimizer, evaluated=evaluate))
                state.done = self._schedule.progress(state) >= 1 or self._evaluations.are_out_of_patience()
                # One save for step and evaluation: a killed run never resumes between them.
                if state.done or evaluate or self._clock() - saved >= job.settings.save_every_s:
                    save_state(self._folder, state, model, optimizer)
                    saved = self._clock()

    def _step(self, optimizer: Any) -> None:
        import torch

        job, state, schedule = self._job, self._state, self._schedule
        count = job.settings.batch_size
        if job.settings.minutes is None:
            count = min(count, schedule.total_examples - state.position)
        middle = schedule.progress(state, examples=count / 2, seconds=self._step_s / 2)
        for group in optimizer.param_groups:
            group["lr"] = self._peak * schedule.rate(middle)
        indices = shuffled(state.position, count, epoch_examples=len(job.features), seed=job.settings.seed)
        loss = add_gradients(job, indices, self._teacher_logits)
        norm = float(torch.nn.utils.clip_grad_norm_(job.base.model.parameters(), job.settings.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"step {state.steps + 1}: the loss is {loss} and the norm of its gradient {norm}: the learning "
                f"rate of {self._peak:g} is too high for this model, or its weights are broken"
            )
        optimizer.step()
        optimizer.zero_grad()
        state.position += count
        state.steps += 1
        state.losses.append(loss)

    def _measure_speed(self) -> None:
        self._ends.append((self._state.position, self._state.elapsed))
        examples, seconds = (last - first for first, last in zip(self._ends[0], self._ends[-1], strict=True))
        if seconds:
            self._speed = examples / seconds

    def _status(self, optimizer: Any, *, evaluated: bool) -> Status:
        state, schedule, evaluations = self._state, self._schedule, self._evaluations
        minutes = self._job.settings.minutes
        to_go_s: float | None = None
        if minutes is not None:
            to_go_s = max(0.0, 60 * minutes - state.elapsed)
        elif self._speed:
            to_go_s = (schedule.total_examples - state.position) / self._speed
            to_go_s += evaluations.remaining() * evaluations.seconds
        return Status(
            step=state.steps,
            loss=state.losses[-1],
            learning_rate=optimizer.param_groups[0]["lr"],
            f1=state.evaluations[-1]["f1"] if evaluated else None,
            em=state.evaluations[-1]["em"] if evaluated else None,
            mean_loss=state.recent_loss(),
            epoch=state.position / schedule.epoch_examples,
            progress=schedule.progress(state),
            elapsed_s=state.elapsed,
            examples_per_second=self._speed,
            to_go_s=to_go_s,
        )


def add_gradients(job: TrainingJob, indices: list[int], teacher_logits: TeacherLogits | None = None) -> float:
    """Add the gradients of some examples to the model's, in parts of similar length that fit the memory.

    Returns:
        The mean loss of the examples.
    """
    import torch

    base, device = job.base, job.device
    ids, types = job.features.rows(indices)
    total = 0.0
    for part in batches.by_length([len(row) for row in ids], batch_tokens=device.batch_tokens):
        part_ids, part_types = [ids[row] for row in part], [types[row] for row in part]
        arrays = batches.pad(part_ids, part_types, input_names=base.inputs, pad_id=base.pad_id)
        if len(part_ids[0]) == len(part_ids[-1]):
            arrays.pop("attention_mask", None)  # no padding, and attention is faster without a mask
        examples = [indices[row] for row in part]
        spans = torch.from_numpy(job.features.spans[examples]).long().to(device.device)
        teacher = None if teacher_logits is None else teacher_logits.rows(examples).to(device.device)
        out = device.run(base.model, arrays)
        loss = span_loss(out.start_logits, out.end_logits, spans, teacher, job.settings.teacher_share)
        loss = loss / len(indices)
        loss.backward()
        total += float(loss.detach())
    return total
