"""Threads beside the event loop: turns, room to wait, deadlines, and what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="needs qa-onnx[serve]")

import httpx

from qa_onnx.serve import create_app, results
from qa_onnx.serve.problems import Problem
from qa_onnx.serve.side_threads import SideThreads
from tests.conftest import TINY
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable


def soon() -> float:
    return monotonic() + PATIENCE_S


def test_results_and_errors_come_back_and_the_loop_goes_on() -> None:
    async def ask() -> None:
        threads = SideThreads("things", at_once=1, waiting=4)
        ticked = threading.Event()
        asyncio.get_running_loop().call_soon(ticked.set)
        assert await threads.run(lambda: ticked.wait(PATIENCE_S), soon())  # the loop must tick meanwhile
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0, soon())
        assert await threads.run(lambda: 3, soon()) == 3

    asyncio.run(ask())


def test_few_run_few_wait_and_more_are_refused() -> None:
    async def ask() -> None:
        threads, gate = SideThreads("things", at_once=1, waiting=1), threading.Event()
        first = asyncio.ensure_future(threads.run(lambda: gate.wait(PATIENCE_S), soon()))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(threads.run(lambda: 2, soon()))
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="429") as refused:
            await threads.run(lambda: 3, soon())
        assert "too many things are waiting" in refused.value.detail
        second.cancel()
        await asyncio.wait([second])
        with pytest.raises(TimeoutError):  # there is room to wait again, and no time
            await threads.run(lambda: 3, monotonic() + 0.01)
        gate.set()
        assert await first
        assert await threads.run(lambda: 4, soon()) == 4

    asyncio.run(ask())


def test_what_nobody_waits_for_keeps_its_turn_until_it_ends() -> None:
    async def ask() -> None:
        threads, gate = SideThreads("things", at_once=1, waiting=1), threading.Event()
        with pytest.raises(TimeoutError):
            await threads.run(lambda: gate.wait(PATIENCE_S), monotonic() + 0.05)
        with pytest.raises(TimeoutError):
            await threads.run(lambda: 1, monotonic() + 0.05)
        gate.set()
        assert await threads.run(lambda: 2, soon()) == 2

    asyncio.run(ask())


def test_a_turn_is_given_back_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        threads = SideThreads("things", at_once=1, waiting=1)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await threads.run(lambda: 1, soon())
        assert await threads.run(lambda: 2, soon()) == 2

    asyncio.run(ask())


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


BOAT = {"question": "What is blue?", "context": "The boat is blue."}


@pytest.mark.parametrize(
    ("path", "body", "accept"),
    [
        ("answer", BOAT, "application/json"),
        ("answer", BOAT, "application/jsonl"),
        ("answer", {**BOAT, "progress": True}, "application/jsonl"),
        ("answer", {"examples": [BOAT]}, "application/json"),
        ("answer", {"examples": [BOAT]}, "application/jsonl"),
        ("answer", {"question": "What?", "documents": [{"name": "a", "text": "It is blue."}]}, "application/json"),
        ("scores", BOAT, "application/json"),
    ],
)
def test_results_that_take_long_leave_the_event_loop_alone(
    path: str, body: dict[str, Any], accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence in a long text that repeats itself takes 16 ms an answer; the scores of 12,500 tokens took 50."""
    where = []

    def noted(plain: Callable[..., Any], *arguments: Any) -> Any:
        where.append(threading.current_thread().name)
        return plain(*arguments)

    for name in ("evidence", "scores"):
        monkeypatch.setattr(results, name, partial(noted, getattr(results, name)))

    async def ask() -> httpx.Response:
        qa = create_app(TINY, precision="fp32", threads=1)
        transport = httpx.ASGITransport(qa)
        async with qa.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = body if path == "scores" else {**body, "evidence": True}
            return await client.post(f"/v1/{path}", json=asked, headers={"Accept": accept})

    reply = asyncio.run(ask())
    assert reply.status_code == 200, reply.text
    assert path == "scores" or '"evidence":{' in reply.text
    assert set(where) == {"qa-onnx-results"}
