"""AsyncReader: a `Reader` for asyncio hosts, which answers the questions of many callers together.

    task or thread --submit--> queue --workers--> future --await--> task

The event loop only hands over texts and takes answers. Tokenizing, running and searching happen in worker threads,
in batches that mix the windows of all callers. The answers are those of `Reader.predict`.

Left out: the threads (workers.py), the order of the work (schedule.py, fair_queue.py), and its errors
(requests.py).
"""

from __future__ import annotations

import asyncio
import math
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING

from qa_onnx.dynamic_batching.workers import Workers
from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_bounds, is_number, refuse_arguments
from qa_onnx.windows import Example, as_example

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Self

    from qa_onnx.answers import Answer, Prediction
    from qa_onnx.dynamic_batching.observer import Observer
    from qa_onnx.dynamic_batching.requests import OnProgress
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.spans import WindowLogits
    from qa_onnx.windows import AnyExample

_LONGEST_S = 1 << 53  # of an integer, which a clock's float cannot hold otherwise


class AsyncReader:
    """Answers questions of many tasks, threads and event loops at once.

    A question is cut into windows, and the windows of all questions share batches. Questions with few windows left
    go first, while long contexts keep a guaranteed share. Use it as an async context manager, or `close` it.

    An int8 graph scales its activations by the largest value of a batch, so other windows of the batch can change
    scores a little; fp32 gives the scores of `Reader.predict` up to rounding.

    Args:
        reader: answers the questions; it can be used directly at the same time.
        max_batch_tokens: budget of one batch, in tokens with padding; None: the reader's
            `options.batch_tokens`. The budget in the options of a call is not read.
        max_wait_ms: milliseconds that a question may wait for others to fill its batch while the engine is free.
            0: whatever waits runs at once; under load batches fill by themselves.
        max_queue: questions that wait or run at most; one more gets QueueFullError.
        workers: threads that tokenize and run batches. More than one only helps where one run leaves cores or a
            GPU idle.
        observer: is notified of queue, batches and stages.

    Raises:
        InputError: a number is out of range, or an argument of a wrong type.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        max_batch_tokens: int | None = None,
        max_wait_ms: float = 0.0,
        max_queue: int = 1024,
        workers: int = 1,
        observer: Observer | None = None,
    ) -> None:
        if not hasattr(reader, "steps"):
            raise InputError(f"reader is {quoted(reader)}; it must be a Reader")
        batch_tokens = reader.options.batch_tokens if max_batch_tokens is None else max_batch_tokens
        numbers = {"max_batch_tokens": batch_tokens, "max_queue": max_queue, "workers": workers}
        for name, value in {**numbers, "max_wait_ms": max_wait_ms}.items():
            check_bounds(name, value)
        self.reader = reader
        self._closed = False
        self._make_workers = partial(
            Workers,
            reader.steps,
            batch_tokens=batch_tokens,
            max_wait_s=max_wait_ms / 1000,
            max_queue=max_queue,
            threads=workers,
            observer=observer,
        )
        self._of_process: dict[int, Workers] = {}

    def __repr__(self) -> str:
        workers = self._of_process.get(os.getpid())  # and starts none
        waiting = "" if workers is None else f", depth={workers.depth}"
        return f"{type(self).__name__}({self.reader!r}{waiting}{', closed' if self._closed else ''})"

    @property
    def depth(self) -> int:
        """Questions that wait or run."""
        return self._workers().depth

    @property
    def problem(self) -> str:
        """Why no question is answered now, such as a run that does not end; "" while they are."""
        return self._workers().problem

    @property
    def failed(self) -> bool:
        """Whether it has closed by itself, after an error of its own or several runs that do not end."""
        return self._workers().failed

    def submit(
        self,
        example: AnyExample,
        *,
        options: Options | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Future[Prediction]:
        """Hand over an example from any thread, without asyncio; returns at once.

        Args:
            example: question and context, in a form that `Reader.predict` takes.
            options: instead of the reader's own.
            timeout_s: seconds after which it fails with DeadlineError, and nothing of it runs any more.
            on_progress: is called in a worker's thread, each time that some of the example's windows have run and
                others have not, with the number of those that have and the number of all.

        Returns:
            A future with the prediction. Its `cancel` withdraws what does not run yet, and ends a run that nobody
            else waits for.

        Raises:
            QueueFullError: `max_queue` questions wait or run.
            ClosedError: the reader is closed.
            InputError: not an example, or the options do not fit the model. An error in a text shows later, and
                the future raises it.
        """
        options = self.reader.resolve(options)
        return self._workers().submit(as_example(example), options, _seconds(timeout_s), on_progress=on_progress)

    async def predict(
        self, example: AnyExample, *, options: Options | None = None, timeout_s: float | None = None
    ) -> Prediction:
        """Predict one example; cancelling the task withdraws it.

        Takes the arguments of `submit`, and raises its errors and those of `Reader.ask`.

        Raises:
            DeadlineError: there was no answer after `timeout_s`; what has not run by then never will.
        """
        return await asyncio.wrap_future(self.submit(example, options=options, timeout_s=timeout_s))

    async def logits(
        self, example: AnyExample, *, options: Options | None = None, timeout_s: float | None = None
    ) -> list[WindowLogits]:
        """Return the windows of one example in the order of the text, with the model's raw output for each.

        It takes the arguments of `predict` and raises its errors; see also `Reader.logits`.
        """
        options = self.reader.resolve(options)
        future = self._workers().submit(as_example(example), options, _seconds(timeout_s), wants_logits=True)
        rows: list[WindowLogits] = await asyncio.wrap_future(future)
        return rows

    async def ask(
        self,
        question: str,
        context: str,
        *,
        options: Options | None = None,
        timeout_s: float | None = None,
        **other: object,
    ) -> Answer:
        """Answer one question from one context; see `Reader.ask` and `predict`."""
        refuse_arguments(other)
        prediction = await self.predict(Example(question, context), options=options, timeout_s=timeout_s)
        return self.choose(prediction, options=options)

    def choose(self, prediction: Prediction, *, options: Options | None = None) -> Answer:
        """Choose the answer of a prediction; see `Reader.choose`."""
        return self.reader.choose(prediction, options=options)

    async def close(self, *, drain: bool = True) -> None:
        """Take no more questions, and wait until the workers have ended; it may be called several times.

        Args:
            drain: True: answer what was accepted. False: what does not run yet fails with ClosedError, also when
                an earlier call is still draining.
        """
        self._closed = True
        workers = self._workers()
        workers.close(drain=drain)
        await asyncio.wrap_future(workers.stopped)
        workers.join()  # they are leaving: it does not block

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.close(drain=kind is None)

    def _workers(self) -> Workers:
        """Return this process' workers: a fork copies no threads, and locks that they hold stay locked."""
        here = os.getpid()
        workers = self._of_process.get(here)
        if workers is None:
            workers = self._of_process.setdefault(here, self._make_workers())
            weakref.finalize(self, workers.abandon).atexit = False
            if self._closed:
                workers.close(drain=False)
        return workers


def _seconds(timeout_s: float | None) -> float:
    if timeout_s is None:
        return math.inf
    if not is_number(timeout_s) or timeout_s < 0 or (isinstance(timeout_s, int) and timeout_s > _LONGEST_S):
        raise InputError(
            f"timeout_s is {quoted(timeout_s)}; it must be a number of seconds, 0 or more, or None for no limit"
        )
    return timeout_s
