"""Accepted requests -> what is due next: texts to cut into windows, or a batch of windows to run.

It has no threads, no lock and no clock, so it can be tested step by step: the caller tells the time, and lets one
thread in at a time (workers.py). Left out: the order of windows (fair_queue.py).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from qa_onnx.errors import QueueFullError

if TYPE_CHECKING:
    from qa_onnx.dynamic_batching.fair_queue import FairQueue
    from qa_onnx.dynamic_batching.requests import Request
    from qa_onnx.windows import CutExample, Window

# No further long text is cut while so many windows wait: each takes some 6 KB, its text a sixth of that.
_ENOUGH_WINDOWS = 2048
_CUT_CHARACTERS = 200_000  # that are cut in one go before the next batch runs
_CHARACTERS_A_TOKEN = 4.0
# Where windows run side by side, the last one of a group keeps the other cores waiting. Larger groups lose less by
# that, but the first answers of a group wait for the last.
_MOST_GROUPS = 2


class Schedule:
    """Requests from acceptance to settlement, by what is to be done next.

    Args:
        queue: where cut windows wait.
        max_wait_s: seconds that a batch which is not full waits for more windows.
        many: windows from which on several batches are due together, since they run side by side then.

    Attributes:
        requests: all that are neither answered nor withdrawn, by number.
        queue: the windows that wait.
    """

    def __init__(self, queue: FairQueue, *, max_wait_s: float, many: float = math.inf) -> None:
        self.requests: dict[int, Request] = {}
        self.queue = queue
        self._max_wait_s, self._many = max_wait_s, many
        self._short: OrderedDict[int, Request] = OrderedDict()
        self._long: OrderedDict[int, Request] = OrderedDict()

    def add(self, request: Request) -> None:
        """Accept a request; its texts are to be cut."""
        self.requests[request.number] = request
        (self._long if request.is_long else self._short)[request.number] = request

    def enqueue(self, request: Request, cut: CutExample) -> None:
        """Let the windows of a request wait for their run, unless it has left meanwhile."""
        if request.number in self.requests:
            request.cut = cut
            self.queue.add(request.number, cut.windows)

    def remove(self, number: int) -> None:
        """Forget a request, and what still waits of it."""
        for waiting in (self.requests, self._short, self._long):
            waiting.pop(number, None)
        self.queue.discard(number)

    def next_texts(self) -> list[Request]:
        """Take the next requests to cut, without long texts; empty: none waits."""
        taken: list[Request] = []
        characters = 0
        while self._short and characters < _CUT_CHARACTERS:
            taken.append(self._short.popitem(last=False)[1])
            characters += taken[-1].characters
        return taken

    def next_long_text(self) -> Request | None:
        """Take the next request with a long text; None: none waits, or enough windows do."""
        if not self._long or self.queue.windows >= _ENOUGH_WINDOWS:
            return None
        return self._long.popitem(last=False)[1]

    def delay(self, now: float) -> float:
        """Return the seconds until the next batch is due, 0 or less: now; infinite: no window waits."""
        if not self.queue.windows:
            return math.inf
        if self.queue.tokens >= self.queue.batch_tokens:
            return 0.0
        return self.requests[self.queue.oldest()].accepted + self._max_wait_s - now

    def next_batch(self) -> list[tuple[Request, Window]]:
        """Take the windows of the next batch, with their requests; if many wait, those of the next few batches."""
        waiting, together = self.queue.windows, 0.0
        if waiting >= self._many:
            together = self._many * min(waiting // self._many, _MOST_GROUPS)
        taken = self.queue.take()
        while len(taken) < together:
            taken += self.queue.take()
        return [(self.requests[item.number], item.window) for item in taken]

    def late(self, now: float) -> list[Request]:
        """Return the requests whose time is over, waiting or running."""
        return [request for request in self.requests.values() if request.deadline <= now]

    def first_deadline(self) -> float:
        """Return when the time of the next request is over, as `time.monotonic` counts; infinite: of none."""
        return min((request.deadline for request in self.requests.values()), default=math.inf)

    def full(self, most: int, *, token_seconds: float, now: float) -> QueueFullError:
        """Return the error of a request for which there is no room.

        Args:
            most: requests that may wait or run.
            token_seconds: that a token takes.
            now: as `time.monotonic` counts.
        """
        last_deadline = max((request.deadline for request in self.requests.values()), default=math.inf)
        seconds = max(0.1, min(self.tokens() * token_seconds, last_deadline - now))
        return QueueFullError(
            f"{len(self.requests)} questions wait or run, and max_queue is {most}: ask again in "
            f"{seconds:.1f} s, or raise max_queue",
            seconds,
        )

    def tokens(self) -> float:
        """Return the tokens that wait, estimated where texts are not cut yet."""
        characters = sum(request.characters for texts in (self._short, self._long) for request in texts.values())
        return self.queue.tokens + characters / _CHARACTERS_A_TOKEN
