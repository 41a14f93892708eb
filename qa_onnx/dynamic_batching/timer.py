"""A thread that acts when a time has come, and sleeps until then."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """Calls `act` at the times that it is set to; its thread starts when it is set for the first time.

    Args:
        lock: callers of `set` and `end` hold it; it is free during `act`.
        act: gets the time, does what is due, and returns when it must be called again; infinite: not by itself.

    Attributes:
        thread: None: it was never set.
    """

    def __init__(self, lock: threading.RLock, act: Callable[[float], float]) -> None:
        self.thread: threading.Thread | None = None
        self._act = act
        self._changed = threading.Condition(lock)
        self._due = math.inf
        self._ended = False

    def set(self, due: float) -> None:
        """Act at this time, by `time.monotonic`, at the latest."""
        if due < self._due:
            if self.thread is None:
                thread = threading.Thread(target=self._work, name="qa-onnx-timer", daemon=True)
                thread.start()  # it may fail; it waits for the lock
                self.thread = thread
            self._due = due
            self._changed.notify()

    def end(self) -> None:
        """Let the thread end."""
        self._ended = True
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ended and (delay := self._due - monotonic()) > 0:
                    self._changed.wait(min(delay, threading.TIMEOUT_MAX))
                if self._ended:
                    return
                self._due = math.inf
            due = self._act(monotonic())
            with self._changed:
                self._due = min(self._due, due)  # it may have been set meanwhile
