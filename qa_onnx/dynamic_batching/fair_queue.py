"""Waiting windows -> the next batch, fair between short and long contexts.

The request with the fewest windows left leads the next batch, and of two the earlier one: a question about a
paragraph overtakes one about a book, and equals are served in the order in which they came. So that a book is not
overtaken forever, the oldest request leads once `_PATIENCE` budgets of tokens have run without it: it has at least
one batch in every `_PATIENCE` + 1 budgets.

The leader's batch is filled with windows of similar length, since padding costs what batching gains. Everything is
counted in windows and tokens, not in seconds, so the order is the same on any machine.

Left out: threads, time and what a request is (schedule.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.windows import Window

_PATIENCE = 7
# A batch is filled from this many budgets of tokens: enough to find windows of similar length.
_POOL_BUDGETS = 8


@dataclass(frozen=True, slots=True)
class QueuedWindow:
    """A window that waits for its run: the `index`-th of the request with this number."""

    number: int
    index: int
    window: Window
    tokens: int


class FairQueue:
    """Queue of the windows of many requests, in the order in which they should run.

    Args:
        batch_tokens: budget of a batch, in tokens with padding; one window always runs.
        padding: tokens of padding that a batch has at most.

    Attributes:
        batch_tokens: the budget of a batch.
        windows: how many wait.
        tokens: length of all of them together, without padding.
    """

    def __init__(self, batch_tokens: int, *, padding: int) -> None:
        self.batch_tokens = batch_tokens
        self._padding = padding
        self.tokens = 0
        self.windows = 0
        self._requests: dict[int, dict[int, QueuedWindow]] = {}
        self._without_oldest = 0

    def add(self, number: int, windows: Iterable[Window]) -> None:
        """Add the windows of a request.

        Args:
            number: of the request; an earlier one has a lower number.
            windows: in the order of the text.
        """
        queued = {
            index: QueuedWindow(number, index, window, len(window.input_ids))
            for index, window in enumerate(windows)
        }
        self._requests[number] = queued
        self._count(queued.values(), 1)

    def discard(self, number: int) -> None:
        """Drop the windows of a request that still wait, if any."""
        self._count(self._requests.pop(number, {}).values(), -1)

    def oldest(self) -> int:
        """Return the lowest number of a waiting request; there must be one."""
        return min(self._requests)

    def take(self) -> list[QueuedWindow]:
        """Remove the next batch, longest window first; empty when nothing waits."""
        if not self._requests:
            return []
        oldest = self.oldest()
        pool = self._pool(oldest if self._without_oldest >= _PATIENCE * self.batch_tokens else None)
        batch = self._batch(next(pool), pool)
        for item in batch:
            waiting = self._requests[item.number]
            del waiting[item.index]
            if not waiting:
                del self._requests[item.number]
        self._count(batch, -1)
        self._without_oldest += batch[0].tokens * len(batch)
        if any(item.number == oldest for item in batch):
            self._without_oldest = 0
        return batch

    def _count(self, windows: Iterable[QueuedWindow], sign: int) -> None:
        for item in windows:
            self.tokens += sign * item.tokens
            self.windows += sign

    def _pool(self, first: int | None) -> Iterator[QueuedWindow]:
        """Yield candidates for the next batch: windows of the request `first`, then by fewest windows left."""
        room = _POOL_BUDGETS * self.batch_tokens
        # No window is shorter than a handful of tokens, so the pool has room for few requests.
        order = nsmallest(
            max(1, room // 8),
            self._requests,
            key=lambda number: (number != first, len(self._requests[number]), number),
        )
        for number in order:
            for item in self._requests[number].values():
                yield item
                room -= item.tokens
                if room <= 0:
                    return

    def _batch(self, leader: QueuedWindow, others: Iterable[QueuedWindow]) -> list[QueuedWindow]:
        """Fill up the leader's batch with windows nearest to it in length, within budget and padding."""
        batch, longest, real = [leader], leader.tokens, leader.tokens
        for item in sorted(others, key=lambda item: abs(item.tokens - leader.tokens)):
            row = max(longest, item.tokens)
            padded = row * (len(batch) + 1)
            if padded <= self.batch_tokens and padded - (real + item.tokens) <= self._padding:
                batch.append(item)
                longest, real = row, real + item.tokens
        return sorted(batch, key=lambda item: -item.tokens)
