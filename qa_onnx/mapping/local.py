"""Shards -> reports, by processes of this machine, each with one reader.

Processes are spawned, since ONNX Runtime does not survive a fork. They end with this process, however it ends, and
leave Ctrl-C to it. One worker is this process itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import MapError
from qa_onnx.machine.processes import without_interrupts
from qa_onnx.mapping.work import MapWorker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from multiprocessing.connection import Connection

    from qa_onnx.mapping.plan import Shard
    from qa_onnx.mapping.work import MapWork, ShardReport


def run_local(work: MapWork, shards: Iterable[Shard], workers: int) -> Generator[ShardReport, None, None]:
    """Answer shards, and yield a report of each one when it is done.

    Args:
        work: what a worker needs to know.
        shards: taken one by one, as workers become free.
        workers: number of processes.

    Raises:
        MapError: a worker died; the message names its shard.
    """
    if workers == 1:
        worker = MapWorker(work)
        try:
            yield from map(worker.run, shards)
        finally:
            worker.close()
        return
    team: list[_Hand] = []
    try:
        waiting = iter(shards)
        for shard in waiting:
            team.append(_Hand(work, shard))
            if len(team) == workers:
                break
        while busy := {hand.pipe: hand for hand in team if hand.shard is not None}:
            for pipe in connection.wait(list(busy)):
                hand = busy[pipe]  # type: ignore[index]  # pipes alone were waited for
                yield hand.report()
                hand.give(next(waiting, None))
    finally:
        for hand in team:
            hand.end()


class _Hand:
    """A worker's process, from the side of the one that started it.

    Args:
        work: what it needs to know.
        shard: its first one.
    """

    def __init__(self, work: MapWork, shard: Shard) -> None:
        context = multiprocessing.get_context("spawn")
        self.shard: Shard | None = shard
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, other), daemon=True)
        with without_interrupts():
            self._process.start()
        other.close()
        self.pipe.send(shard)

    def report(self) -> ShardReport:
        """Return what became of its shard; MapError: it died."""
        try:
            report: ShardReport = self.pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            memory = ": is there memory for so many --workers?" if code == -signal.SIGKILL else ""
            raise MapError(f"the worker of {self.shard} {how}{memory}", remedy="go on with --resume") from error
        return report

    def give(self, shard: Shard | None) -> None:
        """Hand it another shard; None: there is none."""
        self.shard = shard
        if shard is not None:
            with suppress(OSError):  # it died; the next report says so
                self.pipe.send(shard)

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()


def _serve(work: MapWork, pipe: Connection[Any, Any]) -> None:
    """Answer shards that come through a pipe, until the process at its other end is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker = MapWorker(work)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(worker.run(pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
