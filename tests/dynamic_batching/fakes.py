"""Engines and tokenizers that wait or fail as a test wants it, and examples of any number of windows."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from qa_onnx import AsyncReader, EngineError, Example, Options, Windower
from qa_onnx.session import ENDED
from qa_onnx.testing import FakeSession
from tests.test_reader import SMALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.session import Arrays, Stop
    from qa_onnx.windows import CutExample

SHORT = Example("a", "the a the a")
PATIENCE_S = 60  # of tests that would hang where the code is wrong


class Gate(FakeSession):
    """Runs each batch only when it is let, and knows how many have come."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Semaphore(0)
        self._may_run = threading.Semaphore(0)
        self._is_open = False

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
        result = super().run(inputs)
        self._came.release()
        assert self._is_open or self._may_run.acquire(timeout=PATIENCE_S)
        return result

    def wait_for_a_batch(self) -> None:
        assert self._came.acquire(timeout=PATIENCE_S)

    def let_run(self, batches: int | None = None) -> None:
        """So many batches; None: all from now on."""
        self._is_open = batches is None
        self._may_run.release(4 if batches is None else batches)


class Deaf(Gate):
    """A gate that can be told to end a run, and does not; it counts how often it was opened again."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.renewed = 0
        self._error = error

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        return super().run(inputs)

    def renew(self) -> None:
        self.renewed += 1
        if self._error is not None:
            raise self._error


class Endable(Deaf):
    """A gate whose runs end when they are told to."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        assert stop is not None
        with stop.ends(self.let_run):
            result = super().run(inputs)
        if stop.requested:
            self._is_open = False
            raise EngineError(ENDED)
        return result


class Touchy(FakeSession):
    """Fails on batches with the word `fatal`, and gives no numbers for rows with `spoiled`."""

    def __init__(self, windower: Windower, fatal: str = "", spoiled: str = "") -> None:
        super().__init__()
        self._fatal, self._spoiled = token(windower, fatal), token(windower, spoiled)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
        start, end = super().run(inputs)
        ids = inputs["input_ids"]
        if (ids == self._fatal).any():
            raise EngineError("this batch holds what it must not")
        start[(ids == self._spoiled).any(axis=1)] = math.nan
        return start, end


class Panic(BaseException):
    """As tokenizers has it."""


class TouchyWindower(Windower):
    """Raises what it is told on a text with the word "poison", and remembers who called it."""

    error: BaseException = Panic("the tokenizer panics")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.threads: set[threading.Thread] = set()

    def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
        self.threads.add(threading.current_thread())
        if any("poison" in example.context for example in examples):
            raise self.error
        return super().cut(examples, options)


def token(windower: Windower, word: str) -> int:
    """The id of a word of one token; -1 for none."""
    [example] = windower.cut([Example(word, "")], SMALL)
    return int(example.windows[0].input_ids[1]) if word else -1


def words_of(windower: Windower, batches: list[dict[str, NDArray[np.int64]]], words: str) -> list[str]:
    """For each batch, the questions of its rows, all of one word."""
    of_id = {token(windower, word): word for word in words.split()}
    return [" ".join(of_id[int(row[1])] for row in batch["input_ids"]) for batch in batches]


def example(question: str, windows: int = 1) -> Example:
    """Of so many windows under `SMALL`."""
    room = 40 - 4
    return Example(question, "the " * (room + (windows - 1) * (room - 8)))


def at_rest(answering: AsyncReader) -> bool:
    """Whether nothing waits or runs, or soon does not: a future's waiters wake before its callbacks are called."""
    deadline = time.monotonic() + PATIENCE_S
    while answering.depth and time.monotonic() < deadline:
        time.sleep(0.001)
    return answering.depth == 0
