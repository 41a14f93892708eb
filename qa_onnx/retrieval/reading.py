"""Passages in their order -> read a few at a time, until one of the limits -> the answers.

Left out: which passages these are (candidates.py), and what their predictions come to (ask.py, ask_all.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_bounds, check_type, is_number
from qa_onnx.retrieval.candidates import distinct
from qa_onnx.retrieval.document_answers import DocumentAnswers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.document_answers import DocumentAnswer, Stopped
    from qa_onnx.retrieval.index import Passage

AT_ONCE = 4  # passages that are read between two decisions to go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is read for a question.

    Attributes:
        read: passages that are read at most; None: all.
        seconds: begin no step that is expected to end later than this after `started`, except for the first one;
            None: no limit.
        started: when the call began, as `time.perf_counter` counts.
        at_once: passages of a step.
    """

    read: int | None
    seconds: float | None
    started: float
    at_once: int = AT_ONCE


class Pool(Protocol):
    """What the predictions of passages come to."""

    def add(self, passage: Passage, prediction: Prediction) -> None:
        """Add a prediction."""

    def is_sure(self, following: Passage) -> bool:
        """Return whether no more need to be read, with this passage as the best unread one."""

    def answers(self) -> tuple[tuple[DocumentAnswer, ...], float]:
        """Return the answers, best first, and the probability of "no answer"."""


class Reading:
    """The passages that are read for a question, for callers that have a reader of their own kind.

        while some := reading.take():
            reading.add(predictions of some, with reading.options)
        reading.result()

    Args:
        question: in plain words.
        passages: in the order in which they are worth reading.
        pool: collects the predictions.
        budget: how many of them are read.
        total: number of passages that there are.
        options: that the passages are read with.
        threshold: null threshold of the answers; None: always answer.
        equal_once: whether passages of equal texts are read once.

    Attributes:
        read: number of passages that were read so far.
        limit: passages that are read at most.
    """

    def __init__(
        self,
        question: str,
        passages: Iterable[Passage],
        pool: Pool,
        budget: Budget,
        *,
        total: int,
        options: Options,
        threshold: float | None,
        equal_once: bool = False,
    ) -> None:
        self.question, self.options, self.read = question, options, 0
        self.limit = total if budget.read is None else min(budget.read, total)
        self._all = iter(passages)
        self._passages = distinct(self._all) if equal_once else self._all
        self._pool, self._budget, self._total, self._threshold = pool, budget, total, threshold
        self._taken: Sequence[Passage] = ()
        self._stopped: Stopped = "all read"
        self._warnings: dict[str, None] = {}

    def take(self) -> list[Passage]:
        """Return the next passages to read, whose predictions `add` gets; none: there is no more to read."""
        some = list(islice(self._passages, min(self._budget.at_once, self.limit - self.read)))
        if not some:
            self._stopped = "all read" if next(self._all, None) is None else "read"
        elif self._pool.is_sure(some[0]):
            self._stopped, some = "sure", []
        elif self._is_late(len(some)):
            self._stopped, some = "seconds", []
        self._taken = some
        return some

    def _is_late(self, count: int) -> bool:
        """Return whether so many more passages are expected to take too long."""
        seconds, started = self._budget.seconds, self._budget.started
        if seconds is None or not self.read:
            return False
        return (time.perf_counter() - started) * (1 + count / self.read) > seconds

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of the passages that were taken last."""
        for passage, prediction in zip(self._taken, predictions, strict=True):
            self._pool.add(passage, prediction)
            # What the model says of passages is not the user's matter.
            self._warnings.update(dict.fromkeys(text for text in prediction.warnings if "question" in text))
        self.read += len(predictions)

    def result(self) -> DocumentAnswers:
        """Return the answers in all that was read."""
        answers, null_probability = self._pool.answers()
        return DocumentAnswers(
            answers,
            null_probability,
            self.read,
            self._total,
            self._stopped,
            time.perf_counter() - self._budget.started,
            self._threshold,
            tuple(self._warnings),
        )

    def run(self, reader: Reader, on_read: Callable[[int, int], object] | None = None) -> DocumentAnswers:
        """Read all passages, and return the answers.

        Args:
            reader: reads them.
            on_read: is called after each step with the passages read so far and those that may be read at most.

        Raises:
            EngineError: the model cannot be run.
        """
        while some := self.take():
            pairs = [(self.question, passage.text) for passage in some]
            self.add(reader.predict(pairs, options=self.options))
            if on_read is not None:
                on_read(self.read, self.limit)
        return self.result()


def check_call(question: object, read: object, seconds: object) -> None:
    """Check a question, and the limits of reading; InputError: one is of a wrong type or out of range."""
    check_type("the question", question, str, "a str")
    check_bounds("read", read)
    if seconds is not None and not (is_number(seconds) and seconds > 0):
        raise InputError(f"seconds is {quoted(seconds)}; it must be a number above 0, or None")
