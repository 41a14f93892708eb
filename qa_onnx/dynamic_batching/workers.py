"""Threads that answer what many callers ask, batch by batch.

    submit --> waiting texts --cut--> FairQueue --score--> scored windows --merge--> future

Each worker does what is due: it cuts the texts that came in, then runs the next batch. A text that takes long to
cut has a thread of its own, so that nobody waits for it.

Left out: the order of windows (fair_queue.py), the work itself (requests.py), and asyncio (async_reader.py).
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from qa_onnx.dynamic_batching.deadlines import Deadlines
from qa_onnx.dynamic_batching.fair_queue import FairQueue
from qa_onnx.dynamic_batching.observer import Watch
from qa_onnx.dynamic_batching.requests import Request, cut, merge, score, too_late
from qa_onnx.errors import ClosedError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.dynamic_batching.fair_queue import QueuedWindow
    from qa_onnx.dynamic_batching.observer import Observer
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.windows import Example

# Characters of a text that is cut apart from the others.
_LONG_TEXT = 30_000
# The thread for long texts pauses while this many windows wait: each takes some 6 KB, its text a sixth of that.
_ENOUGH_WINDOWS = 2048
# What is cut in one go before the next batch runs.
_CUT_CHARACTERS = 200_000
_CHARACTERS_A_TOKEN = 4.0

_log = logging.getLogger(__name__)


class Workers:
    """A queue of requests, and the threads that work on it; they start with the first request.

    Args:
        reader: does the work.
        batch_tokens: see `Options.batch_tokens`.
        max_wait_s: how long a batch that is not full waits for company.
        max_queue: requests that wait or run at most.
        threads: that cut and run.
        observer: hears of the work.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        batch_tokens: int,
        max_wait_s: float,
        max_queue: int,
        threads: int,
        observer: Observer | None,
    ) -> None:
        self.stopped: Future[None] = Future()
        self.stopped.set_running_or_notify_cancel()  # so that nobody who waits for it can cancel it
        self._reader = reader
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._threads = threads
        self._watch = Watch(observer)
        self._lock = threading.Lock()
        self._work_came = threading.Condition(self._lock)
        self._long_text_came = threading.Condition(self._lock)
        self._started: list[threading.Thread] = []
        self._ended = 0
        self._process = os.getpid()
        self._closed = False
        self._accepted = 0
        self._open: dict[int, Request] = {}
        self._short: OrderedDict[int, Request] = OrderedDict()
        self._long: OrderedDict[int, Request] = OrderedDict()
        self._ready = FairQueue(batch_tokens, padding=reader.steps.session.run_overhead)
        self._deadlines = Deadlines()

    @property
    def depth(self) -> int:
        """Requests that wait or run."""
        return len(self._open)

    # ---- what callers do

    def submit(self, example: Example, options: Options, timeout_s: float) -> Future[Prediction]:
        """Accept a request; cancel the future to withdraw it.

        Args:
            example: question and context.
            options: resolved.
            timeout_s: what does not run in this many seconds never will, and fails with DeadlineError.

        Raises:
            QueueFullError: `max_queue` requests wait or run.
            ClosedError: `close` was called.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("this reader is closed and takes no more questions: make a new one")
            if len(self._open) >= self._max_queue:
                raise self._full()
            request = Request(self._accepted, example, options, timeout_s)
            self._accepted += 1
            self._open[request.number] = request
            self._deadlines.add(request.number, request.deadline)
            if request.characters > _LONG_TEXT:
                self._long[request.number] = request
                self._long_text_came.notify()
            else:
                self._short[request.number] = request
            self._work_came.notify()
            self._start()
            depth = len(self._open)
        self._watch.queue(depth)
        request.future.add_done_callback(partial(self._leave, request.number))
        return request.future

    def close(self, *, drain: bool) -> None:
        """Take no more requests, and end the threads when those accepted are answered; returns at once.

        Args:
            drain: False: what does not run yet fails with ClosedError instead.
        """
        with self._lock:
            self._closed = True
            dropped = [] if drain else list(self._open.values())
            never_started = not self._started and not self.stopped.done()
            self._wake_all()
        if never_started:
            self.stopped.set_result(None)
        for request in dropped:
            request.settle(ClosedError("the reader was closed before it came to this question"))

    def abandon(self) -> None:
        """Close from the garbage collector, which may run in a thread that holds the lock."""
        if self._process == os.getpid() and self._started and not self.stopped.done():
            threading.Thread(target=self.close, kwargs={"drain": False}, daemon=True).start()

    def join(self) -> None:
        """Wait until all threads have ended, but for the one that calls."""
        for thread in self._started:
            if thread is not threading.current_thread():
                thread.join()

    def _full(self) -> QueueFullError:
        characters = sum(request.characters for lane in (self._short, self._long) for request in lane.values())
        tokens = self._ready.tokens + characters / _CHARACTERS_A_TOKEN
        seconds = max(0.1, tokens * self._watch.token_seconds / self._threads)
        return QueueFullError(
            f"{len(self._open)} questions wait or run, and max_queue is {self._max_queue}: ask again in "
            f"{seconds:.1f} s, or raise max_queue",
            seconds,
        )

    def _leave(self, number: int, future: Future[Prediction]) -> None:
        """Forget a request that was answered, has failed, or was cancelled."""
        if future.cancelled():
            future.set_running_or_notify_cancel()  # or concurrent.futures.wait would not notice
        with self._lock:
            del self._open[number]
            self._short.pop(number, None)
            self._long.pop(number, None)
            self._ready.discard(number)
            self._deadlines.drop(number)
            depth = len(self._open)
            self._wake_all()
        self._watch.queue(depth)

    def _wake_all(self) -> None:
        if self._closed or self._long:
            self._work_came.notify_all()
            self._long_text_came.notify_all()

    # ---- what threads do

    def _start(self) -> None:
        if not self._started:
            jobs = [self._next_job] * self._threads + [self._next_long_text]
            for number, job in enumerate(jobs):
                name = f"qa-onnx-{number}"
                self._started.append(threading.Thread(target=self._work, args=(job,), name=name, daemon=True))
            for thread in self._started:
                thread.start()
            atexit.register(self._exit)

    def _work(self, next_job: Callable[[], Callable[[], None] | None]) -> None:
        try:
            while job := next_job():
                job()
        except BaseException:  # noqa: BLE001  # whatever it is, nobody shall wait for ever
            _log.exception("a worker failed, and the reader closes")
            self.close(drain=False)
        with self._lock:
            self._ended += 1
            last = self._ended == len(self._started)
        if last:
            atexit.unregister(self._exit)
            self.stopped.set_result(None)

    def _exit(self) -> None:
        """A thread that is amid a run when the interpreter goes could crash it."""
        if self._process == os.getpid():
            self.close(drain=False)
            self.join()

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for what is due next; None: all is done and nothing more will come."""
        with self._lock:
            while True:
                now = monotonic()
                if self._deadlines.next() <= now:
                    return partial(self._expire, self._deadlines.pop())
                if self._short:
                    return partial(self._cut, self._texts())
                delay = self._delay(now)
                if delay <= 0:
                    places = self._ready.take()
                    self._long_text_came.notify()
                    return partial(self._run, places)
                if self._closed and not self._open:
                    return None
                wait = min(delay, self._deadlines.next() - now)
                self._work_came.wait(None if wait == math.inf else wait)

    def _next_long_text(self) -> Callable[[], None] | None:
        with self._lock:
            while True:
                if self._long and self._ready.windows < _ENOUGH_WINDOWS:
                    return partial(self._cut, [self._long.popitem(last=False)[1]])
                if self._closed and not self._open:
                    return None
                self._long_text_came.wait()

    def _texts(self) -> list[Request]:
        requests: list[Request] = []
        characters = 0
        while self._short and characters < _CUT_CHARACTERS:
            requests.append(self._short.popitem(last=False)[1])
            characters += requests[-1].characters
        return requests

    def _delay(self, now: float) -> float:
        """Seconds until the next batch is due; infinite when there is none."""
        if not self._ready.windows:
            return math.inf
        if self._closed or self._ready.tokens >= self._ready.batch_tokens:
            return 0.0
        return self._open[self._ready.oldest()].accepted + self._max_wait_s - now

    def _expire(self, number: int) -> None:
        if request := self._open.get(number):
            request.settle(too_late(request.timeout_s))

    def _cut(self, requests: Sequence[Request]) -> None:
        began = perf_counter()
        for request, outcome in cut(self._reader.steps, requests):
            if isinstance(outcome, BaseException):
                request.settle(outcome)
                continue
            with self._lock:
                if not request.future.done():
                    request.cut = outcome
                    self._ready.add(request.number, outcome.windows)
        self._watch.stage("cut", perf_counter() - began)
        with self._lock:
            self._work_came.notify_all()

    def _run(self, places: Sequence[QueuedWindow]) -> None:
        with self._lock:
            work = [(self._open[place.number], place.window) for place in places if place.number in self._open]
            first_runs = {request.number: request for request, _ in work if not request.has_run}
            for request in first_runs.values():
                request.has_run = True
        for request in first_runs.values():
            self._watch.stage("wait", monotonic() - request.accepted)
        whole = []
        outcomes = score(self._reader.steps, work, batch_tokens=self._ready.batch_tokens, watch=self._watch)
        for request, outcome in outcomes:
            if isinstance(outcome, BaseException):
                request.settle(outcome)
                continue
            with self._lock:
                request.scored.append(outcome)
                if request.cut is not None and len(request.scored) == len(request.cut.windows):
                    whole.append(request)
        for request in whole:
            request.settle(merge(self._reader.steps, request))
