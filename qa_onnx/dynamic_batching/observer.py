"""What a host may hear of an `AsyncReader`'s work, for its metrics.

Left out: any metrics library; a server's `Observer` feeds its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

StageName: TypeAlias = Literal["wait", "cut", "run", "search"]

_log = logging.getLogger(__name__)
# Share of the latest batch in the running mean of seconds a token.
_WEIGHT = 0.2


class Observer(Protocol):
    """Hears of the work. It is called from several threads, and should return at once."""

    def queue(self, requests: int) -> None:
        """So many requests wait or run, after one came or went."""
        ...

    def batch(self, windows: int, tokens: int) -> None:
        """A batch of so many windows ran, of so many tokens with padding."""
        ...

    def stage(self, name: StageName, seconds: float) -> None:
        """A stage took so long.

        Args:
            name: "wait", once a request, from its coming to its first run; "cut", once for all texts that were
                cut together; "run" and "search", once a batch.
            seconds: of wall time.
        """
        ...


class Watch:
    """Tells an observer, whose faults stay its own, and learns the speed.

    Attributes:
        token_seconds: seconds a token of a batch takes of late; 0 before the first batch.
    """

    def __init__(self, observer: Observer | None) -> None:
        self.token_seconds = 0.0
        self._observer = observer

    def queue(self, requests: int) -> None:
        """See `Observer.queue`."""
        if self._observer is not None:
            self._tell(self._observer.queue, requests)

    def stage(self, name: StageName, seconds: float) -> None:
        """See `Observer.stage`."""
        if self._observer is not None:
            self._tell(self._observer.stage, name, seconds)

    def ran(self, windows: int, tokens: int, seconds: float) -> None:
        """A batch ran: see `Observer.batch`, and "run" of `Observer.stage`."""
        rate = seconds / tokens
        self.token_seconds += (rate - self.token_seconds) * (_WEIGHT if self.token_seconds else 1.0)
        if self._observer is not None:
            self._tell(self._observer.batch, windows, tokens)
        self.stage("run", seconds)

    def _tell(self, method: Callable[..., None], *values: object) -> None:
        try:
            method(*values)
        except Exception:  # noqa: BLE001  # the host's code, of any kind
            _log.exception("an observer's %s failed; the work goes on", getattr(method, "__name__", "method"))
