"""The plan of a benchmark, and the clock that divides its time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.data.squad import Gold

SCENARIOS = ("offline", "single-stream", "server")
# Shares of the time after the warm-up: for the server scenario, and for parts.py. The rounds get the rest.
FOR_SERVER, FOR_PARTS = 0.2, 0.2
_LEAST_LEFT = 0.4  # share of the whole time that is left for measuring, however long the start takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Raises:
        InputError: a value is out of range.
    """

    golds: Sequence[Gold]  # as many of them are asked as the time allows
    scenarios: Sequence[str] = SCENARIOS
    threads: int  # of each contender
    cpus: frozenset[int] = frozenset()  # logical CPUs that each may run on; empty: all
    seconds: float = 180.0  # approximate; decides the number of questions. Slow starts need more
    quick: bool = False  # fewer rounds, one cold start, and no figures by batch, length and threads
    most: int | None = None  # questions
    p99_ms: float | None = None  # limit of the server; None: twice the slowest contender's when asked alone

    @property
    def asks_alone(self) -> bool:
        """True if questions are asked one after another; the server's default limit needs that too."""
        return "single-stream" in self.scenarios or ("server" in self.scenarios and self.p99_ms is None)

    def __post_init__(self) -> None:
        if unknown := set(self.scenarios).difference(SCENARIOS):
            raise InputError(
                f"unknown scenario {', '.join(sorted(unknown))}: it must be one of {', '.join(SCENARIOS)}"
            )
        if not self.scenarios:
            raise InputError(f"name a scenario: {', '.join(SCENARIOS)}")
        for name, value in (("seconds", self.seconds), ("p99_ms", self.p99_ms)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0")


class Clock:
    """The time of a run: shows progress, and divides what is left after the warm-up.

    Attributes:
        measuring: seconds for everything after the warm-up; 0 until that is known.
    """

    def __init__(self, seconds: float, show: Callable[[str, float], None]) -> None:
        self.measuring = 0.0
        self._seconds, self._show, self._began = seconds, show, time.perf_counter()
        self._planned = seconds

    def say(self, text: str) -> None:
        """Show the step that begins now."""
        self._show(text, min(0.99, (time.perf_counter() - self._began) / self._seconds))

    def warm(self) -> None:
        """End the warm-up: the rest of the time is for measuring."""
        gone = time.perf_counter() - self._began
        self.measuring = max(self._planned - gone, _LEAST_LEFT * self._planned)
        self._seconds = gone + self.measuring
