"""Worker threads that answer the requests of many callers, batch by batch.

    submit --> texts --cut--> windows in a FairQueue --score--> scored windows --merge--> future

Each worker does what is due: it cuts the texts that came in, then runs the next batch. Long texts are cut in a
thread of their own, so that nobody waits for them. A run that nobody waits for is ended; where the engine does not
react, another worker opens the graph again.

Left out: what is due next (schedule.py), which runs are to end (runs.py), the work itself (requests.py), and
asyncio (async_reader.py).
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
from concurrent.futures import Future
from functools import partial
from itertools import chain
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from qa_onnx.dynamic_batching.fair_queue import FairQueue
from qa_onnx.dynamic_batching.observer import Watch
from qa_onnx.dynamic_batching.requests import Request, collect, cut, merge, score, too_late
from qa_onnx.dynamic_batching.runs import Run, Runs
from qa_onnx.dynamic_batching.schedule import Schedule
from qa_onnx.dynamic_batching.timer import Timer
from qa_onnx.errors import ClosedError
from qa_onnx.session import enough_windows, is_endable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qa_onnx.dynamic_batching.observer import Observer
    from qa_onnx.options import Options
    from qa_onnx.steps import Steps
    from qa_onnx.windows import Example, Window

    _Job: TypeAlias = Callable[[], None]

_log = logging.getLogger(__name__)
# Each keeps a graph in memory and may keep a core busy.
_MOST_GIVEN_UP = 3


class Workers:
    """A queue of requests and the threads that work on it, which start with the first request; see `AsyncReader`.

    Attributes:
        stopped: done when all threads have ended after `close`.
        failed: whether it closed by itself.
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
        self._threads = self._missing = threads
        self._watch = Watch(observer)
        self._process = os.getpid()
        lock = threading.RLock()  # guards all that follows
        self._changed = threading.Condition(lock)
        self._timer = Timer(lock, self._keep_time)
        self._runs = Runs()
        self._problem = ""
        self.failed = False
        queue = FairQueue(batch_tokens, padding=steps.session.run_overhead)
        self._schedule = Schedule(queue, max_wait_s=max_wait_s, many=enough_windows(steps.session))
        self._accepted = 0
        self._closed = False
        self._started: list[threading.Thread] = []
        self._live: set[threading.Thread] = set()
        self._cuts_long_texts = False

    @property
    def depth(self) -> int:
        """Requests that wait or run."""
        return len(self._schedule.requests)

    @property
    def problem(self) -> str:
        """Why no questions are answered now, as text; "" while they are."""
        with self._changed:
            return self._problem or ("a run does not end" if self._runs.do_not_end() else "")

    # ---- called by users of the queue

    def submit(self, example: Example, options: Options, timeout_s: float, **details: Any) -> Future[Any]:
        """Accept a request, with further fields of `Request`; see `AsyncReader.submit`.

        Raises:
            QueueFullError: `max_queue` requests wait or run.
            ClosedError: `close` was called.
        """
        with self._changed:
            if self._closed:
                raise ClosedError("this reader is closed and takes no more questions: make a new one")
            depth = 1 + self.depth
            if depth > self._max_queue:
                raise self._schedule.full(
                    self._max_queue, token_seconds=self._watch.token_seconds / self._threads, now=monotonic()
                )
            request = Request(self._accepted, example, options, timeout_s, **details)
            self._start_threads(request)  # where one cannot start, the request was never there
            self._timer.set(request.deadline)
            self._accepted += 1
            self._schedule.add(request)
            self._changed.notify_all()
        self._watch.notify("queue", depth)
        request.future.add_done_callback(partial(self._leave, request.number))
        return request.future

    def close(self, *, drain: bool) -> None:
        """Take no more requests, and let the threads end, without waiting for them; see `AsyncReader.close`."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else list(self._schedule.requests.values())
            self._changed.notify_all()
            self._check_end()
        for request in dropped:
            request.settle(ClosedError("the reader was closed before it came to this question"))

    def abandon(self) -> None:
        """Close from the garbage collector, which may run in a thread that holds the lock."""
        if self._process == os.getpid() and self._started and not self.stopped.done():
            threading.Thread(target=self.close, kwargs={"drain": False}, daemon=True).start()

    def join(self) -> None:
        """Wait until all threads have ended, except the one that calls, and those that were given up."""
        left = {threading.current_thread(), *self._runs.given_up}
        for thread in (*self._started, self._timer.thread):
            if thread is not None and thread not in left:
                thread.join()

    def _leave(self, number: int, future: Future[Any]) -> None:
        """Forget a request that was answered, has failed, or was cancelled."""
        if future.cancelled():
            future.set_running_or_notify_cancel()  # or concurrent.futures.wait would not notice
        with self._changed:
            self._schedule.remove(number)
            self._timer.set(self._runs.leave(number, monotonic(), at_once=self._closed))
            depth = self.depth
            self._changed.notify_all()
        self._watch.notify("queue", depth)

    # ---- called by the threads

    def _start_threads(self, request: Request) -> None:
        if self._missing:
            atexit.register(self._exit)
        while self._missing:
            self._start(iter(self._next_job, None))
            self._missing -= 1
        if request.is_long and not self._cuts_long_texts:
            self._start(iter(self._next_long_text, None))
            self._cuts_long_texts = True

    def _start(self, jobs: Iterator[_Job]) -> None:
        name = f"qa-onnx-{len(self._started)}"
        thread = threading.Thread(target=self._work, args=(jobs,), name=name, daemon=True)
        thread.start()  # it may fail; the thread waits for the lock
        self._started.append(thread)
        self._live.add(thread)

    def _work(self, jobs: Iterator[_Job]) -> None:
        try:
            for job in jobs:
                job()
        except BaseException as error:  # noqa: BLE001  # whatever it is, nobody shall wait for ever
            self._fail(f"a worker failed ({type(error).__name__})", error)
        with self._changed:
            self._live.remove(threading.current_thread())
            self._check_end()

    def _fail(self, problem: str, error: BaseException | None = None) -> None:
        """Close, so that nobody waits for ever."""
        _log.error("%s, and the reader closes", problem, exc_info=error)
        with self._changed:
            self._problem, self.failed = problem, True
        self.close(drain=False)

    def _check_end(self) -> None:
        """Report the end of the last thread, if that was it; the lock is held."""
        if self._closed and self._live <= set(self._runs.given_up) and not self.stopped.done():
            atexit.unregister(self._exit)
            self._timer.end()
            self.stopped.set_result(None)

    def _exit(self) -> None:
        """End the threads before the interpreter does: one that is inside a run could crash it."""
        if self._process == os.getpid():
            self.close(drain=False)
            self.join()

    def _next_job(self) -> _Job | None:
        """Wait for what is due next; None: all is done and nothing more will come."""
        with self._changed:
            while threading.current_thread() not in self._runs.given_up:
                if requests := self._schedule.next_texts():
                    return partial(self._cut, requests)
                delay = self._schedule.delay(monotonic())
                if delay <= 0 or (self._closed and delay < math.inf):
                    self._changed.notify_all()  # there may be room for the windows of a long text
                    return partial(self._run, self._schedule.next_batch())
                if self._closed and not self.depth:
                    return None
                self._changed.wait(None if delay == math.inf else delay)
            return None

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
            waiting = {request.number: request for request, _ in work if not request.future.done()}
            if not waiting:
                return
            first_runs = [request for request in waiting.values() if not request.has_run]
            for request in first_runs:
                request.has_run = True
            run = Run(set(waiting), threading.current_thread())
            self._runs.begin(run)
        for request in first_runs:
            self._watch.notify("stage", "wait", monotonic() - request.accepted)
        outcomes = score(self._steps, work, batch_tokens=self._batch_tokens, watch=self._watch, stop=run.stop)
        with self._changed:
            done = collect(outcomes) if self._runs.end(run) else {}
        for request, error in done.items():
            request.settle(merge(self._steps, request) if error is None else error)
        for request in waiting.values():
            request.report()

    # ---- called by the timer

    def _keep_time(self, now: float) -> float:
        """Do what is due, and return when something is due again."""
        try:
            with self._changed:
                late = self._schedule.late(now)
            for request in late:
                request.settle(too_late(request.timeout_s))
            with self._changed:
                for _ in self._runs.overdue(now):
                    self._replace()
        except BaseException as error:  # noqa: BLE001  # of an engine that is to end a run, or no thread can start
            self._fail(f"the timer failed ({type(error).__name__})", error)
        with self._changed:
            self._check_end()
            return min(self._runs.next_due(), self._schedule.first_deadline())

    def _replace(self) -> None:
        """Let another thread open the graph again and go on, in place of one whose run does not end."""
        _log.error("a run does not end: its thread is left alone, and the graph is opened again")
        if len(self._runs.given_up) > _MOST_GIVEN_UP:
            self._fail(f"{len(self._runs.given_up)} runs do not end")
        elif not self._closed or self.depth:
            self._problem = "the graph is opened again, since a run did not end"
            self._start(chain([self._renew], iter(self._next_job, None)))

    def _renew(self) -> None:
        if is_endable(self._steps.session):
            self._steps.session.renew()
        with self._changed:
            self._problem = ""
