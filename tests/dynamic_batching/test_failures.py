"""What goes wrong goes to the one who asked: errors, full queues, cancelled and late questions."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

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
    Prediction,
    QueueFullError,
    Reader,
    Windower,
)
from qa_onnx.steps import Steps
from tests.conftest import TINY_TOKENIZER
from tests.dynamic_batching.fakes import (
    PATIENCE_S,
    SHORT,
    Gate,
    Panic,
    Touchy,
    TouchyWindower,
    at_rest,
    example,
    words_of,
)
from tests.test_reader import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.windows import CutExample
    from tests.dynamic_batching.conftest import Make

# ---- errors


@pytest.mark.parametrize("error", [Panic("the tokenizer panics"), InputError("no such text"), MemoryError()])
def test_an_error_of_the_tokenizer_goes_to_the_one_who_asked(
    gate: Gate, make: Make, touchy_windower: TouchyWindower, error: BaseException
) -> None:
    touchy_windower.error = error
    answering = make(gate, by=touchy_windower)
    answering.submit(SHORT)
    gate.wait_for_a_batch()
    futures = [answering.submit(Example("a", f"the {word}")) for word in ("a", "poison", "the")]
    gate.let_run()
    poisoned = futures.pop(1).exception(PATIENCE_S)
    if isinstance(error, Panic):
        assert isinstance(poisoned, EngineError)
        assert "gave up on this question: Panic('the tokenizer panics')" in str(poisoned)
        assert poisoned.__cause__ is error
    else:
        assert poisoned is error
    assert all(future.result(PATIENCE_S).answers for future in futures)


def test_an_error_of_merging_goes_to_the_one_who_asked(fake_reader: Reader, windower: Windower) -> None:
    class Unlucky(Steps):
        def merge(self, example: CutExample, *rest: Any) -> Prediction:
            if len(example.windows) == 3:
                raise ZeroDivisionError
            return super().merge(example, *rest)

    reader = Reader(session=fake_reader.steps.session, windower=windower, options=SMALL)
    reader.steps = Unlucky(**{field.name: getattr(reader.steps, field.name) for field in fields(Steps)})
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


def test_nobody_waits_for_a_worker_that_fails(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Nothing(Windower):
        def cut(self, examples: Any, options: Any) -> Any:
            return [None for _ in examples]

    answering = make(by=Nothing(TINY_TOKENIZER.read_text(encoding="utf-8")), workers=2)
    with pytest.raises(ClosedError, match="closed before it came to this question"):
        answering.submit(SHORT).result(PATIENCE_S)
    asyncio.run(answering.close())
    assert "a worker failed (AttributeError), and the reader closes" in caplog.text


@pytest.mark.parametrize(("starts", "text"), [(0, SHORT), (1, SHORT), (2, example("a", 900))])
def test_a_question_for_which_no_thread_starts_is_refused_and_forgotten(
    make: Make, starts: int, text: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering, start = make(workers=2), threading.Thread.start
    left = iter(range(starts))

    def limited(self: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(self)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            answering.submit(text)
    assert answering.depth == 0
    assert answering.submit(text).result(PATIENCE_S)
    asyncio.run(asyncio.wait_for(answering.close(), PATIENCE_S))


@pytest.mark.parametrize(
    ("bad", "changes", "message"),
    [
        (("Who?",), {}, "an example must be an Example, a tuple"),
        (None, {}, "an example must be an Example, a tuple"),
        (SHORT, {"options": replace(SMALL, max_length=41)}, "reads at most 40 tokens"),
        (SHORT, {"timeout_s": "1"}, "timeout_s is '1'; it must be a number of seconds, 0 or more, or None"),
        (SHORT, {"timeout_s": -1}, "timeout_s is -1; it must be a number of seconds, 0 or more, or None"),
        (SHORT, {"timeout_s": math.nan}, "timeout_s is nan"),
        (SHORT, {"timeout_s": True}, "timeout_s is True"),
    ],
)
def test_a_request_that_cannot_be_is_refused_at_once(
    make: Make, bad: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make().submit(bad, **changes)


@pytest.mark.parametrize(
    ("name", "value"), [("max_batch_tokens", 0), ("max_queue", 1.5), ("workers", 257), ("max_wait_ms", -1)]
)
def test_numbers_out_of_range_are_refused(make: Make, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is .*; it must be"):
        make(**{name: value})


# ---- a full queue


@pytest.mark.parametrize(("timeout_s", "longest"), [(40.0, 40.0), (None, math.inf)])
def test_nobody_is_told_to_wait_beyond_the_deadlines_of_those_who_wait(
    gate: Gate, gated: AsyncReader, timeout_s: float | None, longest: float
) -> None:
    first = gated.submit(SHORT)
    gate.wait_for_a_batch()
    time.sleep(0.02)  # so slow is a token: thousands of seconds for those of the texts
    gate.let_run(1)
    wait([first])
    text = Example("Who came by boat?", "a long text " * 200_000)
    futures = [gated.submit(text, timeout_s=timeout_s) for _ in range(8)]
    with pytest.raises(QueueFullError) as caught:
        gated.submit(SHORT)
    assert min(longest, 41) - 1 < caught.value.retry_after_s <= longest
    for future in futures:
        future.cancel()
    gate.let_run()


def test_a_full_queue_refuses_and_says_when_to_come_back(gate: Gate, gated: AsyncReader) -> None:
    futures = [gated.submit(SHORT) for _ in range(8)]
    assert gated.depth == 8
    with pytest.raises(
        QueueFullError, match=r"8 questions wait or run, and max_queue is 8: ask again in "
    ) as caught:
        gated.submit(SHORT)
    assert caught.value.retry_after_s >= 0.1
    assert futures.pop(5).cancel()  # one that leaves makes room
    futures.append(gated.submit(SHORT))
    with pytest.raises(QueueFullError):
        gated.submit(SHORT)
    gate.let_run()
    wait(futures)
    assert gated.submit(SHORT).result(PATIENCE_S)
    assert at_rest(gated)


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


@pytest.mark.parametrize(
    ("own", "hosts", "error"),
    [
        (0.01, None, DeadlineError),
        (0, None, DeadlineError),
        (PATIENCE_S, 0.01, TimeoutError),
        (None, 0.01, TimeoutError),
    ],
    ids=["its own", "none left", "the host's", "the host's alone"],
)
def test_a_task_hears_at_once_that_its_time_is_over(
    gated: AsyncReader, own: float | None, hosts: float | None, error: type[Exception]
) -> None:
    """The engine never answers."""

    async def ask() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(hosts):
                await gated.ask("a", "the a", timeout_s=own)
        assert type(caught.value) is error
        assert at_rest(gated)

    asyncio.run(ask())


def test_a_future_fails_as_soon_as_its_time_is_over_though_its_turn_has_not_come(
    gate: Gate, gated: AsyncReader
) -> None:
    first = gated.submit(SHORT)
    gate.wait_for_a_batch()
    assert isinstance(gated.submit(SHORT, timeout_s=0.05).exception(PATIENCE_S), DeadlineError)
    assert not first.done()
    gate.let_run()
    assert first.result(PATIENCE_S)


# ---- all of it together


@dataclass
class Asked:
    """A question, what is in it, what happened to it, and its outcome."""

    kind: str
    fate: str
    example: Example
    future: Future[Prediction]


KINDS: dict[str, Callable[[], Example]] = {
    "answered": lambda: Example("a", "the a the a"),
    "long": lambda: example("the", 9),
    "cut apart": lambda: Example("a", "a" + " " * 31_000 + "the a"),
    "blank": lambda: Example("a", ""),
    "fatal": lambda: Example("boat", "the a"),
    "spoiled": lambda: Example("sail", "the a the"),
    "uncut": lambda: Example("a", "the poison a"),
}


def check_outcome(asked: Asked, reader: Reader, *, drain: bool) -> None:
    if asked.future.cancelled():
        assert asked.fate == "cancel"
        return
    error = asked.future.exception(0)
    if error is None:
        assert asked.kind not in {"fatal", "spoiled", "uncut"}
        assert asked.fate != "no time"
        assert asked.future.result() == reader.predict([asked.example])[0]
    elif isinstance(error, DeadlineError):
        assert "time" in asked.fate
    elif isinstance(error, ClosedError):
        assert not drain
    else:
        assert isinstance(error, EngineError)
        assert asked.kind in {"fatal", "spoiled", "uncut"}


@settings(max_examples=30)
@given(
    arrivals=st.lists(
        st.tuples(
            st.sampled_from(sorted(KINDS)),
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
    arrivals: list[tuple[str, str, float]], max_queue: int, workers: int, drain: bool
) -> None:
    windower = TouchyWindower(TINY_TOKENIZER.read_text(encoding="utf-8"))
    session = Touchy(windower, fatal="boat", spoiled="sail")
    reader = Reader(session=session, windower=windower, options=SMALL)
    asked: list[Asked] = []
    settled: list[Future[Prediction]] = []

    async def arrive() -> None:
        answering = AsyncReader(reader, max_queue=max_queue, workers=workers, max_batch_tokens=200)
        for kind, fate, pause in arrivals:
            timeout_s = {"no time": 0.0, "little time": 0.002}.get(fate)
            one = KINDS[kind]()
            try:
                future = answering.submit(one, timeout_s=timeout_s)
            except QueueFullError:
                assert answering.depth >= 1
                continue
            future.add_done_callback(settled.append)
            asked.append(Asked(kind, fate, one, future))
            await asyncio.sleep(pause)
            if fate == "cancel":
                future.cancel()
        await answering.close(drain=drain)
        assert at_rest(answering)

    asyncio.run(arrive())
    assert len(settled) == len(asked) == len(set(map(id, settled)))
    for one in asked:
        check_outcome(one, reader, drain=drain)
