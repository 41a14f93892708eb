"""A function that takes long -> its result, while the event loop goes on: threads, few at a time.

Not asyncio's own pool of threads, which the end of the process waits for: what is taken out of a crafted file may
take its whole time.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from qa_onnx.serve import problems

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class SideThreads:
    """Runs functions in threads, for one event loop.

    Args:
        what: waits, as an error calls it: "documents".
        at_once: functions that run at the same time.
        waiting: functions that may wait for their turn; one more is refused. Infinite: none is.
    """

    def __init__(self, what: str, *, at_once: int, waiting: float) -> None:
        self._what, self._room = what, waiting
        self._turn = asyncio.Semaphore(at_once)

    async def run(self, function: Callable[[], _T], deadline: float) -> _T:
        """Return the result of a function; one that nobody waits for any more keeps its turn until it ends.

        Args:
            function: to run.
            deadline: by `time.monotonic`.

        Raises:
            Problem: 429, too many wait.
            TimeoutError: the deadline has passed.
            Exception: that of the function.
        """
        if self._room == 0:
            raise problems.busy(f"too many {self._what} are waiting", 1)
        self._room -= 1
        async with asyncio.timeout(deadline - monotonic()):
            try:
                await self._turn.acquire()
            finally:
                self._room += 1
            return await asyncio.wrap_future(self._start(function))

    def _start(self, function: Callable[[], _T]) -> Future[_T]:
        """Run a function in a thread, whose turn it has; the turn ends with it."""
        outcome: Future[_T] = Future()
        outcome.set_running_or_notify_cancel()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001  # it is the outcome
                outcome.set_exception(error)
            finally:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._turn.release)

        try:
            threading.Thread(target=work, name=f"qa-onnx-{self._what}", daemon=True).start()
        except BaseException:  # the system has no more threads
            self._turn.release()
            raise
        return outcome
