"""AsyncReader: the answers of Reader.predict, for many tasks, threads and event loops at once."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import fields, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx import (
    AsyncReader,
    ClosedError,
    DeadlineError,
    EngineError,
    Example,
    InputError,
    Options,
    Prediction,
    QueueFullError,
    Reader,
    Windower,
)
from qa_onnx.steps import Steps
from qa_onnx.testing import FakeSession
from tests.conftest import TINY, TINY_TOKENIZER
from tests.test_reader import EXAMPLES, SMALL, assert_alike

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qa_onnx import Bundle
    from qa_onnx.windows import CutExample

    Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]

MANY = [Example(f"{example.question} {number}", example.context) for number in range(20) for example in EXAMPLES]
SHORT = Example("a", "the a the a")
PATIENCE_S = 60  # of tests that would hang where the code is wrong


def at_rest(answering: AsyncReader) -> bool:
    """Whether nothing waits or runs, or soon does not: a future's waiters wake before its callbacks are called."""
    deadline = time.monotonic() + PATIENCE_S
    while answering.depth and time.monotonic() < deadline:
        time.sleep(0.001)
    return answering.depth == 0


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


class Touchy(FakeSession):
    """Fails on batches with the token `fatal`, and gives no numbers for rows with the token `spoiled`."""

    def __init__(self, windower: Windower, fatal: str = "", spoiled: str = "") -> None:
        super().__init__()
        self._fatal, self._spoiled = token(windower, fatal), token(windower, spoiled)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
        ids = inputs["input_ids"]
        if (ids == self._fatal).any():
            raise EngineError("this batch holds what it must not")
        start, end = super().run(inputs)
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
    [example] = windower.cut([Example(word, "")], SMALL)
    return int(example.windows[0].input_ids[1]) if word else -1


def words_of(windower: Windower, batches: list[dict[str, NDArray[np.int64]]], words: str) -> list[str]:
    """For each batch, the questions of its rows, all of one word."""
    of_id = {token(windower, word): word for word in words.split()}
    return [" ".join(of_id[int(row[1])] for row in batch["input_ids"]) for batch in batches]


@pytest.fixture(scope="module")
def touchy_windower(tiny_bundle: Bundle) -> TouchyWindower:
    return TouchyWindower(tiny_bundle.text(tiny_bundle.manifest.tokenizer), cls_id=tiny_bundle.manifest.cls_id)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(gate: Gate, windower: Windower) -> Iterator[AsyncReader]:
    """A reader whose engine waits to be let; it is closed at the end, and whatever waits is let run."""
    answering = AsyncReader(Reader(session=gate, windower=windower, options=SMALL), max_queue=8)
    yield answering
    gate.let_run()
    asyncio.run(answering.close(drain=False))


@pytest.fixture(scope="module")
def fake_reader(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=SMALL)


def example(question: str, windows: int = 1) -> Example:
    """Of so many windows under `SMALL`."""
    room = 40 - 4
    return Example(question, "the " * (room + (windows - 1) * (room - 8)))


# ---- the same answers


def test_many_tasks_get_what_predict_gives(tiny_reader: Reader) -> None:
    async def ask() -> list[Prediction]:
        async with AsyncReader(tiny_reader) as answering:
            return await asyncio.gather(*(answering.predict(example, options=SMALL) for example in MANY))

    assert_alike(asyncio.run(ask()), tiny_reader.predict(MANY, options=SMALL))


def test_ask_and_choose_are_the_readers(tiny_reader: Reader) -> None:
    async def ask() -> None:
        async with AsyncReader(tiny_reader) as answering:
            for example in EXAMPLES:
                for options in (SMALL, replace(SMALL, null_threshold=-99.0)):
                    found = await answering.ask(example.question, example.context, options=options)
                    expected = tiny_reader.ask(example.question, example.context, options=options)
                    assert (found.text, found.start, found.end) == (expected.text, expected.start, expected.end)
                    prediction = await answering.predict(example, options=options)
                    assert answering.choose(prediction, options=options).text == expected.text

    asyncio.run(ask())


