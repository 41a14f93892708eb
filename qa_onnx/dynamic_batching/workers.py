"""Worker threads that answer the requests of many callers, batch by batch.

    submit --> texts --cut--> windows in a FairQueue --score--> scored windows --merge--> future

Each worker does what is due: it cuts the texts that came in, then runs the next batch. Long texts are cut in a
thread of their own, so that nobody waits for them.

Left out: what is due next (schedule.py), the work itself (requests.py), and asyncio (async_reader.py).
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
from concurrent.futures import Future
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeAlias

from qa_onnx.dynamic_batching.fair_queue import FairQueue
from qa_onnx.dynamic_batching.observer import Watch
from qa_onnx.dynamic_batching.requests import Request, cut, merge, score
from qa_onnx.dynamic_batching.schedule import Schedule
from qa_onnx.errors import ClosedError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.dynamic_batching.observer import Observer
    from qa_onnx.options import Options
    from qa_onnx.steps import Steps
    from qa_onnx.windows import Example, Window

    _Job: TypeAlias = Callable[[], None]

_log = logging.getLogger(__name__)


class Workers:
    """A queue of requests and the threads that work on it, which start with the first request; see `AsyncReader`.

    Attributes:
        stopped: done when all threads have ended after `close`.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        batch_tokens: int,
        max_wait_s: float,
        max_queue: int,
        threads: int,
        observer: Observer | None,
    ) -> None:
        self.stopped: Future[None] = Future()
        self.stopped.set_running_or_notify_cancel()  # so that nobody who waits for it can cancel it
        self._steps = steps
        self._batch_tokens = batch_tokens
        self._max_queue = max_queue
        self._threads = threads
        self._watch = Watch(observer)
        self._process = os.getpid()
        self._changed = threading.Condition()  # guards all that follows
        self._schedule = Schedule(
            FairQueue(batch_tokens, padding=steps.session.run_overhead), max_wait_s=max_wait_s
        )
        self._accepted = 0
        self._closed = False
        self._started: list[threading.Thread] = []
        self._ended = 0
        self._cuts_long_texts = False

    @property
    def depth(self) -> int:
        """Requests that wait or run."""
        return len(self._schedule.requests)

    # ---- called by users of the queue

    def submit(self, example: Example, options: Options, timeout_s: float) -> Future[Prediction]:
        """Accept a request; see `AsyncReader.submit`.

        Raises:
            QueueFullError: `max_queue` requests wait or run.
            ClosedError: `close` was called.
        """
        with self._changed:
            if self._closed:
                raise ClosedError("this reader is closed and takes no more questions: make a new one")
            if self.depth >= self._max_queue:
                raise self._full()
            request = Request(self._accepted, example, options, timeout_s)
            self._accepted += 1
            self._schedule.add(request)
            self._start_threads(request)
            self._changed.notify_all()
            depth = self.depth
        self._watch.notify("queue", depth)
        request.future.add_done_callback(partial(self._leave, request.number))
        return request.future

    def close(self, *, drain: bool) -> None:
        """Take no more requests, and let the threads end, without waiting for them; see `AsyncReader.close`."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else list(self._schedule.requests.values())
            never_started = not self._started and not self.stopped.done()
            self._changed.notify_all()
        if never_started:
            self.stopped.set_result(None)
        for request in dropped:
            request.settle(ClosedError("the reader was closed before it came to this question"))

    def abandon(self) -> None:
        """Close from the garbage collector, which may run in a thread that holds the lock."""
        if self._process == os.getpid() and self._started and not self.stopped.done():
            threading.Thread(target=self.close, kwargs={"drain": False}, daemon=True).start()

    def join(self) -> None:
        """Wait until all threads have ended, except the one that calls."""
        for thread in self._started:
            if thread is not threading.current_thread():
                thread.join()

    def _full(self) -> QueueFullError:
        seconds = max(0.1, self._schedule.tokens() * self._watch.token_seconds / self._threads)
        return QueueFullError(
            f"{self.depth} questions wait or run, and max_queue is {self._max_queue}: ask again in "
            f"{seconds:.1f} s, or raise max_queue",
            seconds,
        )

    def _leave(self, number: int, future: Future[Prediction]) -> None:
        """Forget a request that was answered, has failed, or was cancelled."""
        if future.cancelled():
            future.set_running_or_notify_cancel()  # or concurrent.futures.wait would not notice
        with self._changed:
            self._schedule.remove(number)
            depth = self.depth
            self._changed.notify_all()
        self._watch.notify("queue", depth)

    # ---- called by the threads

    def _start_threads(self, request: Request) -> None:
        loops: list[Callable[[], _Job | None]] = []
        if not self._started:
            loops += [self._next_job] * self._threads
            atexit.register(self._exit)
        if request.is_long and not self._cuts_long_texts:
            loops.append(self._next_long_text)
            self._cuts_long_texts = True
        for loop in loops:
            name = f"qa-onnx-{len(self._started)}"
            self._started.append(threading.Thread(target=self._work, args=(loop,), name=name, daemon=True))
            self._started[-1].start()

    def _work(self, next_job: Callable[[], _Job | None]) -> None:
        try:
            while job := next_job():
                job()
        except BaseException:  # noqa: BLE001  # whatever it is, nobody shall wait for ever
            _log.exception("a worker failed, and the reader closes")
            self.close(drain=False)
        with self._changed:
            self._ended += 1
            last = self._ended == len(self._started)
        if last:
            atexit.unregister(self._exit)
            self.stopped.set_result(None)

    def _exit(self) -> None:
        """End the threads before the interpreter does: one that is inside a run could crash it."""
        if self._process == os.getpid():
            self.close(drain=False)
            self.join()

    def _next_job(self) -> _Job | None:
        """Wait for what is due next; None: all is done and nothing more will come."""
        with self._changed:
            while True:
                if requests := self._schedule.next_texts():
                    return partial(self._cut, requests)
                delay = self._schedule.delay(monotonic())
                if delay <= 0 or (self._closed and delay < math.inf):
                    self._changed.notify_all()  # there may be room for the windows of a long text
                    return partial(self._run, self._schedule.next_batch())
                if self._closed and not self.depth:
                    return None
                self._changed.wait(None if delay == math.inf else delay)

    def _next_long_text(self) -> _Job | None:
        with self._changed:
            while True:
                if request := self._schedule.next_long_text():
                    return partial(self._cut, [request])
                if self._closed and not self.depth:
                    return None
                self._changed.wait()

    def _cut(self, requests: Sequence[Request]) -> None:
        began = perf_counter()
        for request, outcome in cut(self._steps, [request for request in requests if request.is_due()]):
            if isinstance(outcome, BaseException):
                request.settle(outcome)
                continue
            with self._changed:
                self._schedule.enqueue(request, outcome)
        self._watch.notify("stage", "cut", perf_counter() - began)
        with self._changed:
            self._changed.notify_all()

    def _run(self, batch: Sequence[tuple[Request, Window]]) -> None:
        work = [(request, window) for request, window in batch if request.is_due()]
        with self._changed:
            first_runs = {request.number: request for request, _ in work if not request.has_run}
            for request in first_runs.values():
                request.has_run = True
        for request in first_runs.values():
            self._watch.notify("stage", "wait", monotonic() - request.accepted)
        whole = []
        for request, outcome in score(self._steps, work, batch_tokens=self._batch_tokens, watch=self._watch):
            if isinstance(outcome, BaseException):
                request.settle(outcome)
                continue
            with self._changed:
                request.scored.append(outcome)
                if request.cut is not None and len(request.scored) == len(request.cut.windows):
                    whole.append(request)
        for request in whole:
            request.settle(merge(self._steps, request))
