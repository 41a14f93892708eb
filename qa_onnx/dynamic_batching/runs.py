"""Batches that run now -> which of them nobody waits for, and which do not end.

A run is not ended at once when its last request leaves, since most are over soon, and some engines must open the
graph again after they have ended one. Where it goes on, it is asked to end, and then given up: its thread is left
alone, inside of the engine.

Like schedule.py it has no threads, no lock and no clock. Left out: the threads (workers.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qa_onnx.session import Stop

if TYPE_CHECKING:
    import threading

_UNASKED_S = 1.0  # that a run which nobody waits for may go on
_ASKED_S = 2.0  # more until it is given up: an engine ends between two nodes of a graph


@dataclass(eq=False, slots=True)
class Run:
    """A batch that a thread runs.

    Attributes:
        requests: numbers of those that wait for it.
        thread: that runs it.
        stop: ends it.
        due: when it is to be asked to end, or given up; infinite: somebody waits for it.
    """

    requests: set[int]
    thread: threading.Thread
    stop: Stop = field(default_factory=Stop)
    due: float = math.inf


class Runs:
    """The batches that run now.

    Attributes:
        given_up: threads that were given up, and may still be inside of a run.
    """

    def __init__(self) -> None:
        self.given_up: list[threading.Thread] = []
        self._current: list[Run] = []

    def begin(self, run: Run) -> None:
        """Take note of a run."""
        self._current.append(run)

    def end(self, run: Run) -> bool:
        """Take note of the end of a run; return False where it was given up before."""
        if run not in self._current:
            return False
        self._current.remove(run)
        return True

    def leave(self, number: int, now: float, *, at_once: bool) -> float:
        """Take note that a request was answered or withdrawn, and return when `overdue` must be called.

        Args:
            number: of the request.
            now: as `time.monotonic` counts.
            at_once: whether a run that nobody waits for any more is asked to end at once.
        """
        for run in self._current:
            if number in run.requests:
                run.requests.remove(number)
                if not run.requests and not run.stop.requested:
                    run.due = now + (0.0 if at_once else _UNASKED_S)
        return self.next_due()

    def overdue(self, now: float) -> list[Run]:
        """Ask runs to end whose time has come, and return those to give up, which were asked before."""
        due = [run for run in self._current if run.due <= now]
        given_up = [run for run in due if run.stop.requested]
        self._current = [run for run in self._current if run not in given_up]
        self.given_up = [thread for thread in self.given_up if thread.is_alive()]
        self.given_up += [run.thread for run in given_up]
        for run in due:
            if run not in given_up:
                run.due = now + _ASKED_S
                run.stop.request()
        return given_up

    def next_due(self) -> float:
        """Return when `overdue` must be called; infinite: somebody waits for each run."""
        return min((run.due for run in self._current), default=math.inf)

    def do_not_end(self) -> bool:
        """Return whether a run goes on that was asked to end."""
        return any(run.stop.requested for run in self._current)
