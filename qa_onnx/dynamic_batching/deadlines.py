"""When which request's time is over.

Left out: what happens then (workers.py).
"""

from __future__ import annotations

import heapq
import math

# Requests leave long before their time, as a rule; what they leave behind is swept out in bulk.
_SLACK = 1000


class Deadlines:
    """Times of requests, each of which is due once, if it has not been dropped before."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, number: int, at: float) -> None:
        """Note a request's time; an infinite one needs no note."""
        if at == math.inf:
            return
        self._at[number] = at
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._at]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (at, number))

    def drop(self, number: int) -> None:
        """The request has left, if it was here at all."""
        self._at.pop(number, None)

    def next(self) -> float:
        """The next time; infinite when there is none."""
        while self._heap and self._heap[0][1] not in self._at:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def pop(self) -> int:
        """The request whose time is the `next`; there must be one."""
        _, number = heapq.heappop(self._heap)
        del self._at[number]
        return number
