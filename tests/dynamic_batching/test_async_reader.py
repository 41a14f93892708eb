"""AsyncReader: the answers of Reader.predict, for many tasks, threads and event loops at once."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx import AsyncReader, Example, Options, Prediction, Reader, Windower
from qa_onnx.testing import FakeSession
from tests.dynamic_batching.fakes import PATIENCE_S, SHORT, Gate, TouchyWindower, example, words_of
from tests.test_reader import EXAMPLES, SMALL, assert_alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest
    from numpy.typing import NDArray

    from qa_onnx.session import Arrays
    from qa_onnx.windows import CutExample
    from tests.dynamic_batching.conftest import Make

# ---- the same answers


def test_many_tasks_event_loops_and_plain_threads_get_what_predict_gives(tiny_reader: Reader) -> None:
    expected = tiny_reader.predict(EXAMPLES, options=SMALL)
    answering = AsyncReader(tiny_reader)

    async def ask() -> list[Prediction]:
        return await asyncio.gather(*(answering.predict(example, options=SMALL) for example in EXAMPLES))

    def with_a_loop(_: int) -> list[Prediction]:
        return asyncio.run(ask())

    def without(_: int) -> list[Prediction]:
        futures = [answering.submit(example, options=SMALL) for example in EXAMPLES]
        return [future.result(PATIENCE_S) for future in futures]

    with ThreadPoolExecutor(8) as pool:
        for found in [*pool.map(with_a_loop, range(8)), *pool.map(without, range(8))]:
            assert_alike(found, expected)
    asyncio.run(answering.close())


def test_ask_and_choose_are_the_readers(tiny_reader: Reader) -> None:
    async def ask() -> None:
        async with AsyncReader(tiny_reader) as answering:
            for options in (SMALL, replace(SMALL, null_threshold=-99.0)):
                found = await answering.ask(EXAMPLES[0].question, EXAMPLES[0].context, options=options)
                expected = tiny_reader.ask(EXAMPLES[0].question, EXAMPLES[0].context, options=options)
                assert (found.text, found.start, found.end) == (expected.text, expected.start, expected.end)
                prediction = await answering.predict(EXAMPLES[0], options=options)
                assert answering.choose(prediction, options=options).text == expected.text

    asyncio.run(ask())


def test_each_question_has_its_own_options_in_a_shared_batch(
    gate: Gate, gated: AsyncReader, fake_reader: Reader
) -> None:
    variants = [
        replace(SMALL, n_best=n_best, max_answer_length=length, doc_stride=stride)
        for n_best, length, stride in ((1, 3, 8), (5, 2, 8), (5, 9, 4))
    ]
    gated.submit(SHORT)
    gate.wait_for_a_batch()
    futures = [gated.submit(SHORT, options=options) for options in variants]
    gate.let_run()
    for options, future in zip(variants, futures, strict=True):
        assert future.result(PATIENCE_S) == fake_reader.predict([SHORT], options=options)[0]
    assert [len(batch["input_ids"]) for batch in gate.batches] == [1, 3]


# ---- batches


def test_batches_keep_to_the_budget_of_the_reader_or_the_call(windower: Windower) -> None:
    for max_batch_tokens, expected in ((None, 5 * 40), (400, 10 * 40)):
        session = FakeSession()
        options = replace(SMALL, batch_tokens=200)
        reader = Reader(session=session, windower=windower, options=options)
        answering = AsyncReader(reader, max_batch_tokens=max_batch_tokens)
        wait([answering.submit(example("a", 20)) for _ in range(4)])
        asyncio.run(answering.close())
        assert max(batch["input_ids"].size for batch in session.batches) == expected


def test_a_batch_waits_for_company_until_it_is_full_or_the_reader_closes(make: Make) -> None:
    session = FakeSession()
    answering = make(session, max_wait_ms=50_000, max_batch_tokens=4 * 40)
    futures = [answering.submit(example("a"))]
    time.sleep(0.1)  # one that does not wait would run by now, and the batches be others
    futures += [answering.submit(example("a")) for _ in range(4)]
    wait(futures[:4], PATIENCE_S)
    asyncio.run(answering.close())
    assert futures[4].result()
    assert [len(batch["input_ids"]) for batch in session.batches] == [4, 1]


def test_a_batch_does_not_wait_longer_than_it_may(make: Make) -> None:
    assert make(max_wait_ms=1.5).submit(SHORT).result(PATIENCE_S).answers


def test_two_workers_run_two_batches_at_once(make: Make) -> None:
    class Together(FakeSession):
        both = threading.Barrier(2, timeout=PATIENCE_S)

        def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
            self.both.wait()
            return super().run(inputs)

    answering = make(Together(), workers=2, max_batch_tokens=40)
    futures = [answering.submit(example("a", 2)) for _ in range(2)]
    assert all(future.result(PATIENCE_S) for future in futures)


# ---- fairness


def test_a_short_question_overtakes_a_document_of_a_thousand_windows(
    gate: Gate, gated: AsyncReader, windower: Windower
) -> None:
    book = gated.submit(example("a", 1000))
    gate.wait_for_a_batch()
    short = gated.submit(example("the"))
    gate.let_run(2)
    assert short.result(PATIENCE_S)
    rows = words_of(windower, gate.batches, "a the")
    assert "the" not in rows[0]
    assert rows[1].startswith("the a")  # it leads, and the book fills the batch up
    assert not book.done()
    gate.let_run()
    assert book.result(PATIENCE_S)


def test_a_book_goes_on_while_short_questions_keep_coming(gate: Gate, make: Make, windower: Windower) -> None:
    """Each batch that runs brings as many new questions as fill the next."""
    answering = make(gate, max_batch_tokens=40)
    short = [answering.submit(example("the"))]
    gate.wait_for_a_batch()
    book = answering.submit(example("a", 20))
    while not book.done():
        short.append(answering.submit(example("the")))
        gate.let_run(1)
        gate.wait_for_a_batch()
    gate.let_run()
    asyncio.run(answering.close())
    rows = words_of(windower, gate.batches, "a the")
    turns = [at for at, word in enumerate(rows) if word == "a"]
    assert len(turns) == 20
    assert max(np.diff(turns)) <= 8
    assert all(future.result() for future in short)


def test_nobody_waits_while_a_long_text_is_cut(
    make: Make, touchy_windower: TouchyWindower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut in a thread of its own, and none in the thread of the caller."""
    may_cut, cut = threading.Event(), touchy_windower.cut

    def slow(examples: Sequence[Example], options: Options) -> list[CutExample]:
        if any(len(example.context) > 100_000 for example in examples):
            assert may_cut.wait(PATIENCE_S)
        return cut(examples, options)

    monkeypatch.setattr(touchy_windower, "cut", slow)
    answering = make(by=touchy_windower)
    book = answering.submit(Example("a", "the" + " " * 101_000 + "a"))
    assert answering.submit(SHORT).result(PATIENCE_S)
    assert not book.done()
    may_cut.set()
    assert book.result(PATIENCE_S)
    assert {thread.name for thread in touchy_windower.threads} == {"qa-onnx-0", "qa-onnx-1"}


def test_progress_counts_the_windows_that_have_run(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    answering = make(max_batch_tokens=SMALL.max_length)  # a window at a time
    seen: list[tuple[int, int]] = []
    answering.submit(example("a", 5), on_progress=lambda done, total: seen.append((done, total))).result(
        PATIENCE_S
    )
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5)]

    def fail(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    assert answering.submit(example("a", 3), on_progress=fail).result(PATIENCE_S).answers
    assert "a callback for progress failed; the work goes on" in caplog.text
