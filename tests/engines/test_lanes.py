"""Lanes: many batches at the same time, with the logits of one after the other, opened when they pay off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import threading
import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import AsyncReader, EngineError, Example, OnnxSession, Options, Reader, Windower
from qa_onnx.engines import lanes
from qa_onnx.engines.lanes import LanesSession, side_by_side
from qa_onnx.engines.measured import MeasuredSession
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import open_session
from qa_onnx.session import Stop, enough_windows, has_lanes
from qa_onnx.testing import FakeSession
from tests import graphs
from tests.engines.conftest import batch
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


ENGINES = [
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="extra")),
]
BATCHES = [batch(1, 5 + 7 * number) for number in range(9)] + [batch(3, 20)]
TEXT = "The keeper lit the lamp at dusk. Ships saw it from afar, and the harbour lay still. " * 12


def opened(graph: Path, engine: str, *, threads: int | None = 2) -> Any:
    return open_session(graph, backend=Backend(engine), inputs=(), longest=64, threads=threads)  # type: ignore[arg-type]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lanes open with the first windows; how many lanes were opened for, each time."""
    monkeypatch.setattr(lanes, "_OPEN_AFTER", 1)
    asked: list[int] = []
    really = OnnxSession.for_lanes

    def counted(self: OnnxSession, count: int) -> OnnxSession:
        asked.append(count)
        return really(self, count)

    monkeypatch.setattr(OnnxSession, "for_lanes", counted)
    return asked


# ---- side_by_side


def test_items_run_at_the_same_time_and_their_results_come_in_order() -> None:
    meet = threading.Barrier(3, timeout=PATIENCE_S)
    seen = set()

    def run(item: int) -> int:
        meet.wait()  # three at once, or it breaks
        seen.add(threading.current_thread().name)
        return item * item

    assert list(side_by_side(run, range(6), 3)) == [0, 1, 4, 9, 16, 25]
    assert seen == {"qa-onnx lane"}
    assert list(side_by_side(run, [], 3)) == []


def test_no_more_run_at_a_time_than_there_are_lanes() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def run(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    list(side_by_side(run, range(40), 2))
    assert most == 2


def test_after_an_error_nothing_begins_and_what_runs_is_waited_for() -> None:
    begun, over = [], []
    failed = threading.Event()

    def run(item: int) -> int:
        begun.append(item)
        if item == 0:
            failed.set()
            raise ZeroDivisionError
        assert failed.wait(PATIENCE_S)
        threading.Event().wait(0.01)  # all of them would take seconds
        over.append(item)
        return item

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(run, range(1000), 2))
    assert sorted(begun) == [0, *sorted(over)]
    assert len(begun) < 1000


def test_an_error_keeps_nothing_alive_once_it_was_dropped() -> None:
    class Item:
        pass

    def run(item: Item) -> None:
        if item is items[1]:
            raise ZeroDivisionError

    items = [Item() for _ in range(3)]
    refs = [weakref.ref(item) for item in items]
    gc.disable()
    try:
        with contextlib.suppress(ZeroDivisionError):
            list(side_by_side(run, items, 2))
        items.clear()
        eventually(lambda: not any(ref() for ref in refs), "they are freed")
    finally:
        gc.enable()


def test_one_who_stops_listening_ends_it() -> None:
    begun = []

    def run(item: int) -> None:
        begun.append(item)
        threading.Event().wait(0.01)

    results = side_by_side(run, range(1000), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "qa-onnx lane"]
    assert len(begun) < 1000