def test_each_question_has_its_own_options_in_a_shared_batch(gate: Gate, windower: Windower) -> None:
    fake = Reader(session=FakeSession(), windower=windower, options=SMALL)
    variants = [
        replace(SMALL, n_best=n_best, max_answer_length=length, doc_stride=stride)
        for n_best, length, stride in ((1, 3, 8), (5, 2, 8), (5, 9, 4))
    ]

    async def ask() -> None:
        reader = Reader(session=gate, windower=windower, options=SMALL)
        async with AsyncReader(reader) as answering:
            first = answering.submit(SHORT)
            gate.wait_for_a_batch()
            futures = [answering.submit(SHORT, options=options) for options in variants]
            gate.let_run()
            await asyncio.gather(*map(asyncio.wrap_future, [first, *futures]))
            for options, future in zip(variants, futures, strict=True):
                assert future.result() == fake.predict([SHORT], options=options)[0]

    asyncio.run(ask())
    assert [len(batch["input_ids"]) for batch in gate.batches] == [1, 3]


def test_several_event_loops_and_plain_threads_share_one(tiny_reader: Reader) -> None:
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


# ---- batches


def test_batches_keep_to_the_budget_of_the_reader_or_the_call(windower: Windower) -> None:
    def largest(max_batch_tokens: int | None) -> int:
        session = FakeSession()
        options = replace(SMALL, batch_tokens=200)
        answering = AsyncReader(
            Reader(session=session, windower=windower, options=options), max_batch_tokens=max_batch_tokens
        )
        futures = [answering.submit(example("a", 20)) for _ in range(4)]
        wait(futures)
        asyncio.run(answering.close())
        return max(batch["input_ids"].size for batch in session.batches)

    assert largest(None) == 5 * 40
    assert largest(400) == 10 * 40


def test_a_batch_waits_for_company_until_it_is_full_or_the_reader_closes(windower: Windower) -> None:
    session = FakeSession()
    reader = Reader(session=session, windower=windower, options=SMALL)
    answering = AsyncReader(reader, max_wait_ms=50_000, max_batch_tokens=4 * 40)
    futures = [answering.submit(example("a"))]
    time.sleep(0.1)  # one that does not wait would run by now, and the batches be others
    futures += [answering.submit(example("a")) for _ in range(4)]
    wait(futures[:4], PATIENCE_S)
    asyncio.run(answering.close())
    assert futures[4].result()
    assert [len(batch["input_ids"]) for batch in session.batches] == [4, 1]


def test_a_batch_does_not_wait_longer_than_it_may(windower: Windower) -> None:
    answering = AsyncReader(Reader(session=FakeSession(), windower=windower, options=SMALL), max_wait_ms=1.5)
    assert answering.submit(SHORT).result(PATIENCE_S).answers
    asyncio.run(answering.close())


def test_two_workers_run_two_batches_at_once(windower: Windower) -> None:
    class Together(FakeSession):
        both = threading.Barrier(2, timeout=PATIENCE_S)

        def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
            self.both.wait()
            return super().run(inputs)

    reader = Reader(session=Together(), windower=windower, options=SMALL)
    answering = AsyncReader(reader, workers=2, max_batch_tokens=40)
    wait([answering.submit(example("a", 2)), answering.submit(example("a", 2))])
    asyncio.run(answering.close())


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


