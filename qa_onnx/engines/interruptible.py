"""A run of the main thread -> the same in a helper thread, so that Ctrl-C ends a run that would go on for ever.

Python calls the handlers of signals in its main thread, between two of its own instructions. Inside of an engine
there are none, so the main thread waits for a helper instead, which a signal interrupts.

Left out: other threads, where no signal arrives, and AsyncReader, whose threads are its own.
"""

from __future__ import annotations

import os
import signal
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from qa_onnx.session import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_LOOK_S = 0.5  # between two looks for signals
_ENDING_S = 2.0  # that the end of an interrupted run is waited for


def interruptible(run: Callable[[Stop], _T]) -> _T:
    """Run, in the helper thread if this is the main thread, and return the result or raise the error.

    Args:
        run: gets what it must be ended by. An exception that a signal handler raises, such as KeyboardInterrupt,
            requests that, and is raised here.
    """
    global _helper  # noqa: PLW0603 - one for the process, as there is one main thread
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        return run(Stop())
    helper, _helper = _helper or _Helper(), None  # a signal handler may run something while this one waits
    try:
        return helper.call(run)
    finally:
        if not helper.ended:
            _helper = helper


class _Helper:
    """A thread that runs one call after the other, until one is interrupted."""

    def __init__(self) -> None:
        self.ended = False
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="qa-onnx main run", daemon=True).start()

    def _work(self) -> None:
        while call := self._calls.get():
            call()
            del call  # and what it holds

    def call(self, run: Callable[[Stop], _T]) -> _T:
        stop, done = Stop(), threading.Lock()
        outcome: list[_T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(run(stop))
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
                errors.append(error)
            finally:
                done.release()

        done.acquire()
        try:
            self._calls.put(work)
            while not done.acquire(timeout=_LOOK_S):  # a signal just before it begins to wait does not wake it
                pass
        except BaseException:
            stop.request()
            self.ended = True
            self._calls.put(None)  # the thread ends, at the latest when its run does
            done.acquire(timeout=_ENDING_S)
            raise
        if errors:
            raise errors.pop()
        return outcome[0]


_helper: _Helper | None = None


def _after_fork() -> None:
    global _helper  # noqa: PLW0603
    _helper = None


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
