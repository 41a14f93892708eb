"""Groups of examples on a GPU: while one runs, the host cuts the next one and searches the one before.

Left out: the steps themselves (reader.py). On a CPU they would only take the cores away from each other.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

NAME = "qa-onnx-run"  # of the thread

_Group = TypeVar("_Group")
_Part = TypeVar("_Part")
_Item = TypeVar("_Item")


def overlapped(
    groups: Iterable[tuple[_Group, bool]], run: Callable[[_Group], Iterable[_Part]]
) -> Generator[tuple[_Group, list[_Part]], None, None]:
    """Run groups in a thread, one after the other; all else happens in the caller's.

    Args:
        groups: each with whether another one follows. They are made while the one before runs; a failure to make
            one comes in its turn, after those before. An only one runs in the caller's thread, and waits for none.
        run: gives what comes of a group, part by part. When the caller stops early, no further part begins.

    Yields:
        Each group with its parts, in order.
    """
    worker: _Ahead[_Group, _Part] | None = None
    waiting: deque[_Group] = deque()
    failure: BaseException | None = None
    try:
        for made in _until_failure(groups):
            if isinstance(made, BaseException):
                failure = made
                break
            group, more = made
            if worker is None and not more:
                yield group, list(run(group))
                return
            worker = worker or _Ahead(run)
            worker.submit(group)
            waiting.append(group)
            del made, group  # what was handed on is not ours to keep
            if len(waiting) == 2:
                yield worker.finished(waiting.popleft())
        while worker and waiting:
            yield worker.finished(waiting.popleft())
        if failure is not None:
            raise failure
    finally:
        del failure  # which knows this frame
        if worker:
            worker.stop()


def _until_failure(items: Iterable[_Item]) -> Iterator[_Item | BaseException]:
    """The items, and last the exception that ends them, if one does."""
    try:
        yield from items
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # raised again in its turn; tokenizers panics outside of Exception
        yield error


class _Ahead(Generic[_Group, _Part]):
    """A thread that runs what it is given, in order; where it cannot live, whoever asks for a result runs it."""

    def __init__(self, run: Callable[[_Group], Iterable[_Part]]) -> None:
        self._run = run
        self._given: SimpleQueue[_Group | None] = SimpleQueue()
        self._done: SimpleQueue[list[_Part] | BaseException | None] = SimpleQueue()
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._process = os.getpid()
        self._thread: threading.Thread | None = threading.Thread(target=self._work, name=NAME, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # too many threads, or the interpreter is going
            self._thread = None
        _living.add(self)

    def submit(self, group: _Group) -> None:
        if not self._gone():
            self._given.put(group)

    def finished(self, group: _Group) -> tuple[_Group, list[_Part]]:
        """The group that was submitted first of those not asked for yet, with its parts."""
        outcome = None if self._gone() else self._done.get()
        if outcome is None:
            return group, list(self._run(group))
        if isinstance(outcome, BaseException):
            try:
                raise outcome
            finally:
                del outcome  # which knows this frame
        return group, outcome

    def _gone(self) -> bool:
        """Whether no thread could start, a fork took none along, or the interpreter's end has stopped it."""
        stopped = self._stopped.is_set() and self._done.empty()
        return self._thread is None or os.getpid() != self._process or stopped

    def stop(self) -> None:
        """Begin no further part, and wait for the one that runs."""
        self._stopped.set()
        self._given.put(None)
        # The collector may close an abandoned generator in any thread.
        if self._thread not in {None, threading.current_thread()} and os.getpid() == self._process:
            self._ended.wait()  # a ^C amid a join would let Python 3.11 and 3.12 take the thread for ended
            self._thread.join()
        _living.discard(self)

    def _work(self) -> None:
        try:
            while (group := self._given.get()) is not None and not self._stopped.is_set():
                self._done.put(self._outcome(group))
                del group
        finally:
            self._done.put(None)  # nothing more comes
            self._ended.set()

    def _outcome(self, group: _Group) -> list[_Part] | BaseException | None:
        parts: list[_Part] = []
        try:
            for part in self._run(group):
                if self._stopped.is_set():
                    return None
                parts.append(part)
        except BaseException as error:  # noqa: BLE001  # it is the outcome
            return error
        return parts


_living: set[_Ahead[Any, Any]] = set()


@atexit.register
def _stop_all() -> None:
    """A thread that is amid a run when the interpreter goes could crash it."""
    for worker in [*_living]:
        worker.stop()