def test_a_book_goes_on_while_short_questions_keep_coming(windower: Windower) -> None:
    """Each batch that runs brings as many new questions as fill the next."""
    session = Gate()
    reader = Reader(session=session, windower=windower, options=SMALL)
    answering = AsyncReader(reader, max_batch_tokens=40)
    short = [answering.submit(example("the"))]
    session.wait_for_a_batch()
    book = answering.submit(example("a", 20))
    while not book.done():
        short.append(answering.submit(example("the")))
        session.let_run(1)
        session.wait_for_a_batch()
    session.let_run()
    asyncio.run(answering.close())
    rows = words_of(windower, session.batches, "a the")
    turns = [at for at, word in enumerate(rows) if word == "a"]
    assert len(turns) == 20
    assert max(np.diff(turns)) <= 8
    assert all(future.result() for future in short)


def test_nobody_waits_while_a_long_text_is_cut() -> None:
    long_text = threading.Event()

    class Slow(TouchyWindower):
        def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
            if any(len(example.context) > 100_000 for example in examples):
                assert long_text.wait(PATIENCE_S)
            return super().cut(examples, options)

    slow = Slow(TINY_TOKENIZER.read_text(encoding="utf-8"))
    answering = AsyncReader(Reader(session=FakeSession(), windower=slow, options=SMALL))
    book = answering.submit(Example("a", "the" + " " * 101_000 + "a"))
    assert answering.submit(SHORT).result(PATIENCE_S)
    assert not book.done()
    long_text.set()
    assert book.result(PATIENCE_S)
    asyncio.run(answering.close())


def test_texts_are_cut_in_the_workers_and_not_in_the_event_loop(touchy_windower: TouchyWindower) -> None:
    touchy_windower.threads.clear()

    async def ask() -> None:
        async with AsyncReader(
            Reader(session=FakeSession(), windower=touchy_windower, options=SMALL)
        ) as answering:
            await answering.predict(SHORT)
            await answering.predict(Example("a", "the" + " " * 31_000 + "a"))

    asyncio.run(ask())
    names = sorted(thread.name for thread in touchy_windower.threads)
    assert names == ["qa-onnx-0", "qa-onnx-1"]


# ---- errors


@pytest.mark.parametrize("fault", ["fatal", "spoiled"])
def test_an_error_of_the_engine_goes_to_the_one_who_asked(windower: Windower, fault: str) -> None:
    gate = threading.Event()

    class Closed(Touchy):
        def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
            assert gate.wait(PATIENCE_S)
            return super().run(inputs)

    session = Closed(windower, **{fault: "boat"})
    answering = AsyncReader(Reader(session=session, windower=windower, options=SMALL), max_batch_tokens=10_000)
    first = answering.submit(SHORT)
    examples = [Example("the", "a " * 20), Example("boat", "a " * 60), *EXAMPLES]
    futures = [answering.submit(example) for example in examples]
    gate.set()
    wait([first, *futures])
    asyncio.run(answering.close())
    assert isinstance(futures.pop(1).exception(), EngineError)
    del examples[1]
    fake = Reader(session=FakeSession(), windower=windower, options=SMALL)
    assert [future.result() for future in futures] == fake.predict(examples)


@pytest.mark.parametrize("error", [Panic("the tokenizer panics"), InputError("no such text"), MemoryError()])
def test_an_error_of_the_tokenizer_goes_to_the_one_who_asked(
    touchy_windower: TouchyWindower, error: BaseException
) -> None:
    touchy_windower.error = error
    gate = Gate()
    answering = AsyncReader(Reader(session=gate, windower=touchy_windower, options=SMALL))
    futures = [answering.submit(SHORT)]
    gate.wait_for_a_batch()
    futures += [answering.submit(Example("a", f"the {word}")) for word in ("a", "poison", "the")]
    gate.let_run()
    wait(futures)
    asyncio.run(answering.close())
    poisoned = futures.pop(2).exception()
    if isinstance(error, Panic):
        assert isinstance(poisoned, EngineError)
        assert "gave up on this question: Panic('the tokenizer panics')" in str(poisoned)
        assert poisoned.__cause__ is error
    else:
        assert poisoned is error
    assert all(future.result().answers for future in futures)


