"""What to measure, and how much of its time is over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.data.squad import Gold

SCENARIOS = ("offline", "single-stream", "server")
# Shares of the time that is left when all are warm, of the server scenario and of parts.py; rounds have the rest.
FOR_SERVER, FOR_PARTS = 0.2, 0.2
_LEAST_LEFT = 0.4  # of all the time, however long the start took


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        golds: questions; of many, as many as the time allows are asked.
        scenarios: of `SCENARIOS`.
        threads: of each contender.
        cpus: logical CPUs that each may run on; empty: all.
        seconds: that it should take, about; the number of questions follows from it. Contenders that start slowly
            need more.
        quick: fewer rounds, one cold start, and no figures by batch, length and threads.
        most: questions, at most; None: no limit.
        p99_ms: limit of the server scenario; None: twice what the slowest contender needs when asked alone.

    Raises:
        InputError: a value is out of range.
    """

    golds: Sequence[Gold]
    scenarios: Sequence[str] = SCENARIOS
    threads: int
    cpus: frozenset[int] = frozenset()
    seconds: float = 180.0
    quick: bool = False
    most: int | None = None
    p99_ms: float | None = None

    @property
    def asks_alone(self) -> bool:
        """Whether questions are asked one after another: the server's usual limit follows from that."""
        return "single-stream" in self.scenarios or ("server" in self.scenarios and self.p99_ms is None)

    def __post_init__(self) -> None:
        if unknown := set(self.scenarios).difference(SCENARIOS):
            raise InputError(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
        if not self.scenarios:
            raise InputError(f"name a scenario: {', '.join(SCENARIOS)}")
        for name, value in (("seconds", self.seconds), ("p99_ms", self.p99_ms)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0")


class Clock:
    """Says what is done, and how much of the time is over.

    Attributes:
        measuring: seconds for what comes after the warm-up; 0 before that is known.
    """

    def __init__(self, seconds: float, show: Callable[[str, float], None]) -> None:
        self.measuring = 0.0
        self._seconds, self._show, self._began = seconds, show, time.perf_counter()
        self._planned = seconds

    def say(self, text: str) -> None:
        """It begins with this."""
        self._show(text, min(0.99, (time.perf_counter() - self._began) / self._seconds))

    def warm(self) -> None:
        """All are warm: what is left of the time is for measuring."""
        gone = time.perf_counter() - self._began
        self.measuring = max(self._planned - gone, _LEAST_LEFT * self._planned)
        self._seconds = gone + self.measuring
