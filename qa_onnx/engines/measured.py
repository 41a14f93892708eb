"""A session -> the same with a clock. Left out: what is done with the times (bench, mapping)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qa_onnx.session import Arrays, Session


class MeasuredSession:
    """A session that measures its runs; in all else it is the session inside.

    Args:
        session: the one inside.
        pad_id: token id that pads a batch.

    Attributes:
        tokens: of all runs so far, without padding.
        seconds: that they took.
    """

    def __init__(self, session: Session, pad_id: int) -> None:
        self._session: Any = session
        self._pad_id = pad_id
        self.tokens, self.seconds = 0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, inputs: Mapping[str, NDArray[np.int64]], **more: Any) -> Arrays:
        """Compute the logits of a batch; see `EndableSession.run`."""
        started = time.perf_counter()
        logits: Arrays = self._session.run(inputs, **more)
        self.seconds += time.perf_counter() - started
        self._count(inputs)
        return logits

    def run_each(self, batches: Sequence[Mapping[str, NDArray[np.int64]]], **more: Any) -> Iterator[Arrays]:
        """Compute the logits of many batches; see `LaneSession.run_each`."""
        started = time.perf_counter()
        for inputs, logits in zip(batches, self._session.run_each(batches, **more), strict=True):
            self.seconds += time.perf_counter() - started
            self._count(inputs)
            yield logits
            started = time.perf_counter()

    def _count(self, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        self.tokens += int(np.count_nonzero(inputs["input_ids"] != self._pad_id))