def test_an_error_of_merging_goes_to_the_one_who_asked(windower: Windower) -> None:
    class Unlucky(Steps):
        def merge(self, example: CutExample, *rest: Any) -> Prediction:
            if len(example.windows) == 3:
                raise ZeroDivisionError
            return super().merge(example, *rest)

    reader = Reader(session=FakeSession(), windower=windower, options=SMALL)
    parts = {field.name: getattr(reader.steps, field.name) for field in fields(Steps)}
    reader.steps = Unlucky(**parts)
    answering = AsyncReader(reader)
    futures = [answering.submit(example("a", windows)) for windows in (2, 3, 4)]
    wait(futures)
    asyncio.run(answering.close())
    assert [type(future.exception()) for future in futures] == [type(None), ZeroDivisionError, type(None)]


def test_a_callback_that_fails_does_no_harm(
    gate: Gate, gated: AsyncReader, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(future: Future[Prediction]) -> None:
        raise Panic

    first = gated.submit(SHORT)
    gate.wait_for_a_batch()
    first.add_done_callback(fail)
    second = gated.submit(SHORT)
    gate.let_run()
    assert second.result(PATIENCE_S)
    assert at_rest(gated)
    assert "a callback of a future failed; the work goes on" in caplog.text


def test_nobody_waits_for_a_worker_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Nothing(Windower):
        def cut(self, examples: Sequence[Example], options: Options) -> Any:
            return [None for _ in examples]

    windower = Nothing(TINY_TOKENIZER.read_text(encoding="utf-8"))
    answering = AsyncReader(Reader(session=FakeSession(), windower=windower, options=SMALL), workers=2)
    with pytest.raises(ClosedError, match="closed before it came to this question"):
        answering.submit(SHORT).result(PATIENCE_S)
    asyncio.run(answering.close())
    assert qa_threads() == []
    assert "a worker failed, and the reader closes" in caplog.text


@pytest.mark.parametrize("bad", [("Who?", "Ann"), None, SHORT.context])
def test_what_is_no_example_is_refused_at_once(tiny_reader: Reader, bad: Any) -> None:
    with pytest.raises(InputError, match="must be of type Example"):
        AsyncReader(tiny_reader).submit(bad)


def test_options_that_do_not_fit_are_refused_at_once(tiny_reader: Reader) -> None:
    with pytest.raises(InputError, match="reads at most 128 tokens"):
        AsyncReader(tiny_reader).submit(SHORT, options=replace(SMALL, max_length=129))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("max_batch_tokens", "max_queue", "workers")
            for value in (0, -1, 1.5, True, "1")
        ),
        ("workers", 257),
        *(("max_wait_ms", value) for value in (-1, math.nan, 60_001, "1", True, None)),
    ],
)
def test_numbers_out_of_range_are_refused(tiny_reader: Reader, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is .*; it must be"):
        AsyncReader(tiny_reader, **{name: value})


# ---- a full queue


def test_a_full_queue_refuses_and_says_when_to_come_back(gate: Gate, gated: AsyncReader) -> None:
    futures = [gated.submit(SHORT) for _ in range(8)]
    assert gated.depth == 8
    with pytest.raises(
        QueueFullError, match=r"8 questions wait or run, and max_queue is 8: ask again in "
    ) as caught:
        gated.submit(SHORT)
    assert caught.value.retry_after_s >= 0.1
    gate.let_run()
    wait(futures)
    assert gated.submit(SHORT).result(PATIENCE_S)
    assert at_rest(gated)


def test_a_cancelled_question_makes_room(gated: AsyncReader) -> None:
    futures = [gated.submit(SHORT) for _ in range(8)]
    assert futures[5].cancel()
    gated.submit(SHORT)
    with pytest.raises(QueueFullError):
        gated.submit(SHORT)


def test_the_more_waits_the_later_to_come_back(gate: Gate, gated: AsyncReader) -> None:
    def retry_after_s(windows: int) -> float:
        futures = [gated.submit(example("a", windows)) for _ in range(7)]
        with pytest.raises(QueueFullError) as caught:
            gated.submit(SHORT)
        for future in futures:
            future.cancel()
        return caught.value.retry_after_s

    slow = gated.submit(SHORT)
    gate.wait_for_a_batch()
    time.sleep(0.2)  # some 20 ms a token
    gate.let_run(1)
    assert slow.result(PATIENCE_S)
    gated.submit(SHORT)
    gate.wait_for_a_batch()
    few = retry_after_s(1)
    assert few > 0.1
    assert retry_after_s(50) > 10 * few


def test_queue_full_errors_travel_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(QueueFullError("full", 2.5)))
    assert (str(error), error.retry_after_s) == ("full", 2.5)


