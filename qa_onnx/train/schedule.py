"""How far a run is -> its learning rate; and the clock of a run that was interrupted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.train.settings import TrainSettings


def rate(progress: float, warmup: float) -> float:
    """The share of the peak learning rate: up in a line during the warm-up, then down in a line to zero.

    Args:
        progress: of the run, 0 to 1.
        warmup: the share of the run that it takes.
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1 - progress) / (1 - warmup))


class TrainingClock:
    """Seconds that a run has taken, those before an interruption included.

    Args:
        before: seconds that it had taken when its state was saved.
        now: the time; another for tests.
    """

    def __init__(self, before: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start = now() - before

    def elapsed(self) -> float:
        """Seconds so far."""
        return self._now() - self._start


def total_examples(settings: TrainSettings, count: int) -> int | None:
    """Examples of the whole run; None where the clock decides."""
    return None if settings.minutes is not None else max(1, round(settings.epochs * count))


def progress(settings: TrainSettings, count: int, *, position: float, elapsed: float) -> float:
    """How far a run is, 0 to 1.

    Args:
        settings: `minutes` or `epochs` says when it ends.
        count: examples in an epoch.
        position: examples seen.
        elapsed: seconds taken.
    """
    total = total_examples(settings, count)
    if total is not None:
        return min(1.0, position / total)
    assert settings.minutes is not None
    return min(1.0, elapsed / (60 * settings.minutes))
