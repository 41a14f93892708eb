"""Portions of examples on a GPU: while one portion runs, the host prepares the next and searches the one before.

Left out: preparing, running and searching (steps.py). On a CPU these would only take cores away from each other.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

NAME = "qa-onnx-run"  # prefix of the thread's name

_Portion = TypeVar("_Portion")
_Part = TypeVar("_Part")
_Item = TypeVar("_Item")


def overlapped(
    portions: Iterable[tuple[_Portion, bool]], run: Callable[[_Portion], Iterable[_Part]]
) -> Generator[tuple[_Portion, list[_Part]], None, None]:
    """Run portions one after the other in a background thread; everything else happens in the caller's thread.

    Args:
        portions: each with whether another one follows. The next portion is made while one runs. If making one
            fails, the error is raised after the results of the portions before it. A single portion runs in the
            caller's thread.
        run: yields the results of a portion part by part. When the caller stops early, no further part begins.

    Yields:
        Each portion with its parts, in order.
    """
    background = _Background(run)
    waiting: deque[tuple[_Portion, Future[list[_Part]] | None]] = deque()
    failure: BaseException | None = None
    try:
        for item in _until_failure(portions):
            if isinstance(item, BaseException):
                failure = item
                break
            portion, more = item
            if not (more or waiting):
                yield portion, list(run(portion))
                return
            waiting.append((portion, background.submit(portion)))
            del item, portion  # the memory of a portion is free once the caller has dropped it
            if len(waiting) == 2:
                yield background.result(*waiting.popleft())
        while waiting:
            yield background.result(*waiting.popleft())
        if failure is not None:
            raise failure
    finally:
        del failure  # break the cycle exception -> traceback -> this frame
        background.stop()


def _until_failure(items: Iterable[_Item]) -> Iterator[_Item | BaseException]:
    """Yield the items, and then the exception that ends them, if one does."""
    try:
        yield from items
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # it is raised later; a panic of tokenizers is no Exception
        yield error


class _Background(Generic[_Portion, _Part]):
    """A thread that runs portions; without one, `result` runs them in the caller's thread.

    There is none if it cannot start, in a forked child, and while the interpreter exits.
    """

    def __init__(self, run: Callable[[_Portion], Iterable[_Part]]) -> None:
        self._run = run
        self._executor = ThreadPoolExecutor(1, NAME)
        self._process = os.getpid()
        self._stopped = threading.Event()

    def submit(self, portion: _Portion) -> Future[list[_Part]] | None:
        """Run a portion after those that were submitted before it; None: there is no thread."""
        try:
            return self._executor.submit(self._work, portion)
        except RuntimeError:  # too many threads, or the interpreter exits
            self._executor.shutdown(wait=False)
            return None

    def result(self, portion: _Portion, future: Future[list[_Part]] | None) -> tuple[_Portion, list[_Part]]:
        if future is None or os.getpid() != self._process:
            return portion, self._work(portion)
        return portion, future.result()

    def stop(self) -> None:
        """Begin no further part, and wait for the current one."""
        self._stopped.set()
        if os.getpid() == self._process:
            # The garbage collector may close an abandoned generator in the background thread itself.
            inside = threading.current_thread().name.startswith(NAME)
            self._executor.shutdown(wait=not inside, cancel_futures=True)

    def _work(self, portion: _Portion) -> list[_Part]:
        parts = []
        for part in self._run(portion):
            if self._stopped.is_set():
                break
            parts.append(part)
        return parts