# ---- withdrawal and deadlines


def test_a_cancelled_task_never_runs_and_its_mates_do(gate: Gate, gated: AsyncReader, windower: Windower) -> None:
    async def ask() -> None:
        first = asyncio.create_task(gated.predict(Example("a", "the a")))
        await asyncio.to_thread(gate.wait_for_a_batch)
        gone, stays = (asyncio.create_task(gated.predict(Example(word, "the a"))) for word in ("the", "boat"))
        await asyncio.sleep(0)
        assert gated.depth == 3
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert gated.depth == 2
        gate.let_run()
        assert (await first).answers
        assert (await stays).answers

    asyncio.run(ask())
    assert words_of(windower, gate.batches, "a the boat") == ["a", "boat"]


def test_what_is_cancelled_while_it_runs_is_forgotten(gate: Gate, gated: AsyncReader) -> None:
    futures = [gated.submit(SHORT)]
    gate.wait_for_a_batch()
    book, mate = gated.submit(example("a", 100)), gated.submit(example("a"))
    gate.let_run(1)
    gate.wait_for_a_batch()
    assert book.cancel()
    assert gated.depth == 1
    gate.let_run()
    wait([*futures, mate, book])  # does not hang on the cancelled one
    with pytest.raises(CancelledError):
        book.result()
    assert mate.result().answers
    assert len(gate.batches) == 2


def test_a_question_whose_time_is_over_never_runs(gate: Gate, gated: AsyncReader, windower: Windower) -> None:
    first = gated.submit(Example("a", "the a"))
    gate.wait_for_a_batch()
    late = gated.submit(Example("the", "the a"), timeout_s=0.01)
    in_time = gated.submit(Example("boat", "the a"), timeout_s=10 * PATIENCE_S)
    time.sleep(0.02)
    gate.let_run()
    assert first.result(PATIENCE_S)
    assert in_time.result(PATIENCE_S)
    with pytest.raises(DeadlineError, match=r"no answer within timeout_s = 0\.01: send fewer or shorter texts"):
        late.result(PATIENCE_S)
    assert words_of(windower, gate.batches, "a the boat") == ["a", "boat"]