@pytest.mark.parametrize("granted", [0, 1])
def test_where_the_system_grants_fewer_threads_all_items_run_all_the_same(
    granted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    really = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if len(started) == granted:
            raise RuntimeError("can't start new thread")
        started.append(self)
        really(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(side_by_side(lambda item: -item, range(5), 3)) == [0, -1, -2, -3, -4]
    assert len(started) == granted
    begun: list[int] = []

    def run(item: int) -> float:
        begun.append(item)
        return 1 / (item - 2)

    started.clear()
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(run, range(5), 3))
    assert begun == [0, 1, 2]


# ---- sessions


@pytest.mark.parametrize("engine", ENGINES)
def test_lanes_give_the_logits_of_one_batch_after_the_other(engine: str, graph: Path, at_once: list[int]) -> None:
    session = opened(graph, engine)
    ours = list(session.run_each(BATCHES))
    assert session._beside is not None
    for inputs, logits in zip(BATCHES, ours, strict=True):
        for side, expected in zip(logits, session.run(inputs), strict=True):
            np.testing.assert_allclose(side, expected, atol=1e-5, rtol=0)
    assert at_once == ([2] if engine == "onnxruntime" else [])


@pytest.mark.parametrize(("threads", "lanes_of"), [(1, None), (2, 8), (16, 64), (17, None)])
def test_there_is_a_lane_for_each_thread(threads: int, lanes_of: int | None, graph: Path) -> None:
    session = opened(graph, "onnxruntime", threads=threads)
    assert isinstance(session, LanesSession) == (lanes_of is not None)
    if lanes_of is not None:
        assert session.enough_windows == lanes_of
        assert has_lanes(session, lanes_of)
        assert not has_lanes(session, lanes_of - 1)


def test_they_open_when_enough_windows_have_come(
    graph: Path, at_once: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_OPEN_AFTER", 25)
    session = opened(graph, "onnxruntime")
    for expected in ([], [], [2], [2]):
        list(session.run_each(BATCHES))  # 12 windows
        assert at_once == expected
    session.renew()
    list(session.run_each(BATCHES))
    assert at_once == [2, 2]


def test_a_large_graph_runs_as_before(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_LARGEST_GRAPH", graph.stat().st_size - 1)
    assert isinstance(opened(graph, "onnxruntime"), OnnxSession)
    monkeypatch.setattr(lanes, "_LARGEST_GRAPH", graph.stat().st_size)
    assert isinstance(opened(graph, "onnxruntime"), LanesSession)


def test_a_graph_that_is_gone_is_no_error(
    graph: Path, tmp_path: Path, at_once: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(graph.read_bytes())
    session = opened(copy, "onnxruntime")
    copy.unlink()
    for _ in range(2):
        assert len(list(session.run_each(BATCHES))) == len(BATCHES)
    assert at_once == [2]
    [record] = caplog.records
    assert "will not run side by side" in record.message
    assert "copy.onnx" in record.message


@pytest.mark.parametrize("engine", ENGINES)
def test_they_pickle_by_their_arguments(engine: str, graph: Path, at_once: list[int]) -> None:
    session = opened(graph, engine)
    list(session.run_each(BATCHES))
    again = pickle.loads(pickle.dumps(session))
    assert again.enough_windows == session.enough_windows
    for ours, theirs in zip(again.run_each(BATCHES), session.run_each(BATCHES), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(at_once) == (2 if engine == "onnxruntime" else 0)


def test_a_stop_ends_all_lanes(tmp_path: Path, at_once: list[int]) -> None:
    inner = OnnxSession(graphs.Unchecked(graphs.endless_loop(tmp_path / "model.onnx", 7)), threads=2)
    session = LanesSession(inner, 2)
    endless = {name: np.full((2, 16), 7, np.int64) for name in inner.input_names}
    stop, errors = Stop(), []

    def run() -> None:
        try:
            list(session.run_each([endless] * 8, stop=stop))
        except EngineError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: len(stop._ends) == 2, "both lanes run")
    stop.request()
    thread.join(PATIENCE_S)
    assert errors == ["the run was ended, since nobody waits for its result"]
    assert not [thread for thread in threading.enumerate() if thread.name == "qa-onnx lane"]


# ---- what uses them


class InLanes(FakeSession):
    """A fake `LaneSession`; `many` has the number of batches of each call of `run_each`."""

    lanes, enough_windows, lane_tokens = 2, 8, 256

    def __init__(self) -> None:
        super().__init__()
        self.many: list[int] = []

    def run_each(self, batches: Sequence[Any], *, stop: Stop | None = None) -> Iterator[Any]:
        assert isinstance(stop, Stop)  # Ctrl-C and `AsyncReader` end runs
        self.many.append(len(batches))
        return map(self.run, batches)

    def run(self, inputs: Any, *, stop: Stop | None = None) -> Any:
        return super().run(inputs)

    def renew(self) -> None:
        pass


def test_a_reader_uses_them_for_many_windows_and_answers_as_without(windower: Windower) -> None:
    session, plain = InLanes(), FakeSession()
    ours, theirs = (
        Reader(session=one, windower=windower, options=Options(max_length=128, doc_stride=16))
        for one in (session, plain)
    )
    many, few = [Example("Where?", TEXT)] * 3, [Example("Where?", "In the harbour.")] * 7
    assert ours.predict(many) == theirs.predict(many)
    assert len(session.many) == 1
    windows = sum(len(inputs["input_ids"]) for inputs in session.batches)
    assert windows == sum(len(inputs["input_ids"]) for inputs in plain.batches) >= 8
    assert max(inputs["input_ids"].size for inputs in session.batches) <= 256
    assert ours.predict(few) == theirs.predict(few)
    assert len(session.many) == 1
    assert ours.predict(few + few[:1]) == theirs.predict(few + few[:1])
    assert len(session.many) == 2
    assert session.many[1] > 1  # they fit into one batch, but then a lane would be idle


def test_an_async_reader_uses_them_while_many_windows_wait(windower: Windower) -> None:
    session = InLanes()
    reader = Reader(session=session, windower=windower, options=Options(max_length=128, doc_stride=16))
    long = Example("Where?", TEXT * 3)

    async def ask() -> Any:
        async with AsyncReader(reader) as answering:
            return await answering.predict(long)

    answered = asyncio.run(ask())
    assert session.many
    assert answered == reader.predict([long])[0]


def test_after_a_stop_the_lanes_are_opened_again(graph: Path, at_once: list[int]) -> None:
    session, stop = opened(graph, "onnxruntime"), Stop()
    results = session.run_each(BATCHES, stop=stop)
    next(results)
    stop.request()
    with pytest.raises(EngineError, match="the run was ended"):
        list(session.run_each(BATCHES, stop=stop))
    results.close()
    assert len(list(session.run_each(BATCHES))) == len(BATCHES)
    assert at_once == [2, 2]


def test_measured_sessions_count_what_lanes_run(graph: Path, at_once: list[int]) -> None:
    measured: Any = MeasuredSession(opened(graph, "onnxruntime"), 0)
    assert enough_windows(measured) == 8
    assert len(list(measured.run_each(BATCHES))) == len(BATCHES)
    assert measured.tokens == sum(int(np.count_nonzero(inputs["input_ids"])) for inputs in BATCHES)
    assert measured.seconds > 0
