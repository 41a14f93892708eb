"""Events of an `AsyncReader` -> a host's metrics.

Left out: any metrics library; a server's `Observer` feeds its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

StageName: TypeAlias = Literal["wait", "cut", "run", "search"]

_log = logging.getLogger(__name__)
_WEIGHT = 0.2  # of the latest batch in the running mean of seconds per token


class Observer(Protocol):
    """Interface of an object that is notified of the work, from several threads; it should return at once."""

    def queue(self, requests: int) -> None:
        """Notify of the number of requests that wait or run, after one came or went."""

    def batch(self, windows: int, tokens: int) -> None:
        """Notify of a batch that ran: its windows, and its tokens with padding."""

    def stage(self, name: StageName, seconds: float) -> None:
        """Notify of the time that a stage took.

        Args:
            name: "wait", once for each request, from its coming to its first run; "cut", once for all texts that
                are cut together; "run" and "search", once for each batch.
            seconds: of wall time.
        """


class Watch:
    """Forwards events to the host's `Observer`, logs its exceptions, and measures the speed.

    Attributes:
        token_seconds: running mean of the seconds per token of a batch; 0 before the first batch.
    """

    def __init__(self, observer: Observer | None) -> None:
        self.token_seconds = 0.0
        self._observer = observer

    def notify(self, event: Literal["queue", "batch", "stage"], *values: StageName | float) -> None:
        """Call the observer's method of that name, if there is an observer."""
        if self._observer is not None:
            try:
                getattr(self._observer, event)(*values)
            except Exception:  # noqa: BLE001  # the host's code, of any kind
                _log.exception("an observer's %s failed; the work goes on", event)

    def ran(self, batches: Sequence[tuple[int, int]], seconds: float) -> None:
        """Notify of batches that ran together, and of the stage "run" of each, and update the speed.

        Args:
            batches: windows of each, and its tokens with padding.
            seconds: that they took together. Side by side, a batch has the share that its tokens have.
        """
        rate = seconds / sum(tokens for _, tokens in batches)
        self.token_seconds += (rate - self.token_seconds) * (_WEIGHT if self.token_seconds else 1.0)
        for windows, tokens in batches:
            self.notify("batch", windows, tokens)
            self.notify("stage", "run", rate * tokens)
