"""Features + model -> trained weights: AdamW under a schedule, with saves, evaluations and an exact way back.

A plain loop, and not transformers' Trainer: it groups windows by length inside a step, which the Trainer cannot;
its schedule may follow the clock; its state is one file without pickles, replaced in one step, from which it goes
on bit for bit in the middle of an epoch; and it needs no further package. What it leaves out: several GPUs.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx import batches
from qa_onnx.errors import TrainError
from qa_onnx.train import schedule
from qa_onnx.train.loss import span_loss
from qa_onnx.train.optimizer import make_optimizer, peak_rate
from qa_onnx.train.order import Order
from qa_onnx.train.rows import keep_gradient
from qa_onnx.train.scoring import score
from qa_onnx.train.state import restore, save_state, save_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.train.record import TrainingJob
    from qa_onnx.train.state import State
    from qa_onnx.train.teacher import Taught

_LOG = logging.getLogger(__name__)

_RECENT = 50  # steps that the loss and the rate shown are means of
_EVALUATIONS_SHARE = 0.25  # of the time that is left, at most, goes into an evaluation before the last


@dataclass(frozen=True, slots=True)
class Status:
    """What a run says of itself after each step.

    Attributes:
        progress: 0 to 1.
        epoch: passes over the examples so far.
        steps: of the optimizer.
        loss: mean of the last 50 steps.
        examples_per_second: of late, evaluations apart.
        to_go_s: seconds that it will still take.
        f1: of the last evaluation; None before the first.
    """

    progress: float
    epoch: float
    steps: int
    loss: float
    examples_per_second: float
    to_go_s: float
    f1: float | None


class Loop:
    """A run, from a state to its end.

    Args:
        job: the model, whose weights are trained in place, what it is trained on, where and how.
        folder: where the state is saved.
        state: how far the run is; restored from `folder` if it has taken a step.
        taught: what the job's teacher says of its features.
        tell: is called after each step.
    """

    def __init__(
        self,
        job: TrainingJob,
        *,
        folder: Path,
        state: State,
        taught: Taught | None = None,
        tell: Callable[[Status], None] | None = None,
    ) -> None:
        self.state = state
        self._base = job.base
        self._features = job.features
        self._settings = job.settings
        self._place = job.place
        self._taught = taught
        self._held_out = job.questions.held_out
        self._folder = folder
        self._tell = tell
        self._peak = peak_rate(job.settings, job.base.model)
        self._lengths = np.diff(job.features.bounds).tolist()
        self._order = Order(len(job.features), job.settings.seed)
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)
        self._rate = 0.0
        self._evaluation_s = 0.0
        self._step_s = 1.0  # a guess, until there is one

    def run(self) -> None:
        """Train to the end of the run; the random numbers of the process stay as they were.

        Raises:
            TrainError: the loss is not a number any more, or the state cannot be read or written.
            EngineError: an evaluation gave logits that are no numbers.
        """
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(self._settings.seed)
            self._base.model.to(self._place.device)
            self._embedding = keep_gradient(self._base.model)
            self._optimizer = make_optimizer(self._base.model, self._settings)
            if self.state.steps:
                restore(self._folder, self._base.model, self._optimizer)
            self.state.threads = torch.get_num_threads()
            self._clock = schedule.TrainingClock(self.state.elapsed)
            self._saved = time.monotonic()
            self._base.model.train()
            while not self.state.done:
                self._step()
                evaluated = self._is_due()
                if evaluated:
                    self._evaluate()
                self.state.done = self._progress() >= 1 or self._is_hopeless()
                # One save for all of it: a run that is killed is before a step, or after what belongs to it.
                if self.state.done or evaluated or time.monotonic() - self._saved >= self._settings.save_every_s:
                    self._save()

    def _progress(self, *, examples: float = 0, seconds: float = 0) -> float:
        """Of the run, 0 to 1; as it will be after so many more examples and seconds."""
        return schedule.progress(
            self._settings,
            len(self._features),
            position=self.state.position + examples,
            elapsed=self.state.elapsed + seconds,
        )

    def _step(self) -> None:
        """One step of the optimizer."""
        import torch

        count = self._settings.batch_size
        total = schedule.total_examples(self._settings, len(self._features))
        if total is not None:
            count = min(count, total - self.state.position)
        middle = self._progress(examples=count / 2, seconds=self._step_s / 2)
        now = self._peak * schedule.rate(middle, self._settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = now
        loss = self._gradients(self._order.take(self.state.position, count))
        norm = float(torch.nn.utils.clip_grad_norm_(self._base.model.parameters(), self._settings.clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"step {self.state.steps + 1}: the loss is {loss}, the norm of its gradient {norm}: the learning "
                f"rate of {self._peak:g} is too high for this model, or its weights are broken"
            )
        self._optimizer.step()
        embedded = self._embedding.grad
        self._optimizer.zero_grad()
        self._embedding.grad = embedded.zero_()
        self.state.position += count
        self.state.steps += 1
        self.state.losses.append(loss)
        before, self.state.elapsed = self.state.elapsed, self._clock.elapsed()
        self._step_s = self.state.elapsed - before
        self._recent.append((count, self.state.elapsed))
        if self._tell is not None:
            self._tell(self._status())

    def _gradients(self, indices: list[int]) -> float:
        """Add up the gradients of a step's examples, part by part; returns their mean loss."""
        import torch

        total = 0.0
        lengths = [self._lengths[index] for index in indices]
        for group in batches.by_length(lengths, batch_tokens=self._place.batch_tokens):
            rows = [indices[row] for row in group]
            ids, types = self._features.rows(rows)
            arrays = batches.pad(ids, types, input_names=self._base.inputs, pad_id=self._base.pad_id)
            if lengths[group[0]] == lengths[group[-1]]:
                arrays.pop("attention_mask", None)  # no padding, and attention is faster without a mask
            spans = torch.from_numpy(self._features.spans[rows]).long().to(self._place.device)
            taught = None if self._taught is None else self._taught.rows(rows).to(self._place.device)
            with self._place.autocast():
                out = self._base.model(**self._place.tensors(arrays))
            share = self._settings.teacher_share
            loss = span_loss(out.start_logits, out.end_logits, spans, taught, share) / len(indices)
            loss.backward()
            total += float(loss.detach())
        return total

    def _is_due(self) -> bool:
        """Whether it is time for an evaluation."""
        last = self.state.evaluations[-1]["mark"] if self.state.evaluations else 0
        if self._held_out is None or self._mark() <= last:
            return False
        if self._settings.minutes is None or self._progress() >= 1:
            return True
        left = 60 * self._settings.minutes - self.state.elapsed
        return self._evaluation_s <= _EVALUATIONS_SHARE * left  # time to train, which is what was asked for

    def _is_hopeless(self) -> bool:
        """Whether the last evaluations, as many as patience allows, were no better than one before."""
        patience, evaluations = self._settings.patience, self.state.evaluations
        return (
            patience is not None
            and not any(one["best"] for one in evaluations[-patience - 1 :][1:])
            and (len(evaluations) > patience)
        )

    def _mark(self) -> int:
        return int(self._progress() * self._settings.evaluations + 1e-9)

    def _evaluate(self) -> None:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self._held_out is not None
        started = time.monotonic()
        found = score(self._base, self._place, self._held_out, self._settings.options())
        self._base.model.train()
        state = self.state
        is_best = all(found.f1 > before["f1"] for before in state.evaluations)
        if is_best:
            state.best = f"best-{state.steps}.safetensors"
            save_weights(self._folder / state.best, self._base.model)
        self._evaluation_s = time.monotonic() - started
        state.elapsed = self._clock.elapsed()
        state.evaluations.append(
            {
                **found.record(),
                "mark": self._mark(),  # after it: by the clock, it took time as well
                "best": is_best,
                "steps": state.steps,
                "position": state.position,
                "elapsed": state.elapsed,
            }
        )
        self._recent.clear()  # the rate is that of training alone
        _LOG.info(
            "%3.0f %%: F1 %.2f, EM %.2f on %d questions%s; loss %.3f, step %d",
            *(100 * self._progress(), found.f1, found.em, found.n, ", the best so far" if is_best else ""),
            *(self._mean_loss(), state.steps),
        )

    def _save(self) -> None:
        save_state(self._folder, self.state, self._base.model, self._optimizer)
        self._saved = time.monotonic()

    def _mean_loss(self) -> float:
        recent = self.state.losses[-_RECENT:]
        return sum(recent) / len(recent)

    def _status(self) -> Status:
        state, settings = self.state, self._settings
        seconds = self._recent[-1][1] - self._recent[0][1]
        if seconds:
            self._rate = sum(count for count, _ in list(self._recent)[1:]) / seconds
        total = schedule.total_examples(settings, len(self._features))
        if total is None:
            to_go = 60 * (settings.minutes or 0.0) - state.elapsed
        else:
            evaluations = settings.evaluations - self._mark() if self._held_out else 0
            to_go = (total - state.position) / self._rate if self._rate else math.nan
            to_go += evaluations * self._evaluation_s
        return Status(
            progress=self._progress(),
            epoch=state.position / len(self._features),
            steps=state.steps,
            loss=self._mean_loss(),
            examples_per_second=self._rate,
            to_go_s=to_go if math.isnan(to_go) else max(0.0, to_go),
            f1=state.evaluations[-1]["f1"] if state.evaluations else None,
        )
