"""Runs that nobody waits for end, or are given up, and the next question is answered."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import ClosedError, DeadlineError, EngineError, Example
from qa_onnx.dynamic_batching import runs
from qa_onnx.dynamic_batching.runs import Run, Runs
from qa_onnx.dynamic_batching.timer import Timer
from tests.dynamic_batching.fakes import PATIENCE_S, SHORT, Deaf, Endable, Gate, at_rest, example
from tests.fresh import printed
from tests.test_reader import EXAMPLES, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from qa_onnx import AsyncReader, Prediction, Reader
    from qa_onnx.session import Stop
    from tests.dynamic_batching.conftest import Make


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are asked to end, and given up, without delay."""
    monkeypatch.setattr(runs, "_UNASKED_S", 0.0)
    monkeypatch.setattr(runs, "_ASKED_S", 0.0)


def withdraw(answering: AsyncReader, future: Future[Prediction]) -> None:
    assert future.cancel()


def pass_by(answering: AsyncReader, future: Future[Prediction]) -> None:
    """Its time is over: the caller hears of it while it runs."""
    assert isinstance(future.exception(PATIENCE_S), DeadlineError)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("timeout_s", "leave"), [(None, withdraw), (0.2, pass_by)])
@pytest.mark.parametrize("kind", [Endable, Deaf])
def test_a_run_that_nobody_waits_for_makes_room_for_the_next(
    make: Make,
    kind: type[Deaf],
    timeout_s: float | None,
    leave: Callable[[AsyncReader, Future[Prediction]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind is Endable:
        monkeypatch.setattr(runs, "_ASKED_S", PATIENCE_S)
    engine = kind()
    answering = make(engine)
    hangs = answering.submit(SHORT, timeout_s=timeout_s)
    engine.wait_for_a_batch()
    assert answering.problem == ""
    leave(answering, hangs)
    following = answering.submit(SHORT)
    engine.wait_for_a_batch()  # while the first may still run
    engine.let_run()
    assert following.result(PATIENCE_S).answers
    assert engine.renewed == (kind is Deaf)
    assert (answering.problem, answering.failed) == ("", False)


@pytest.mark.usefixtures("at_once")
def test_a_run_for_two_goes_on_for_the_one_who_stays(make: Make) -> None:
    engine = Endable()
    answering = make(engine)
    first = answering.submit(SHORT)
    engine.wait_for_a_batch()
    goes, stays = (answering.submit(SHORT) for _ in range(2))
    engine.let_run(1)
    assert first.result(PATIENCE_S)
    engine.wait_for_a_batch()
    assert goes.cancel()
    engine.let_run(1)
    assert stays.result(PATIENCE_S).answers


@pytest.mark.parametrize("kind", [Endable, Deaf])
def test_closing_does_not_wait_for_a_run_that_does_not_end(
    kind: type[Deaf], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_ASKED_S", 0.1 if kind is Deaf else PATIENCE_S)
    monkeypatch.setattr(runs, "_UNASKED_S", PATIENCE_S)  # at the end it is asked at once
    engine = kind()
    answering = make(engine)
    hangs = answering.submit(SHORT)
    engine.wait_for_a_batch()
    asyncio.run(asyncio.wait_for(answering.close(drain=False), PATIENCE_S))
    assert isinstance(hangs.exception(), ClosedError)
    left = [thread for thread in threading.enumerate() if thread.name.startswith("qa-onnx-")]
    assert len(left) == (kind is Deaf)
    engine.let_run()
    for thread in left:
        thread.join(PATIENCE_S)


@pytest.mark.usefixtures("at_once")
def test_after_several_runs_that_do_not_end_it_closes(make: Make) -> None:
    engine = Deaf()
    answering = make(engine)
    for number in range(4):
        assert not answering.failed
        hangs = answering.submit(SHORT)
        engine.wait_for_a_batch()
        waits = answering.submit(SHORT, timeout_s=None) if number == 3 else None
        assert hangs.cancel()
    assert waits is not None
    assert isinstance(waits.exception(PATIENCE_S), ClosedError)
    assert (answering.failed, answering.problem) == (True, "4 runs do not end")
    with pytest.raises(ClosedError):
        answering.submit(SHORT)


def closed_by_a_run_that_hangs(make: Make, engine: Deaf) -> AsyncReader:
    """Cancel a question whose run does not end; return the reader, which closes with another one waiting."""
    answering = make(engine)
    hangs = answering.submit(SHORT)
    engine.wait_for_a_batch()
    waits = answering.submit(SHORT)
    hangs.cancel()
    assert isinstance(waits.exception(PATIENCE_S), ClosedError)
    return answering


@pytest.mark.usefixtures("at_once")
def test_a_graph_that_cannot_be_opened_again_closes_it(make: Make) -> None:
    engine = Deaf(EngineError("the file is gone"))
    answering = closed_by_a_run_that_hangs(make, engine)
    assert (answering.failed, answering.problem) == (True, "a worker failed (EngineError)")


@pytest.mark.usefixtures("at_once")
def test_an_engine_that_fails_to_end_a_run_closes_the_reader(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Unendable(Deaf):
        def run(self, inputs: Any, *, stop: Stop | None = None) -> Any:
            assert stop is not None
            with stop.ends(lambda: 1 // 0):
                return super().run(inputs)

    engine = Unendable()
    answering = closed_by_a_run_that_hangs(make, engine)
    assert (answering.failed, answering.problem) == (True, "the timer failed (ZeroDivisionError)")
    asyncio.run(asyncio.wait_for(answering.close(), PATIENCE_S))  # its thread is given up
    assert "the timer failed (ZeroDivisionError), and the reader closes" in caplog.text


@pytest.mark.usefixtures("at_once")
def test_a_run_that_no_thread_can_replace_closes_the_reader(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Deaf()
    answering = make(engine)
    hangs = answering.submit(SHORT, timeout_s=PATIENCE_S)
    engine.wait_for_a_batch()
    waits = answering.submit(SHORT)

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        hangs.cancel()
        assert isinstance(waits.exception(PATIENCE_S), ClosedError)
    assert (answering.failed, answering.problem) == (True, "the timer failed (RuntimeError)")
    asyncio.run(asyncio.wait_for(answering.close(), PATIENCE_S))


def test_what_fails_is_not_tried_again_for_those_who_have_left(make: Make) -> None:
    class Failing(Gate):
        def run(self, inputs: Any) -> Any:
            super().run(inputs)
            raise EngineError("no")

    engine = Failing()
    answering = make(engine)
    first = answering.submit(SHORT)
    engine.wait_for_a_batch()
    mates = [answering.submit(SHORT) for _ in range(4)]
    engine.let_run(1)
    assert isinstance(first.exception(PATIENCE_S), EngineError)
    engine.wait_for_a_batch()
    assert all(mate.cancel() for mate in mates[1:])
    engine.let_run()
    assert isinstance(mates[0].exception(PATIENCE_S), EngineError)
    assert at_rest(answering)
    assert [len(batch["input_ids"]) for batch in engine.batches] == [1, 4, 1]


# ---- which runs are to end, step by step


def test_a_run_is_asked_to_end_and_then_given_up() -> None:
    current = Runs()
    run = Run({1, 2}, threading.current_thread())
    current.begin(run)
    assert current.leave(1, 15.0, at_once=False) == current.next_due() == math.inf
    assert current.leave(2, 16.0, at_once=False) == 17.0
    assert (current.overdue(16.9), run.stop.requested) == ([], False)
    assert (current.overdue(17.0), run.stop.requested, current.do_not_end()) == ([], True, True)
    assert current.next_due() == 19.0
    assert (current.overdue(19.0), current.given_up) == ([run], [run.thread])
    assert not current.end(run)
    assert (current.next_due(), current.do_not_end()) == (math.inf, False)


def test_a_run_that_is_over_in_time_is_not_asked() -> None:
    current = Runs()
    run = Run({1}, threading.current_thread())
    current.begin(run)
    assert current.leave(1, 16.0, at_once=True) == 16.0
    assert current.end(run)
    assert (current.overdue(99.0), run.stop.requested, current.next_due()) == ([], False, math.inf)


def test_a_timer_acts_when_it_is_set_to_and_as_it_says_itself() -> None:
    lock, acted = threading.RLock(), threading.Semaphore(0)
    answers = iter([0.0, math.inf, math.inf])

    def act(now: float) -> float:
        acted.release()
        return next(answers)

    timer = Timer(lock, act)
    with lock:
        timer.set(math.inf)
        assert timer.thread is None
        timer.set(1e300)
        timer.set(0.0)
    assert all(acted.acquire(timeout=PATIENCE_S) for _ in range(2))
    with lock:
        timer.set(0.0)
    assert acted.acquire(timeout=PATIENCE_S)
    with lock:
        timer.end()
    assert timer.thread is not None
    timer.thread.join(PATIENCE_S)
    assert not timer.thread.is_alive()


# ---- real engines


HANGS = """
import asyncio, logging, os, sys
from pathlib import Path
from qa_onnx import AsyncReader, DeadlineError, OnnxSession, Reader, Windower
from qa_onnx.engines.openvino_cpu import OpenVinoSession
from tests.graphs import Unchecked
from tests.test_reader import SMALL

logging.disable()
engine = {"onnxruntime": OnnxSession, "openvino": OpenVinoSession}[sys.argv[1]]
reader = Reader(
    session=engine(Unchecked(Path(sys.argv[2])), threads=1),
    windower=Windower(Path(sys.argv[3]).read_text()),
    options=SMALL,
)

async def ask():
    async with AsyncReader(reader) as answering:
        expected = await answering.predict(("a", "the a"))
        for timeout_s in (0.5, 0.5):
            try:
                await answering.predict(("boat", "the a"), timeout_s=timeout_s)
            except DeadlineError as error:
                print("late")
            assert await answering.predict(("a", "the a")) == expected
        print("answered", answering.failed)

asyncio.run(ask())
sys.stdout.flush()
os._exit(0)  # a run that was given up goes on
"""


@pytest.mark.parametrize(
    ("engine", "graph"),
    [("onnxruntime", "endless_loop"), ("openvino", "endless_loop")],
)
def test_a_text_for_which_a_graph_runs_for_ever_costs_only_its_own_answer(
    engine: str, graph: str, tmp_path: Path, windower: Any
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="needs the openvino extra")
    from tests import graphs
    from tests.conftest import TINY_TOKENIZER
    from tests.dynamic_batching.fakes import token

    path = getattr(graphs, graph)(tmp_path / "model.onnx", token(windower, "boat"))
    assert printed(HANGS, engine, path, TINY_TOKENIZER) == "late\nlate\nanswered False\n"


# ---- logits


def test_logits_are_those_of_the_reader(tiny_reader: Reader, make: Make) -> None:
    from qa_onnx import AsyncReader

    async def ask() -> None:
        async with AsyncReader(tiny_reader) as answering:
            for one in (EXAMPLES[0], example("a", 5), Example("a", "")):
                found = await answering.logits(one, options=SMALL, timeout_s=PATIENCE_S)
                expected = list(tiny_reader.logits([one], options=SMALL))
                assert [row.window.token_offset for row in found] == [row.window.token_offset for row in expected]
                for ours, theirs in zip(found, expected, strict=True):
                    assert ours.start.tolist() == pytest.approx(theirs.start.tolist(), abs=1e-4)
                    assert ours.end.tolist() == pytest.approx(theirs.end.tolist(), abs=1e-4)
            with pytest.raises(DeadlineError):
                await answering.logits(SHORT, timeout_s=0.0)

    asyncio.run(ask())
