"""AsyncReader from its first question to its end: closing, threads, processes, and what an observer hears."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

import pytest

from qa_onnx import AsyncReader, ClosedError, Prediction, Reader
from tests.conftest import TINY
from tests.dynamic_batching.fakes import PATIENCE_S, SHORT, Gate, example
from tests.fresh import printed

if TYPE_CHECKING:
    from tests.dynamic_batching.conftest import Make


def test_close_answers_what_was_accepted(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        futures = [gated.submit(example("a", 30)) for _ in range(8)]
        with pytest.raises(TimeoutError):  # closing goes on when the one who waits for it is cancelled
            async with asyncio.timeout(0.01):
                await gated.close()
        with pytest.raises(ClosedError, match="is closed and takes no more questions"):
            await gated.ask("a", "the")
        assert not any(future.done() for future in futures)
        gate.let_run()
        await gated.close()
        assert all(future.result(0).answers for future in futures)
        await gated.close()

    asyncio.run(ask())


def test_close_without_draining_drops_what_does_not_run(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        futures = [gated.submit(example("a", 30)) for _ in range(8)]
        await asyncio.to_thread(gate.wait_for_a_batch)
        draining = asyncio.create_task(gated.close())
        await asyncio.sleep(0)
        aborting = asyncio.create_task(gated.close(drain=False))
        await asyncio.sleep(0)
        for future in futures:
            with pytest.raises(ClosedError, match="closed before it came to this question"):
                future.result(0)
        gate.let_run(1)
        await asyncio.gather(draining, aborting)
        assert len(gate.batches) == 1

    asyncio.run(ask())


def test_an_exception_in_the_block_drops_what_waits(gate: Gate, gated: AsyncReader) -> None:
    futures: list[Future[Prediction]] = []

    async def ask() -> None:
        async with gated as answering:
            futures.append(answering.submit(SHORT))
            gate.wait_for_a_batch()
            futures.append(answering.submit(SHORT))
            gate.let_run(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())
    assert isinstance(futures[1].exception(PATIENCE_S), ClosedError)


def qa_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("qa-onnx-")]


def test_no_thread_outlives_its_reader(fake_reader: Reader) -> None:
    answering = AsyncReader(fake_reader, workers=3)
    assert qa_threads() == []
    assert answering.submit(SHORT).result(PATIENCE_S)
    left = qa_threads()
    assert len(left) == 3
    del answering
    gc.collect()
    for thread in left:
        thread.join(PATIENCE_S)
    assert qa_threads() == []
    answering = AsyncReader(fake_reader)
    assert answering.submit(SHORT).result(PATIENCE_S)
    asyncio.run(answering.close())
    assert qa_threads() == []


END = f"""
import atexit, threading
from qa_onnx import AsyncReader, Example, Reader
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))  # runs last
answering = AsyncReader(Reader.load({str(TINY)!r}, threads=1))
futures = [answering.submit(Example("Who?", "word " * 7_000)) for _ in range(20)]
futures[0].result()
print("leaving", flush=True)
"""

FORK = """
import asyncio, os
from qa_onnx import AsyncReader, Example
from qa_onnx.testing import fake_reader

EXAMPLES = [Example("What colour?", f"Number {number} is blue.") for number in range(6)]
reader = fake_reader("blue")
answering = AsyncReader(reader)

async def ask():
    found = await asyncio.gather(*(answering.predict(example) for example in EXAMPLES))
    assert found == reader.predict(EXAMPLES)

asyncio.run(ask())
child = os.fork()
asyncio.run(ask())
asyncio.run(answering.close())
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both answer")
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(END, "leaving\n['MainThread']\n", id="work left"),
        pytest.param(
            FORK,
            "both answer\n",
            id="fork",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
        ),
    ],
)
def test_an_interpreter_ends_with_work_left_and_answers_after_a_fork(code: str, expected: str) -> None:
    assert printed(code) == expected


# ---- the observer


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.batches: list[tuple[int, int]] = []
        self.stages: list[str] = []

    def queue(self, requests: int) -> None:
        self.depths.append(requests)

    def batch(self, windows: int, tokens: int) -> None:
        self.batches.append((windows, tokens))

    def stage(self, name: str, seconds: float) -> None:
        assert 0 <= seconds < PATIENCE_S
        self.stages.append(name)


def test_an_observer_hears_of_queue_batches_and_stages(gate: Gate, make: Make) -> None:
    notes = Notes()
    answering = make(gate, observer=notes, max_batch_tokens=200)
    first = answering.submit(example("a"))
    gate.wait_for_a_batch()
    rest = [answering.submit(example("a", windows)) for windows in (1, 6)]
    gate.let_run()
    wait([first, *rest])
    asyncio.run(answering.close())
    assert notes.depths == [1, 2, 3, 2, 1, 0]
    assert notes.batches == [(1, 40), (5, 200), (2, 80)]
    assert notes.stages.count("wait") == 3
    work = [name for name in notes.stages if name != "wait"]
    assert work == ["cut", "run", "search", "cut", "run", "search", "run", "search"]


def test_an_observer_that_fails_does_no_harm(
    make: Make, fake_reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Notes):
        def __getattribute__(self, name: str) -> object:
            raise ZeroDivisionError

    answering = make(observer=Broken())
    assert answering.submit(SHORT).result(PATIENCE_S) == fake_reader.predict([SHORT])[0]
    asyncio.run(answering.close())
    assert "an observer's queue failed; the work goes on" in caplog.text
    assert SHORT.context not in caplog.text