def test_a_task_hears_at_once_that_its_time_is_over(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        with pytest.raises(DeadlineError, match=r"no answer within timeout_s = 0\.01"):
            await gated.predict(SHORT, timeout_s=0.01)  # the engine never answers
        assert at_rest(gated)

    asyncio.run(ask())


def test_a_deadline_error_is_a_timeout_error(gated: AsyncReader) -> None:
    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await gated.ask("a", "the a", timeout_s=0)

    asyncio.run(ask())


def test_the_time_limit_of_the_host_is_the_hosts(gated: AsyncReader) -> None:
    async def ask() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await gated.predict(SHORT, timeout_s=PATIENCE_S)
        assert not isinstance(caught.value, DeadlineError)
        assert at_rest(gated)

    asyncio.run(ask())


@pytest.mark.parametrize("bad", ["1", math.nan, True])
def test_a_time_limit_that_is_no_number_is_refused(gated: AsyncReader, bad: Any) -> None:
    with pytest.raises(InputError, match=r"timeout_s is .*; it must be a number of seconds, or None"):
        gated.submit(SHORT, timeout_s=bad)


# ---- streams


def test_predict_many_keeps_the_order_and_reads_no_further_than_in_flight(tiny_reader: Reader) -> None:
    taken = yielded = 0

    def stream() -> Iterator[Example]:
        nonlocal taken
        for example in MANY:
            taken += 1
            yield example

    async def ask() -> list[Prediction]:
        nonlocal yielded
        found = []
        async with AsyncReader(tiny_reader) as answering:
            async for prediction in answering.predict_many(stream(), options=SMALL, in_flight=5):
                assert taken - yielded <= 6
                yielded += 1
                found.append(prediction)
        return found

    assert_alike(asyncio.run(ask()), tiny_reader.predict(MANY, options=SMALL))


def test_predict_many_waits_for_room_where_others_fill_the_queue(fake_reader: Reader) -> None:
    async def ask() -> list[Prediction]:
        async with AsyncReader(fake_reader, max_queue=2) as answering:
            one, other = await asyncio.gather(*(_all(answering.predict_many(EXAMPLES)) for _ in range(2)))
            assert one == other
            return one

    assert asyncio.run(ask()) == fake_reader.predict(EXAMPLES)


async def _all(stream: AsyncIterator[Prediction]) -> list[Prediction]:
    return [prediction async for prediction in stream]


def test_predict_many_gives_what_it_has_while_its_source_is_silent(fake_reader: Reader) -> None:
    async def ask() -> None:
        more: asyncio.Queue[Example | None] = asyncio.Queue()

        async def source() -> AsyncIterator[Example]:
            while (example := await more.get()) is not None:
                yield example

        async with AsyncReader(fake_reader) as answering:
            stream = answering.predict_many(source())
            for example in EXAMPLES:
                more.put_nowait(example)
                async with asyncio.timeout(PATIENCE_S):
                    assert await anext(stream) == fake_reader.predict([example])[0]
            more.put_nowait(None)
            assert await _all(stream) == []

    asyncio.run(ask())


def test_an_error_ends_predict_many_where_it_belongs(windower: Windower) -> None:
    session = Touchy(windower, fatal="boat")
    examples = [SHORT, SHORT, Example("boat", "the"), SHORT]

    async def ask() -> None:
        async with AsyncReader(Reader(session=session, windower=windower, options=SMALL)) as answering:
            stream = answering.predict_many(examples)
            assert (await anext(stream)).answers
            assert (await anext(stream)).answers
            with pytest.raises(EngineError):
                await anext(stream)
            assert at_rest(answering)

    asyncio.run(ask())


@pytest.mark.parametrize("bad", [None, "", ("a", "b")])
def test_predict_many_refuses_what_is_no_example(fake_reader: Reader, bad: Any) -> None:
    async def ask() -> None:
        async with AsyncReader(fake_reader) as answering:
            with pytest.raises(InputError, match="must be of type Example"):
                await _all(answering.predict_many([SHORT, bad, SHORT]))
            with pytest.raises(InputError, match="in_flight is 0"):
                await _all(answering.predict_many([], in_flight=0))
            assert await _all(answering.predict_many([])) == []

    asyncio.run(ask())


def test_an_error_of_the_source_comes_out_of_predict_many(fake_reader: Reader) -> None:
    def source() -> Iterator[Example]:
        yield SHORT
        raise ZeroDivisionError

    async def ask() -> None:
        async with AsyncReader(fake_reader) as answering:
            with pytest.raises(ZeroDivisionError):
                await _all(answering.predict_many(source()))

    asyncio.run(ask())


def test_a_stream_that_is_left_withdraws_what_waits(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        stream = gated.predict_many((SHORT for _ in count()), in_flight=4)
        taking = asyncio.create_task(_all(stream))
        await asyncio.to_thread(gate.wait_for_a_batch)
        assert gated.depth > 0
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert at_rest(gated)

    asyncio.run(ask())


# ---- the end


def test_close_answers_what_was_accepted(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        futures = [gated.submit(example("a", 30)) for _ in range(8)]
        closing = asyncio.create_task(gated.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError, match="is closed and takes no more questions"):
            await gated.ask("a", "the")
        assert not any(future.done() for future in futures)
        gate.let_run()
        await closing
        assert all(future.result().answers for future in futures)
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


def test_closing_goes_on_when_the_one_who_waits_for_it_is_cancelled(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        future = gated.submit(SHORT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await gated.close()
        gate.let_run()
        await gated.close()
        assert future.result(0)

    asyncio.run(ask())


def test_an_exception_in_the_block_drops_what_waits(gate: Gate, windower: Windower) -> None:
    futures: list[Future[Prediction]] = []

    async def ask() -> None:
        async with AsyncReader(Reader(session=gate, windower=windower, options=SMALL)) as answering:
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
    assert len(qa_threads()) == 3
    left = qa_threads()
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


def test_an_interpreter_with_work_left_ends() -> None:
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("leaving\n['MainThread']\n", "", 0)


FORK = """
import asyncio, os, sys
from qa_onnx.steps import Steps
from tests.conftest import TINY, TINY_TOKENIZER
from tests.test_reader import EXAMPLES, SMALL
from qa_onnx import AsyncReader, Bundle, Reader, Windower
from qa_onnx.testing import FakeSession

bundle = Bundle.load(TINY)
reader = Reader(session=FakeSession(), windower=Windower(bundle.text(bundle.manifest.tokenizer)), options=SMALL)
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


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_it_works_in_a_child_after_a_fork() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("both answer\n", "", 0)


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


def test_an_observer_hears_of_queue_batches_and_stages(gate: Gate, windower: Windower) -> None:
    notes = Notes()
    answering = AsyncReader(
        Reader(session=gate, windower=windower, options=SMALL), observer=notes, max_batch_tokens=200
    )
    first = answering.submit(example("a"))
    gate.wait_for_a_batch()
    rest = [answering.submit(example("a", windows)) for windows in (1, 6)]
    gate.let_run()
    wait([first, *rest])
    asyncio.run(answering.close())
    assert notes.depths == [1, 2, 3, 2, 1, 0]
    assert notes.batches == [(1, 40), (5, 200), (2, 80)]
    assert notes.stages.count("wait") == 3
    assert [name for name in notes.stages if name != "wait"] == ["cut", "run", "search", "cut"] + [
        "run",
        "search",
    ] * 2


class Broken(Notes):
    def queue(self, requests: int) -> None:
        raise ZeroDivisionError

    def batch(self, windows: int, tokens: int) -> None:
        raise ZeroDivisionError

    def stage(self, name: str, seconds: float) -> None:
        raise ZeroDivisionError


def test_an_observer_that_fails_does_no_harm(fake_reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    answering = AsyncReader(fake_reader, observer=Broken())
    assert answering.submit(SHORT).result(PATIENCE_S) == fake_reader.predict([SHORT])[0]
    asyncio.run(answering.close())
    assert "an observer's queue failed; the work goes on" in caplog.text
    assert SHORT.context not in caplog.text


# ---- all of it together

ACTIONS: dict[str, Callable[[], Example]] = {
    "answered": lambda: Example("a", "the a the a"),
    "long": lambda: example("the", 9),
    "cut apart": lambda: Example("a", "a" + " " * 31_000 + "the a"),
    "blank": lambda: Example("a", ""),
    "fatal": lambda: Example("boat", "the a"),
    "spoiled": lambda: Example("sail", "the a the"),
    "uncut": lambda: Example("a", "the poison a"),
}


@settings(max_examples=30, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(
            st.sampled_from(sorted(ACTIONS)),
            st.sampled_from(["stay", "stay", "stay", "cancel", "no time", "little time"]),
            st.sampled_from([0.0, 0.0, 0.001, 0.003]),
        ),
        min_size=1,
        max_size=25,
    ),
    max_queue=st.integers(5, 40),
    workers=st.integers(1, 3),
    drain=st.booleans(),
)
def test_every_question_has_exactly_one_outcome(
    touchy_windower: TouchyWindower,
    arrivals: list[tuple[str, str, float]],
    max_queue: int,
    workers: int,
    drain: bool,
) -> None:
    touchy_windower.error = Panic("the tokenizer panics")
    session = Touchy(touchy_windower, fatal="boat", spoiled="sail")
    reader = Reader(session=session, windower=touchy_windower, options=SMALL)
    outcomes: list[tuple[str, str, Example, Future[Prediction]]] = []
    settled: list[Future[Prediction]] = []

    async def arrive() -> None:
        answering = AsyncReader(reader, max_queue=max_queue, workers=workers, max_batch_tokens=200)
        for kind, fate, pause in arrivals:
            example = ACTIONS[kind]()
            timeout_s = {"no time": 0.0, "little time": 0.002}.get(fate)
            try:
                future = answering.submit(example, timeout_s=timeout_s)
            except QueueFullError:
                assert answering.depth >= 1
                continue
            future.add_done_callback(settled.append)
            outcomes.append((kind, fate, example, future))
            await asyncio.sleep(pause)
            if fate == "cancel":
                future.cancel()
        await answering.close(drain=drain)
        assert at_rest(answering)

    asyncio.run(arrive())
    assert len(settled) == len(outcomes) == len(set(map(id, settled)))
    for kind, fate, example, future in outcomes:
        assert future.done()
        if future.cancelled():
            assert fate == "cancel"
            continue
        error = future.exception()
        if error is None:
            assert kind not in {"fatal", "spoiled", "uncut"}
            assert fate != "no time"
            assert future.result() == reader.predict([example])[0]
        elif isinstance(error, DeadlineError):
            assert "time" in fate
        elif isinstance(error, ClosedError):
            assert not drain
        else:
            assert isinstance(error, EngineError)
            assert kind in {"fatal", "spoiled", "uncut"}


# ---- size


def same_spans(found: Prediction, expected: Prediction) -> bool:
    return [(a.start, a.end) for a in found.answers[:1]] == [
        (a.start, a.end) for a in expected.answers[:1]
    ] and all(abs(a.score - b.score) <= 1e-4 for a, b in zip(found.answers[:1], expected.answers[:1], strict=True))


@pytest.mark.parametrize("asks", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_32_threads_on_one_reader_answer_as_one_does(tiny_reader: Reader, asks: int) -> None:
    expected = [tiny_reader.predict([example], options=SMALL)[0] for example in EXAMPLES]
    barrier = threading.Barrier(32)

    def work(number: int) -> bool:
        barrier.wait()
        order = [(number + step) % len(EXAMPLES) for step in range(asks)]
        return all(same_spans(tiny_reader.predict([EXAMPLES[at]], options=SMALL)[0], expected[at]) for at in order)

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(32)))


@pytest.mark.parametrize("asks", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_200_tasks_on_an_async_reader_are_answered_as_one_is(tiny_reader: Reader, asks: int) -> None:
    expected = [tiny_reader.predict([example], options=SMALL)[0] for example in EXAMPLES]

    async def work(answering: AsyncReader, number: int) -> bool:
        order = [(number + step) % len(EXAMPLES) for step in range(asks)]
        return all(
            [same_spans(await answering.predict(EXAMPLES[at], options=SMALL), expected[at]) for at in order]
        )

    async def ask() -> list[bool]:
        async with AsyncReader(tiny_reader) as answering:
            return await asyncio.gather(*(work(answering, number) for number in range(200)))

    assert all(asyncio.run(ask()))
