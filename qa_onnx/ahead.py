"""Groups of examples on a GPU: while one runs, the host cuts the next one and searches the one before.

Left out: the steps themselves (reader.py). On a CPU they would only take the cores away from each other.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

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
    worker: _Worker[_Group, _Part] | None = None
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
            worker = worker or _Worker(run)
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


class _Worker(Generic[_Group, _Part]):
    """A thread that runs what it is given, in order; where it cannot live, whoever asks for a result runs it."""

    def __init__(self, run: Callable[[_Group], Iterable[_Part]]) -> None:
        self._run = run
        self._given: SimpleQueue[_Group | None] = SimpleQueue()
        self._done: SimpleQueue[list[_Part] | BaseException] = SimpleQueue()
        self._stopped = threading.Event()
        self._process = os.getpid()
        self._thread: threading.Thread | None = threading.Thread(target=self._work, name=NAME, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is going
            self._thread = None
        atexit.register(self.stop)  # a thread that is amid a run when it goes could crash it

    def submit(self, group: _Group) -> None:
        self._given.put(group)

    def finished(self, group: _Group) -> tuple[_Group, list[_Part]]:
        """The group that was submitted first of those not asked for yet, with its parts."""
        if self._thread is None or os.getpid() != self._process:  # a fork takes no thread along
            return group, list(self._run(group))
        outcome = self._done.get()
        if isinstance(outcome, BaseException):
            try:
                raise outcome
            finally:
                del outcome
        return group, outcome

    def stop(self) -> None:
        """Begin no further part, and wait for the one that runs."""
        atexit.unregister(self.stop)
        self._stopped.set()
        self._given.put(None)
        # The collector may close an abandoned generator in any thread.
        if self._thread not in {None, threading.current_thread()} and os.getpid() == self._process:
            self._thread.join()

    def _work(self) -> None:
        while (group := self._given.get()) is not None and not self._stopped.is_set():
            parts: list[_Part] = []
            try:
                for part in self._run(group):
                    if self._stopped.is_set():
                        return
                    parts.append(part)
            except BaseException as error:  # noqa: BLE001  # it is the outcome
                self._done.put(error)
            else:
                self._done.put(parts)
            del group, parts
