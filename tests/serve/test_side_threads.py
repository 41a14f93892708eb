"""Threads beside the event loop: turns, room to wait, deadlines, and what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

import pytest

pytest.importorskip("fastapi", reason="needs qa-onnx[serve]")

from qa_onnx.serve.problems import Problem
from qa_onnx.serve.side_threads import SideThreads
from tests.waiting import PATIENCE_S


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
