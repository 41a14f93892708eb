"""Waiting windows -> the next batch, fair between short and long contexts.

The request with the fewest windows left leads the next batch, the earlier one of two: a question on a
paragraph overtakes one on a book, and equals are served in the order in which they came. So that a book is
not overtaken for ever, the oldest request leads as soon as `_PATIENCE` budgets of tokens ran without it:
it always has at least one batch in `_PATIENCE` + 1 budgets.

The rest of the batch is whatever is of like length, since padding costs what batching gains. All of it is
counted in windows and tokens, not in seconds, so the order is the same on any machine.

Left out: threads, time and what a request is (workers.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.windows import Window

_PATIENCE = 7
# Mates are looked for among this many budgets of tokens: enough to find windows of like length.
_POOL_BUDGETS = 8


@dataclass(frozen=True, slots=True)
class QueuedWindow:
    """A window in the queue.

    Attributes:
        number: of its request.
        index: which of the request's windows it is.
        window: the window.
        tokens: its length.
    """

    number: int
    index: int
    window: Window
    tokens: int


class FairQueue:
    """Windows of many requests, in the order in which they should run.

    Args:
        batch_tokens: budget of a batch, in tokens with padding; one window always runs.
        padding: tokens of padding that a batch has at most.

    Attributes:
        batch_tokens: as given.
        windows: how many wait.
        tokens: of all of them, without padding.
    """

    def __init__(self, batch_tokens: int, *, padding: int) -> None:
        self.batch_tokens = batch_tokens
        self._padding = padding
        self.tokens = 0
        self.windows = 0
        self._requests: dict[int, dict[int, QueuedWindow]] = {}
        self._without_oldest = 0

    def add(self, number: int, windows: Iterable[Window]) -> None:
        """Let the windows of a request wait.

        Args:
            number: of the request; an earlier one has a lower number.
            windows: in the order of the text.
        """
        places = {
            index: QueuedWindow(number, index, window, len(window.input_ids))
            for index, window in enumerate(windows)
        }
        self._requests[number] = places
        self._count(places.values(), 1)

    def discard(self, number: int) -> None:
        """Drop what still waits of a request, if anything."""
        self._count(self._requests.pop(number, {}).values(), -1)

    def oldest(self) -> int:
        """The lowest number of a request that waits; there must be one."""
        return min(self._requests)

    def take(self) -> list[QueuedWindow]:
        """Remove the next batch, longest window first; empty when nothing waits."""
        if not self._requests:
            return []
        oldest = self.oldest()
        pool = self._pool(oldest if self._without_oldest >= _PATIENCE * self.batch_tokens else None)
        batch = self._batch(next(pool), pool)
        for place in batch:
            waiting = self._requests[place.number]
            del waiting[place.index]
            if not waiting:
                del self._requests[place.number]
        self._count(batch, -1)
        self._without_oldest += batch[0].tokens * len(batch)
        if any(place.number == oldest for place in batch):
            self._without_oldest = 0
        return batch

    def _count(self, places: Iterable[QueuedWindow], sign: int) -> None:
        for place in places:
            self.tokens += sign * place.tokens
            self.windows += sign

    def _pool(self, first: int | None) -> Iterator[QueuedWindow]:
        """Windows in the order of their claims, those of the request `first` before all others."""
        room = _POOL_BUDGETS * self.batch_tokens
        # No window is shorter than a handful of tokens, so the pool has room for few requests.
        order = nsmallest(
            max(1, room // 8),
            self._requests,
            key=lambda number: (number != first, len(self._requests[number]), number),
        )
        for number in order:
            for place in self._requests[number].values():
                yield place
                room -= place.tokens
                if room <= 0:
                    return

    def _batch(self, leader: QueuedWindow, others: Iterable[QueuedWindow]) -> list[QueuedWindow]:
        """The leader and those nearest to it in length, within the budget and with little padding."""
        batch, longest, real = [leader], leader.tokens, leader.tokens
        for place in sorted(others, key=lambda place: abs(place.tokens - leader.tokens)):
            row = max(longest, place.tokens)
            padded = row * (len(batch) + 1)
            if padded <= self.batch_tokens and padded - (real + place.tokens) <= self._padding:
                batch.append(place)
                longest, real = row, real + place.tokens
        return sorted(batch, key=lambda place: -place.tokens)
